"""Training as its users see it: the folder it makes, the same weights each time, going on where it was left."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL, SIGSTOP
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data.mixup import Mixup
from timm.data.transforms_factory import create_transform
from timm.layers import DropBlock2d
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from resnest_cli import Classifier
from resnest_cli.errors import ExitCode, TrainingStopped, UsageError
from resnest_cli.inputs import loading
from resnest_cli.models.catalog import DIGITS
from resnest_cli.training import board, checkpoints, data, loop, recipe, setup, stages
from resnest_cli.training.data import order
from resnest_cli.training.distributed import Rank
from resnest_cli.training.events import Done, Scanned, Solved, Step
from resnest_cli.training.job import Job, folder_for
from resnest_cli.training.loop import Loop
from resnest_cli.training.randomness import seed_everything
from resnest_cli.training.recipe import FINETUNE, RESNEST, Recipe
from resnest_cli.training.report import figures
from resnest_cli.training.run import Run
from resnest_cli.training.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conftest import Resnest

    from resnest_cli.inputs.pool import Pool, Worker


COLORS = {"1": (200, 40, 40), "10": (40, 200, 40), "blå": (40, 40, 200)}
TINY = {"channels": [8, 8, 8, 8], "stem_width": 4}
# Every kind of chance and of state: augmentation, mixup, DropBlock, dropout, momentum, average, best weights.
SHORT = replace(
    RESNEST, epochs=3, batch=8, lr=0.05, warmup_epochs=1, ema=0.9, patience=3, dropout=0.1, augment="rand-m5", clip=5.0
)
FLAGS = ["--epochs", "3", "-b", "8", "--lr", "0.05", "--ema", "0.9", "--warmup-epochs", "1"]
NETWORK = ["-m", "resnest14d", "--arch", "channels=8,8,8,8", "--arch", "stem_width=4", "--img-size", "32", "-j", "0"]


@pytest.fixture(scope="module")
def colored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw three classes of noisy colors, in train and val folders."""
    root = tmp_path_factory.mktemp("colored")
    rng = np.random.default_rng(0)
    for side, count in (("train", 11), ("val", 5)):
        for name, color in COLORS.items():
            (root / side / name).mkdir(parents=True)
            for i in range(count):
                pixels = (np.array(color) + rng.integers(-40, 40, (24, 24, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / side / name / f"{i}.png")
    return root


def job(root: Path, asked: Recipe = SHORT, **changes: Any) -> Job:  # noqa: ANN401 - fields of Job
    model = {"model": "resnest14d", "img_size": 32}
    return Job(**{"command": "train", "data": str(root), "recipe": asked, "model": model, "arch": TINY, **changes})


def finish(asked: Job, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Run a job to its end; return its metrics."""
    *_, last = Run(asked, out, device="cpu", workers=0).events(resume=resume)
    assert isinstance(last, Done)
    return last.metrics


def steps(asked: Job, out: Path, count: int, *, resume: bool = False) -> None:
    """Run a job for so many steps and leave it there, as a crash does."""
    events = Run(asked, out, device="cpu", workers=0).events(resume=resume)
    for _ in range(count):
        next(event for event in events if isinstance(event, Step))
    events.close()  # type: ignore[attr-defined] # it is a generator


def table(out: Path) -> list[dict[str, str]]:
    """Read the history."""
    return list(csv.DictReader((out / "history.csv").read_text().splitlines()))


def losses(out: Path) -> list[tuple[str, ...]]:
    """Read the history but for the seconds."""
    return [tuple(row.values())[:-1] for row in table(out)]


@pytest.fixture(scope="module")
def whole(colored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish(job(colored), out)
    return out


def weights(out: Path) -> str:
    """Return the hash that names a run's weights."""
    return str(json.loads((out / "metrics.json").read_text())["sha256"])


def test_the_folder_is_a_model_folder(whole: Path, colored: Path, resnest: Resnest) -> None:
    names = {path.name for path in whole.iterdir()} - {board.FOLDER}  # which is there if tensorboard is
    assert names == {
        *("config.json", "model.safetensors", "labels.txt", "metrics.json", "history.csv", "curves.png"),
        *("validation.csv", "confusion.png", "split.csv", "run.yaml", "checkpoints"),
    }
    network: Any = timm.create_model(f"local-dir:{whole}", pretrained=True)
    cfg = network.pretrained_cfg
    assert (network.num_classes, list(cfg["label_names"]), cfg.get("tag")) == (3, ["1", "10", "blå"], None)
    other: Any = timm.create_model(f"local-dir:{whole}", pretrained=True, in_chans=1, num_classes=5)
    assert (other.conv1[0].weight.shape[1], other.fc.weight.shape[0]) == (1, 5)
    assert torch.equal(other.layer4[0].conv3.weight, network.layer4[0].conv3.weight)
    config = json.loads((whole / "config.json").read_text())
    assert config["model_args"] == {"num_classes": 3, **TINY, "in_chans": 3, "global_pool": "avg"}
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert "hf_hub_id" not in config["pretrained_cfg"]
    assert resnest("show", whole).exit_code == 0
    answers = resnest("predict", colored / "val" / "10", "-m", whole, "--engine", "torch", "-k", "3", "-f", "csv")
    assert answers.exit_code == 0
    assert "label_3" in answers.stdout.splitlines()[0]


def test_the_metrics_are_what_predict_finds(whole: Path, colored: Path) -> None:
    with Classifier(str(whole), engine="torch") as model:
        taken = {record.path: record.top1.label for record in model.predict([colored / "val"], topk=1)}
    true = [Path(path).parent.name for path in taken]
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["val_images"] == len(true) == 15
    assert metrics["top1"] == accuracy_score(true, list(taken.values()))
    recall = recall_score(true, list(taken.values()), average=None, labels=list(COLORS))
    assert [row["recall"] for row in metrics["per_class"]] == pytest.approx(recall)
    assert metrics["majority_top1"] == pytest.approx(1 / 3)


def test_the_seed_decides(whole: Path, colored: Path, tmp_path: Path) -> None:
    finish(job(colored), tmp_path / "same")
    finish(job(colored, replace(SHORT, seed=1)), tmp_path / "other")
    assert losses(tmp_path / "same") == losses(whole)
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert losses(tmp_path / "other") != losses(whole)


def test_decoding_processes_change_nothing(whole: Path, colored: Path, tmp_path: Path) -> None:
    *_, last = Run(job(colored), tmp_path / "out", device="cpu", workers=2).events()
    assert isinstance(last, Done)
    assert last.metrics["sha256"] == weights(whole)


def decoders(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """Return the processes that decode, as they are started."""
    started: list[Worker] = []

    def pool_of(*args: Any) -> Pool:  # noqa: ANN401 - of `loading.pool_of`
        made = loading.start(*args)
        started.extend(made._workers)  # noqa: SLF001 - to do something to them
        return made

    monkeypatch.setattr("resnest_cli.pipeline.decoders.loading", SimpleNamespace(pool_of=pool_of))
    return started


def test_a_decoding_process_that_is_killed_is_replaced(
    whole: Path, colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers, killed = decoders(monkeypatch), set()
    done = None
    for event in Run(job(colored), tmp_path / "out", device="cpu", workers=1).events():
        if isinstance(event, Step) and event.step in {1, 7}:
            killed.add(pid := workers[0]._process.pid)  # noqa: SLF001 - as above
            os.kill(pid, SIGKILL)
        done = event
    assert isinstance(done, Done)
    assert done.metrics["sha256"] == weights(whole)
    assert len(killed) == 2


def test_a_decoding_process_that_hangs_ends_it_in_words(
    colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = decoders(monkeypatch)
    monkeypatch.setattr(data, "TIMEOUT_S", 3.0)
    words = r"\.png cannot be trained on any more: not decoded within 3 s\.\nTo go on: resnest train"
    events = Run(job(colored), tmp_path / "out", device="cpu", workers=1).events()
    next(event for event in events if isinstance(event, Step))
    os.kill(workers[0]._process.pid, SIGSTOP)  # noqa: SLF001 - as above
    with pytest.raises(TrainingStopped, match=words):
        list(events)


def test_left_after_any_step_it_goes_on_to_the_same_weights(
    whole: Path, colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has four steps: it is left in the middle of one, at its end, and once more on the way."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)  # a checkpoint after every step
    steps(job(colored), tmp_path / "out", 2)
    steps(job(colored), tmp_path / "out", 3, resume=True)
    steps(job(colored), tmp_path / "out", 4, resume=True)
    finish(job(colored), tmp_path / "out", resume=True)
    assert losses(tmp_path / "out") == losses(whole)
    assert weights(tmp_path / "out") == weights(whole)


def test_a_resumed_run_keeps_its_rate(colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(colored, replace(SHORT, lr="auto"))
    finish(asked, tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    steps(asked, tmp_path / "left", 5)
    monkeypatch.setattr(recipe, "LR_PER_256", 7.0)  # as a batch of another size would change it
    finish(asked, tmp_path / "left", resume=True)
    assert losses(tmp_path / "left") == losses(tmp_path / "whole")


def test_left_between_checkpoints_it_does_the_steps_again(whole: Path, colored: Path, tmp_path: Path) -> None:
    steps(job(colored), tmp_path / "out", 7)
    kept = checkpoints.newest(tmp_path / "out" / "checkpoints")
    assert kept is not None
    assert kept["step"] == 4
    finish(job(colored), tmp_path / "out", resume=True)
    assert weights(tmp_path / "out") == weights(whole)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    whole: Path, colored: Path, tmp_path: Path, damage: str
) -> None:
    steps(job(colored), tmp_path / "out", 9)
    older, newest = sorted((tmp_path / "out" / "checkpoints").glob("*.pt"))
    content = newest.read_bytes()
    made = {"cut": content[:-1], "changed": content[:500] + b"?" + content[501:], "empty": b""}[damage]
    newest.write_bytes(made)
    kept = checkpoints.newest(tmp_path / "out" / "checkpoints")
    assert kept is not None
    assert (kept["step"], older.exists(), newest.exists()) == (4, True, False)
    finish(job(colored), tmp_path / "out", resume=True)
    assert weights(tmp_path / "out") == weights(whole)


def test_a_checkpoint_is_written_without_a_copy_of_the_state(tmp_path: Path) -> None:
    state = {"step": 7, "lr": 0.1, "earlier": [], "network": {"weight": torch.randn(4_000_000)}}
    tracemalloc.start()
    try:
        path = checkpoints.save(tmp_path, 7, state)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000  # bytes, of 16 million
    finally:
        tracemalloc.stop()
    assert path.name == f"step-000000007-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.pt"
    assert list(tmp_path.iterdir()) == [path]
    kept = checkpoints.newest(tmp_path)
    assert kept is not None
    assert torch.equal(kept["network"]["weight"], state["network"]["weight"])  # type: ignore[index]


def test_resuming_a_finished_run_changes_nothing(whole: Path, colored: Path) -> None:
    before = weights(whole), losses(whole)
    finish(job(colored), whole, resume=True)
    assert (weights(whole), losses(whole)) == before


def test_a_finished_run_takes_more_epochs(whole: Path, colored: Path, tmp_path: Path, resnest: Resnest) -> None:
    """The rates of the new epochs are those of a run that was begun with so many."""
    shutil.copytree(whole, tmp_path / "more")
    words = ("train", colored, "-o", tmp_path / "more", "--resume", "-j", "0", "--device", "cpu")
    ended = resnest(*words, "--epochs", "5")
    assert ended.exit_code == 0
    assert "goes on from step 12" in re.sub(r"\s+", " ", ended.stderr)
    finish(job(colored, replace(SHORT, epochs=5)), tmp_path / "long")
    more, long = table(tmp_path / "more"), table(tmp_path / "long")
    assert losses(tmp_path / "more")[:3] == losses(whole)
    assert [row["lr"] for row in more[3:]] == [row["lr"] for row in long[3:]]
    assert len(more) == len(long) == 5
    assert weights(tmp_path / "more") != weights(whole)

    shutil.copytree(whole, tmp_path / "left")  # in the middle of the new epochs, and resumed without their number
    steps(job(colored, replace(SHORT, epochs=5)), tmp_path / "left", 2, resume=True)
    assert resnest(*words[:3], tmp_path / "left", *words[4:]).exit_code == 0
    assert weights(tmp_path / "left") == weights(tmp_path / "more")


def test_a_run_that_has_lost_patience_takes_more_epochs(colored: Path, tmp_path: Path) -> None:
    worse = replace(SHORT, epochs=8, lr=0.5, ema=0.0, patience=1, warmup_epochs=0)
    finish(job(colored, worse), tmp_path / "out")
    done = len(table(tmp_path / "out"))
    assert done < 8
    more = job(colored, replace(worse, epochs=9))
    steps(more, tmp_path / "out", 3, resume=True)  # patience goes on counting from the same epoch after this
    finish(more, tmp_path / "out", resume=True)
    rows = table(tmp_path / "out")
    ranks = [(float(row["val_top1"]), -float(row["val_loss"])) for row in rows]
    best = ranks.index(max(ranks)) + 1
    assert len(rows) > done
    assert len(rows) - max(best, done) == 1


def test_a_head_alone_takes_no_more_epochs(colored: Path, tmp_path: Path, resnest: Resnest) -> None:
    words = ("finetune", colored, "-m", "digits", "-o", tmp_path / "out", "--device", "cpu", "-j", "0")
    assert resnest(*words).exit_code == 0
    ended = resnest(*words, "--resume", "--epochs", "40")
    assert ended.exit_code == 2
    assert "--epochs 40: this run is of the head alone, which takes none; train all layers with anoth" in ended.stderr


def test_it_stops_early_and_keeps_the_best_weights(colored: Path, tmp_path: Path) -> None:
    worse = replace(SHORT, epochs=8, lr=1e-9, ema=0.0, patience=2, warmup_epochs=0)
    metrics = finish(job(colored, worse), tmp_path / "out")
    rows = table(tmp_path / "out")
    ranks = [(float(row["val_top1"]), -float(row["val_loss"])) for row in rows]
    assert metrics["top1"] == max(ranks)[0]
    assert metrics["val_loss"] == pytest.approx(-max(ranks)[1])
    assert len(rows) == 8 or len(rows) - 1 - ranks.index(max(ranks)) == 2


def test_random_weights_are_drawn_from_the_seed_as_in_train(colored: Path, tmp_path: Path) -> None:
    still = replace(FINETUNE, epochs=1, lr=1e-12, patience=0, crop_scale=1.0)
    states = []
    for command, seed in (("finetune", 1), ("finetune", 2), ("train", 2)):
        model = {"model": "resnest14d", "img_size": 32, "random_weights": command == "finetune"}
        out = tmp_path / f"{command}-{seed}"
        finish(job(colored, replace(still, seed=seed), command=command, model=model, full=True), out)
        states.append(timm.create_model(f"local-dir:{out}", pretrained=True).state_dict()["layer4.0.conv1.weight"])
    assert torch.allclose(states[1], states[2], atol=1e-6)
    assert not torch.allclose(states[0], states[1], atol=1e-2)


@pytest.mark.parametrize("takes_head", [False, True])
def test_layers_begin_with_zeros_or_the_solved_head(
    colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, takes_head: bool
) -> None:
    monkeypatch.setattr(stages, "_choose", lambda *_: (takes_head, 1e-12))
    still = replace(FINETUNE, epochs=1, patience=0)
    made = {}
    for full in (True, False):
        asked = job(colored, still, command="finetune", model={"model": "digits"}, arch={}, full=full)
        finish(asked, tmp_path / str(full))
        made[full] = timm.create_model(f"local-dir:{tmp_path / str(full)}", pretrained=True).state_dict()
    solved = made[False]["fc.weight"]
    assert solved.abs().max() > 1e-3
    expected = solved if takes_head else torch.zeros_like(solved)
    torch.testing.assert_close(made[True]["fc.weight"], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(made[True]["layer4.0.conv1.weight"], made[False]["layer4.0.conv1.weight"])


def test_the_head_is_scikit_learns_on_the_features_of_plain_timm(colored: Path, tmp_path: Path) -> None:
    digits = job(colored, replace(FINETUNE, seed=3), command="finetune", model={"model": "digits"}, arch={}, full=False)
    *_, solved, done = Run(digits, tmp_path / "out", device="cpu", workers=0).events()
    assert isinstance(solved, Solved)
    assert isinstance(done, Done)
    state = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).state_dict()
    source: Any = timm.create_model(f"local-dir:{DIGITS}", pretrained=True).eval()
    for name, value in source.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, state[name])

    transform = create_transform((3, 32, 32), crop_pct=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    source.reset_classifier(0)
    features, targets = {}, {}
    for side in ("train", "val"):
        files = [(path, i) for i, name in enumerate(COLORS) for path in sorted((colored / side / name).iterdir())]
        with torch.inference_mode():
            features[side] = source(torch.stack([transform(Image.open(path)) for path, _ in files])).double().numpy()
        targets[side] = np.array([label for _, label in files])
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=solved.strength, tol=1e-8, max_iter=10_000))
    expected.fit(features["train"], targets["train"])
    logits = features["val"] @ state["fc.weight"].double().numpy().T + state["fc.bias"].double().numpy()
    # The features come from OpenVINO there: the same but for rounding.
    np.testing.assert_allclose(softmax(logits, axis=1), expected.predict_proba(features["val"]), atol=1e-3)
    assert done.metrics["top1"] == solved.val_top1 == expected.score(features["val"], targets["val"])
    assert table(tmp_path / "out") == [
        {
            "stage": "head",
            "epoch": "0",
            "step": "0",
            "lr": "0.0",
            "train_loss": str(solved.train_loss),
            "val_loss": str(solved.val_loss),
            "val_top1": str(solved.val_top1),
            "seconds": str(solved.seconds),
        }
    ]


def test_finetuning_all_layers_goes_on_from_the_head_and_from_any_step(
    colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(FINETUNE, epochs=2, batch=8, augment="none", patience=0)  # the head is right about all
    digits = job(colored, asked, command="finetune", model={"model": "digits"}, arch={}, full=True)
    metrics = finish(digits, tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    for resume, count in ((False, 1), (True, 3), (True, 1)):
        steps(digits, tmp_path / "left", count, resume=resume)
    finish(digits, tmp_path / "left", resume=True)
    assert weights(tmp_path / "left") == metrics["sha256"]
    assert losses(tmp_path / "left") == losses(tmp_path / "whole")
    assert {row[0] for row in losses(tmp_path / "left")} == {"head", "layers"}
    source = timm.create_model(f"local-dir:{DIGITS}", pretrained=True).state_dict()
    state = timm.create_model(f"local-dir:{tmp_path / 'left'}", pretrained=True).state_dict()
    assert not torch.equal(source["conv1.0.weight"], state["conv1.0.weight"])


def test_layers_that_do_worse_than_the_head_alone_are_not_kept(colored: Path, tmp_path: Path) -> None:
    asked = replace(FINETUNE, epochs=2, batch=8, augment="none", lr=0.01, layer_decay=1.0, ema=0.0)
    digits = job(colored, asked, command="finetune", model={"model": "digits"}, arch={}, full=True)
    head = finish(replace(digits, full=False), tmp_path / "alone")
    metrics = finish(replace(digits, recipe=replace(asked, lr=10.0)), tmp_path / "out")  # it spoils all layers
    assert min(float(row["val_loss"]) for row in table(tmp_path / "out") if row["stage"] == "layers") > head["val_loss"]
    assert (metrics["top1"], metrics["val_loss"]) == (head["top1"], pytest.approx(head["val_loss"], rel=1e-3))


class Fixed:
    """Data whose inputs are given."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def batches(self, epoch: int, groups: Iterable[list[int]]) -> Iterator[torch.Tensor]:  # noqa: ARG002 - as the protocol
        for group in groups:
            yield self.inputs[group].clone()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_step_of_the_published_recipe_is_timms(tmp_path: Path, accumulate: int) -> None:
    """Plain timm, wired as its training script wires it for SGD with mixup, smoothing, DropBlock and a warm-up."""
    torch.manual_seed(0)
    args: dict[str, Any] = {"num_classes": 3, "drop_block_rate": 0.1, **TINY}
    network, theirs = (timm.create_model("resnest14d", **args) for _ in range(2))
    theirs.load_state_dict(network.state_dict())
    theirs.to(memory_format=torch.channels_last)
    data = Fixed(torch.randn(8, 3, 64, 64), torch.arange(8) % 3)
    settled = replace(RESNEST, epochs=4, batch=8, lr=0.1 * 8 / 256, accumulate=accumulate, warmup_epochs=1, dropout=0.0)
    rank = Rank(torch.device("cpu"))
    ours = Loop(network, data, data, settled, rank, folder=tmp_path, signals=Signals(), classes=3, earlier=[])
    first, *_ = (event for event in ours.events() if isinstance(event, Step))

    # The last step of four has DropBlock at 3/4 of its rate; each starts from the same seed, as ours does.
    optimizer = create_optimizer_v2(theirs, "sgd", lr=0.1 * 8 / 256, weight_decay=1e-4, momentum=0.9)
    assert optimizer.defaults["nesterov"]
    assert sorted((len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups) == [(28, 1e-4), (55, 0.0)]
    schedule, _ = create_scheduler_v2(
        optimizer, num_epochs=4, warmup_epochs=1, step_on_epochs=False, updates_per_epoch=1
    )
    mixup = Mixup(0.2, label_smoothing=0.1, num_classes=3)
    expected = []
    for step in range(4):
        schedule.step_update(step)
        rows = order(data.targets, step, settled)
        for module in theirs.modules():
            if isinstance(module, DropBlock2d):
                module.drop_prob = 0.1 * step / 4
        total = 0.0
        theirs.train()
        for done, group in enumerate(np.array_split(rows, accumulate), 1):
            seed_everything(0, "step", step, 0, accumulate - done)
            inputs, targets = mixup(data.inputs[group].clone(), data.targets[group])
            loss = SoftTargetCrossEntropy()(theirs(inputs), targets) / accumulate
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        expected.append(total)
    assert first.loss == pytest.approx(expected[0], abs=0)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_the_recipe_is_settled_and_printed(colored: Path, tmp_path: Path, resnest: Resnest) -> None:
    ended = resnest("train", colored, "-o", tmp_path / "out", *NETWORK, *FLAGS, "--device", "cpu", "--lr", "auto")
    assert ended.exit_code == 0, ended.stderr
    said = " ".join(ended.stderr.split())
    assert f"batch 8, accumulate 1, optimizer sgd, lr {0.1 * 8 / 256:g}, momentum 0.9, weight_decay 0.0001" in said
    assert "mixup 0.2, augment original, crop_scale 0.08, hflip 0.5, dropout 0, drop_block 0.1" in said
    assert "3 classes 33 15 0" in said
    assert re.search(r"accuracy +[0-9.]+% of 15 validation images \(weights of the last epoch\)", ended.stdout)
    assert "baseline  33.33% by always saying '1'" in ended.stdout
    assert "it has learned nothing that can be shown" in ended.stdout  # in three epochs
    assert "resnest predict" not in ended.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "."], ". exists: go on with the run in it with --resume, or name another folder with -o."),
        (["-o", "none", "--resume"], "none holds no run that could go on: it has no run.yaml."),
        (["-o", "new", "--optimizer", "sdg"], "--optimizer sdg: timm does not take it"),
        (["-o", "new", "--augment", "rund"], "--augment rund: timm does not take it"),
        (["-o", "new", "--arch", "color=1"], "--arch {'color': 1}: timm does not take it (ModelError"),
        (["-o", "new", "--arch", "color"], "--arch color: use KEY=VALUE"),
        (
            ["-o", "new", "--batch", "7"],
            "--batch 7: 7 images a step, of 33, cannot be shared by 1 processes and 1 passes",
        ),
        (["-o", "new", "--smoothing", "1"], "--smoothing 1.0: use a number from 0 and below 1."),
        (["-o", "new", "-m", "resnest5"], "there is no model 'resnest5'. Did you mean resnest50d?"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(  # noqa: PLR0913, PLR0917 - fixtures and a table
    colored: Path, tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    (tmp_path / "there").touch()
    monkeypatch.chdir(tmp_path)
    ended = resnest("train", colored, "-m", "resnest14d", "--img-size", "32", "--device", "cpu", *words)
    assert ended.exit_code == 2
    assert f"error: {said}" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_run_goes_on_only_as_it_was_begun(colored: Path, whole: Path, resnest: Resnest) -> None:
    ended = resnest("train", colored, "-o", whole, "--resume", "--epochs", "2", "--seed", "1", "--clip", "5")
    assert ended.exit_code == 2
    assert "--resume goes on as the run was begun: epochs 3 (now 2), seed 0 (now 1). Leave that" in ended.stderr


def test_images_that_moved_are_found_and_must_be_the_same(colored: Path, tmp_path: Path, resnest: Resnest) -> None:
    before, now, out = tmp_path / "before", tmp_path / "now", tmp_path / "out"
    shutil.copytree(colored, before)
    steps(job(before), out, 1)
    before.rename(now)
    ended = resnest("train", before, "-o", out, "--resume", "-j", "0", "--device", "cpu")
    assert ended.exit_code == 1
    assert f"error: {before}: " in ended.stderr
    assert ended.stderr.endswith(f" If the images moved: resnest train NEWDIR -o {out} --resume\n")
    other = now / "train" / "1" / "0.png"
    content = other.read_bytes()
    other.write_bytes((now / "train" / "10" / "0.png").read_bytes())
    ended = resnest("train", now, "-o", out, "--resume", "-j", "0", "--device", "cpu")
    assert ended.exit_code == 1
    assert f"1 of 48 files are not those that the run began with ({other}: another image than before)" in ended.stderr
    other.write_bytes(content)
    steps(replace(job(now)), out, 1, resume=True)
    assert {
        row["path"].startswith(f"{now}/") for row in csv.DictReader((out / "split.csv").read_text().splitlines())
    } == {True}
    assert yaml.safe_load((out / "run.yaml").read_text())["data"] == str(now)
    other.unlink()
    ended = resnest("train", now.rename(before), "-o", out, "--resume", "-j", "0", "--device", "cpu")
    assert f"({before}/train/1/0.png: UnreadableInput: no such file.)" in ended.stderr


def test_the_model_does_not_go_into_the_data(
    colored: Path, tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "wild"
    shutil.copytree(colored, data)
    monkeypatch.chdir(data)
    words = ("-m", "digits", "--epochs", "1", "-j", "0", "--device", "cpu", "--head-only", "-q")
    for inside in ("model", "train/model", "."):
        ended = resnest("finetune", ".", "-o", inside, *words)
        assert ended.exit_code == 2
        assert f"{inside} lies in {data}: the next run there would train on its pictures." in ended.stderr
    assert f"-o {tmp_path}/wild-model\n" in resnest("finetune", ".", "-o", data / "model", *words).stderr
    assert resnest("finetune", ".", *words).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wild", "wild-digits-finetuned"]
    assert sorted(path.name for path in data.iterdir()) == ["train", "val"]
    ended = resnest("finetune", ".", *words)
    assert ended.exit_code == 2
    assert f"{tmp_path}/wild-digits-finetuned exists: go on with the run in it with --resume" in ended.stderr


def test_each_command_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v1.0").mkdir()
    monkeypatch.chdir(tmp_path)
    assert folder_for(job(tmp_path / "v1.0")) == Path("v1.0-resnest14d-trained")
    assert folder_for(job(tmp_path / "v1.0", command="finetune")) == Path("v1.0-resnest14d-finetuned")
    assert folder_for(job(tmp_path / "list.csv")) == Path("list-resnest14d-trained")
    (tmp_path / "v1.0" / "train").mkdir()
    monkeypatch.chdir(tmp_path / "v1.0" / "train")
    assert folder_for(job(tmp_path / "v1.0" / "train" / "..")) == tmp_path / "v1.0-resnest14d-trained"


def test_validate_finds_what_finetune_found_also_of_images_turned_by_exif(tmp_path: Path, resnest: Resnest) -> None:
    """Up and down are half dark: as they lie in the file, each half of the images looks like the other class."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for side, count in (("train", 12), ("val", 6)):
        for name in ("up", "down"):
            (tmp_path / "data" / side / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (32, 32, 3), np.uint8)
                pixels[:16] += np.uint8(180)
                image = Image.fromarray(pixels if name == "up" else pixels[::-1])
                path = tmp_path / "data" / side / name / f"{i}.png"
                image.rotate(180).save(path, exif=exif) if i % 2 else image.save(path)
    out = tmp_path / "out"
    words = ("-m", "digits", "-j", "0", "--device", "cpu", "--head-only", "-q", "--epochs", "20")
    assert resnest("finetune", tmp_path / "data", "-o", out, *words).exit_code == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["top1"] > 0.9
    for place in (tmp_path / "data", out / "split.csv", out):
        found = json.loads(resnest("validate", place, "-m", out, "-f", "json", "-q").stdout)
        assert (found["top1"], found["n"], found["exif"]) == (pytest.approx(100 * metrics["top1"], abs=1e-3), 12, True)
        assert found["loss"] == pytest.approx(metrics["val_loss"], abs=1e-3)
    found = json.loads(resnest("validate", out, "-m", out, "-f", "json", "-q", "--no-exif").stdout)
    assert found["top1"] < 70


def test_balance_draws_rare_classes_as_often() -> None:
    targets = torch.tensor([0] * 900 + [1] * 100)
    rows = order(targets, 0, replace(SHORT, balance=True))
    assert 440 < sum(targets[rows].tolist()) < 560
    assert sorted(order(targets, 0, SHORT)) == list(range(1000))
    assert order(targets, 0, SHORT) != order(targets, 1, SHORT)


@pytest.mark.parametrize(("name", "dropout"), [("resnest101e", 0.0), ("resnest200e", 0.2), ("resnest269e", 0.2)])
def test_dropout_is_where_the_authors_use_it(name: str, dropout: float) -> None:
    settled = recipe.settled(RESNEST, name, images=1000, processes=1, default_batch=32)
    assert settled.dropout == dropout


def test_the_batch_is_shared_or_refused() -> None:
    def batch(given: int | str, **changes: int) -> int | str:
        how: dict[str, int] = {"images": 100, "processes": 2, "default_batch": 32} | changes
        return recipe.settled(replace(RESNEST, batch=given), "resnest14d", **how).batch

    assert batch("auto") == 64
    assert batch("auto", images=31) == 28
    assert batch(8192) == 100
    with pytest.raises(UsageError, match="Use a multiple of 4"):
        batch(10)


@pytest.mark.parametrize(
    ("command", "images", "processes", "batch"),
    [
        *(("finetune", 20, 1, 8), ("finetune", 5, 1, 5), ("finetune", 100, 1, 12), ("finetune", 5000, 1, 64)),
        *(("finetune", 1000, 4, 124), ("train", 5000, 1, 32)),
    ],
)
def test_a_small_data_set_has_several_steps_in_an_epoch(command: str, images: int, processes: int, batch: int) -> None:
    asked = Job(command, "data", {"finetune": FINETUNE, "train": replace(RESNEST, mixup=0.0)}[command])
    found: Any = SimpleNamespace(side=lambda _: range(images))
    spec: Any = SimpleNamespace(architecture="resnest14d")
    rank = Rank(torch.device("cpu"), processes=processes)
    assert setup.settle(asked, spec, found, rank).batch == batch


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, taken = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    found = figures(list("abcd"), np.array([2, 2, 1, 0, 3]), true, taken)
    assert found["top1"] == accuracy_score(true, taken)
    assert [row["recall"] for row in found["per_class"]] == pytest.approx(recall_score(true, taken, average=None))
    assert (found["majority_class"], found["majority_top1"]) == ("c", float((true == 2).mean()))
    first = found["worst_confusions"][0]
    pair = (true == "abcd".index(first["class"])) & (taken == "abcd".index(first["taken_for"]))
    assert first["images"] == pair.sum() == max(row["images"] for row in found["worst_confusions"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_changed_stops_the_run_with_its_name(colored: Path, tmp_path: Path, workers: int) -> None:
    images = tmp_path / "images"
    shutil.copytree(colored, images)
    run = Run(job(images), tmp_path / "out", device="cpu", workers=workers)
    events = run.events()
    next(event for event in events if isinstance(event, Scanned))
    for path in (images / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        TrainingStopped, match=rf"^{images}/train/.*\.png cannot be trained on any more: the file is empty"
    ):
        list(events)
    assert run.begun


@pytest.mark.parametrize("wanted", ["99", "9" * 5000, "0", "-1", "many"])
def test_gpus_that_are_not_there_are_refused(wanted: str, colored: Path, resnest: Resnest, tmp_path: Path) -> None:
    ended = resnest("train", colored, "-o", tmp_path / "out", "--gpus", wanted)
    assert ended.exit_code == ExitCode.FAILED
    shown = wanted if len(wanted) < 60 else f"{wanted[:60]}..."
    assert "error: " + f"--gpus {shown}: torch finds {torch.cuda.device_count()} CUDA devices here" in ended.stderr
    assert not (tmp_path / "out").exists()
