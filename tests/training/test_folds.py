"""Cross-validation as its users see it: each image judged by a model that has not seen it, cheaply, and resumable."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
from base64 import b64decode
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from resnest_cli import Classifier
from resnest_cli.errors import BadDataSet, ExitCode, TrainingStopped
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.labelled.training_set import TrainingSet
from resnest_cli.inputs.splits import TRAIN, VAL
from resnest_cli.inputs.tables import Example
from resnest_cli.training import answers, features, loop
from resnest_cli.training.answers import Answer
from resnest_cli.training.events import Cached, Done, Judged, Solved, Step
from resnest_cli.training.folds import Folds
from resnest_cli.training.job import Job
from resnest_cli.training.recipe import FINETUNE
from resnest_cli.training.run import Run
from resnest_cli.training.words import figures_of_folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Resnest

    from resnest_cli.training.events import Event

COLORS = {"10": (150, 110, 110), "9": (110, 150, 110), "=blå": (110, 110, 150)}
COUNT = 3


@pytest.fixture(scope="module")
def colored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw three classes of noisy colors, some images in the wrong one; one has a name that is not UTF-8."""
    root = tmp_path_factory.mktemp("data") / "colored"
    rng = np.random.default_rng(0)
    for number, (name, color) in enumerate(COLORS.items()):
        (root / name).mkdir(parents=True)
        for i in range(9 + number):
            shown = rng.choice(list(COLORS.values())) if i < 2 else np.array(color)
            pixels = (shown + rng.integers(-60, 60, (24, 24, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    (root / "9" / "0.png").rename(root / "9" / os.fsdecode(b"z\xe9ro.png"))
    return root


def job(root: Path, **changes: Any) -> Job:  # noqa: ANN401 - fields of Job
    given = {"command": "finetune", "data": str(root), "recipe": FINETUNE, "model": {"model": "digits"}, "full": False}
    return Job(**{**given, "folds": COUNT, **changes})


def events(asked: Job, out: Path, *, resume: bool = False) -> Iterator[Event]:
    return Folds(asked, out, device="cpu", workers=0).events(resume=resume)


def leave_after(asked: Job, out: Path, count: int, kind: type) -> None:
    """Run folds until so many events of a kind have come, and leave them there, as a crash does."""
    running = events(asked, out)
    for _ in range(count):
        next(event for event in running if isinstance(event, kind))
    running.close()  # type: ignore[attr-defined] # it is a generator


@pytest.fixture(scope="module")
def reported(colored: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """Return the folder of folds that nothing disturbed, and their events."""
    out = tmp_path_factory.mktemp("folds") / "whole"
    return out, list(events(job(colored), out))


@pytest.fixture(scope="module")
def whole(reported: tuple[Path, list[Event]]) -> Path:
    return reported[0]


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def rows(out: Path) -> list[dict[str, str]]:
    """Read the answers as any program does."""
    with (out / "validation.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def weights(out: Path) -> list[str]:
    return [metrics(out / f"fold-{number}")["sha256"] for number in range(1, COUNT + 1)]


def test_every_image_is_judged_once_by_a_model_that_has_not_seen_it(whole: Path, colored: Path) -> None:
    found = rows(whole)
    assert sorted(row["path"] for row in found) == sorted(map(str, colored.rglob("*.png")))
    for number in range(1, COUNT + 1):
        folder = whole / f"fold-{number}"
        data = training_set.read(folder / "split.csv")
        judged = [row["path"] for row in found if row["fold"] == str(number)]
        assert judged == [path for path, _ in data.side(VAL)] == [row["path"] for row in rows(folder)]
        assert not {path for path, _ in data.side(TRAIN)} & set(judged)
        own = [row for row in found if row["fold"] == str(number)]
        assert rows(folder) == [{name: cell for name, cell in row.items() if name != "fold"} for row in own]


@pytest.mark.slow
def test_the_answers_are_what_predict_says_with_the_model_of_the_fold(whole: Path) -> None:
    for number in range(1, COUNT + 1):
        found = rows(whole / f"fold-{number}")
        with Classifier(str(whole / f"fold-{number}")) as model:
            records = list(model.predict([row["path"] for row in found], topk=COUNT))
        for row, record in zip(found, records, strict=True):
            shares = {each.label: each.probability for each in record.predictions}
            label, taken_for = (row[name].removeprefix("'") for name in ("label", "taken_for"))
            assert taken_for == record.top1.label
            assert float(row["probability"]) == pytest.approx(shares[taken_for], abs=1e-4)
            assert float(row["loss"]) == pytest.approx(-np.log(shares[label]), abs=1e-3)


@pytest.mark.slow
def test_the_model_of_a_fold_is_that_of_an_ordinary_run_on_its_split(whole: Path, tmp_path: Path) -> None:
    for number, expected in enumerate(weights(whole), 1):
        split = whole / f"fold-{number}" / "split.csv"
        *_, done = Run(job(split, folds=0), tmp_path / str(number), device="cpu", workers=0).events()
        assert isinstance(done, Done)
        assert done.metrics["sha256"] == expected
        assert rows(tmp_path / str(number)) == rows(split.parent)


def test_features_are_computed_once_and_the_heads_are_scikit_learns(reported: tuple[Path, list[Event]]) -> None:
    out, seen = reported
    assert [event for event in seen if isinstance(event, Cached)] == [Cached(done, 30) for done in range(1, 31)]
    judged_first = next(at for at, event in enumerate(seen) if isinstance(event, Judged))
    assert all(at < judged_first for at, event in enumerate(seen) if isinstance(event, Cached))
    strengths = [event.strength for event in seen if isinstance(event, Solved)]
    for number, strength in enumerate(strengths, 1):
        folder = out / f"fold-{number}"
        data = training_set.read(folder / "split.csv")
        table = np.lib.format.open_memmap(folder / "checkpoints" / features.FILENAME, mode="r")
        train = [label for _, label in data.side(TRAIN)]
        expected = make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-8, max_iter=10_000))
        expected.fit(table[: len(train)], train)
        taken = [row["taken_for"].removeprefix("'") for row in rows(folder)]
        assert taken == [data.classes[index] for index in expected.predict(table[len(train) :])]


def test_the_figures_are_those_of_scikit_learn_over_all_images(reported: tuple[Path, list[Event]]) -> None:
    out, seen = reported
    found, done = rows(out), seen[-1]
    assert isinstance(done, Done)
    assert metrics(out) == json.loads(json.dumps(done.metrics))
    true, taken = ([row[name].removeprefix("'") for row in found] for name in ("label", "taken_for"))
    right = round(accuracy_score(true, taken, normalize=False))
    assert 15 < right < 30
    folds = [[row["label"] == row["taken_for"] for row in found if row["fold"] == str(n)] for n in range(1, COUNT + 1)]
    shares = [float(np.mean(each)) for each in folds]
    said = metrics(out)
    assert (said["model"], said["command"], said["folds"]) == ("digits", "finetune", COUNT)
    assert (said["images"], said["never_judged"], said["left_out"], said["best_epochs"]) == (30, 0, 0, False)
    assert said["top1"] == accuracy_score(true, taken)
    interval = binomtest(right, 30).proportion_ci(method="wilson")
    assert said["top1_ci95"] == pytest.approx([interval.low, interval.high])
    assert said["fold_top1"] == pytest.approx(shares)
    assert said["fold_images"] == [len(each) for each in folds] == [10, 10, 10]
    assert said["fold_top1_mean"] == pytest.approx(np.mean(shares))
    assert said["fold_top1_std"] == pytest.approx(np.std(shares, ddof=1))
    assert (said["majority_class"], said["majority_top1"]) == ("=blå", pytest.approx(11 / 30))
    recall = recall_score(true, taken, average=None, labels=list(COLORS))
    assert [(row["class"], row["images"]) for row in said["per_class"]] == [("10", 9), ("9", 10), ("=blå", 11)]
    assert [row["recall"] for row in said["per_class"]] == pytest.approx(recall)
    assert sum(row["images"] for row in said["worst_confusions"]) == 30 - right
    judged = [event for event in seen if isinstance(event, Judged)]
    assert judged == [Judged(n, COUNT, 10, share) for n, share in enumerate(shares, 1)]


def test_the_page_of_mistakes_has_those_of_all_folds(whole: Path) -> None:
    text = (whole / "mistakes.html").read_text()
    wrong = sorted(
        (row for row in rows(whole) if row["label"] != row["taken_for"]), key=lambda row: -float(row["loss"])
    )
    assert {row["fold"] for row in wrong} > {"1"}
    assert f"whole: {len(wrong)} worst of {len(wrong)} mistakes in 30 validation images" in text
    shown = [unescape(path) for path in re.findall(r'<div class="path"><bdi>(.*?)</bdi>', text)]
    assert shown == [row["path"].encode("utf-8", "backslashreplace").decode() for row in wrong]
    assert len(re.findall("base64,", text)) == len(wrong)
    assert all(b64decode(content) for content in re.findall(r"base64,([\w+/=]+)", text))


def test_the_folder_holds_this(whole: Path) -> None:
    files = {"run.yaml", "metrics.json", "validation.csv", "mistakes.html", "confusion.png"}
    assert {path.name for path in whole.iterdir()} == files | {f"fold-{n}" for n in range(1, COUNT + 1)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Solved, Judged])
def test_left_in_or_after_the_second_fold_it_goes_on_to_the_same_answers(
    whole: Path, colored: Path, tmp_path: Path, kind: type
) -> None:
    out = tmp_path / "left"
    leave_after(job(colored), out, 2, kind)
    assert not (out / "metrics.json").exists()
    seen = list(events(job(colored), out, resume=True))
    assert len([event for event in seen if isinstance(event, Solved)]) == (2 if kind is Solved else 1)
    assert not [event for event in seen if isinstance(event, Cached)]
    assert (metrics(out), rows(out), weights(out)) == (metrics(whole), rows(whole), weights(whole))


@pytest.mark.slow
def test_all_layers_left_in_the_second_fold_go_on_from_their_checkpoint(
    colored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two folds, each has two epochs of two steps."""
    asked = job(colored, folds=2, full=True, recipe=replace(FINETUNE, epochs=2, batch=7, lr=1e-3, augment="none"))
    *_, done = events(asked, tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)  # a checkpoint after every step
    leave_after(asked, tmp_path / "left", 6, Step)
    seen = list(events(asked, tmp_path / "left", resume=True))
    assert [event.step for event in seen if isinstance(event, Step)] == [2, 3, 4]  # the second was not saved
    assert isinstance(done, Done)
    assert metrics(tmp_path / "left") == metrics(tmp_path / "whole") == json.loads(json.dumps(done.metrics))
    assert rows(tmp_path / "left") == rows(tmp_path / "whole")
    assert done.metrics["best_epochs"]
    caveat = dict(figures_of_folds(done.metrics))["but"]
    assert caveat.startswith("the best epoch of each model was chosen on the images that it is judged on")


@pytest.mark.slow
def test_a_signal_in_a_fold_ends_it_before_the_next_one(whole: Path, colored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[Event] = []
    to_go_on = f"\nTo go on: resnest finetune {colored} -o {out} --resume"
    before, running = signal.getsignal(signal.SIGTERM), events(job(colored), out)
    next(event for event in running if isinstance(event, Solved))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped, match=r"^stopped by SIGTERM before fold 2 of 3; ") as stopped:
        seen.extend(running)
    assert str(stopped.value).endswith(to_go_on)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert [type(event) for event in seen] == [Judged]
    list(events(job(colored), out, resume=True))
    assert weights(out) == weights(whole)


@pytest.mark.slow
def test_images_that_moved_are_found_by_all_folds(whole: Path, colored: Path, tmp_path: Path) -> None:
    before, now, out = tmp_path / "before", tmp_path / "now", tmp_path / "out"
    shutil.copytree(colored, before)
    leave_after(job(before), out, 2, Solved)
    before.rename(now)
    words = re.escape(f"If the images moved: resnest finetune NEWDIR -o {out} --resume")
    with pytest.raises(BadDataSet, match=f"{words}$"):
        list(events(job(before), out, resume=True))
    list(events(job(now), out, resume=True))
    assert weights(out) == weights(whole)
    assert sorted(Path(row["path"]) for row in rows(out)) == sorted(now.rglob("*.png"))


def test_answers_of_a_fold_that_are_damaged_are_told(whole: Path, colored: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    table = out / "fold-2" / "validation.csv"
    table.write_text(
        "".join(table.read_text(errors="surrogateescape").splitlines(keepends=True)[:-1]), "utf-8", "ignore"
    )
    with pytest.raises(BadDataSet, match=f"^{table} is not what the run wrote. Remove {out}/fold-2/metrics.json and"):
        list(events(job(colored), out, resume=True))
    (out / "fold-2" / "metrics.json").unlink()
    list(events(job(colored), out, resume=True))
    assert rows(out) == rows(whole)


def test_answers_are_read_back_whatever_the_names(tmp_path: Path) -> None:
    names = ("=1+1", "'a", 'a,"b"', "blå", "a b", "\udce9")
    found = [Answer(f"/data/{name}", name, "cat", 0.5, 1.25) for name in names]
    answers.write(tmp_path, found)
    examples = tuple(Example(answer.path, answer.label, VAL) for answer in found)
    setup: Any = SimpleNamespace(out=tmp_path, data=TrainingSet(names, examples))
    assert answers.read(setup) == found
    assert (tmp_path / "validation.csv").read_bytes().splitlines()[-1] == b"/data/\xe9,\xe9,cat,0.5,1.25"


@pytest.mark.slow
def test_an_image_that_must_stay_to_train_on_is_counted_not_judged(colored: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "rare").mkdir(parents=True)
    for name in COLORS:
        (tmp_path / "data" / name).symlink_to(colored / name)
    Image.new("RGB", (24, 24), (200, 200, 0)).save(tmp_path / "data" / "rare" / "0.png")
    *_, done = events(job(tmp_path / "data", folds=2), tmp_path / "out")
    assert isinstance(done, Done)
    said = done.metrics
    assert (said["images"], said["never_judged"], said["folds"]) == (30, 1, 2)
    assert said["per_class"][-1] == {"class": "rare", "images": 0, "recall": None}
    assert len(rows(tmp_path / "out")) == 30


REFUSED = [
    (("--folds", "1"), 2, "--folds 1: use a number from 2 to 50."),
    (("--folds", "0"), 2, "--folds 0: use a number from 2 to 50."),
    (("--folds", "51"), 2, "--folds 51: use a number from 2 to 50."),
    (("--folds", "3", "--val", "0.3"), 2, "--val 0.3: --folds judges every image once, not a share of them; give one"),
    (("--folds", "3", "--gpus", "1"), 2, "--folds 3 trains in one process: leave --gpus, torchrun and Slurm's tasks"),
    (("--folds", "40"), 1, "colored has too few images for 40 folds: 10 would be empty; give fewer --folds."),
]


@pytest.mark.parametrize(("words", "code", "said"), REFUSED, ids=str)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(  # noqa: PLR0913, PLR0917 - fixtures and a table
    colored: Path, tmp_path: Path, resnest: Resnest, words: tuple[str, ...], code: int, said: str
) -> None:
    ended = resnest("finetune", colored, "-m", "digits", "-o", tmp_path / "out", "--device", "cpu", *words)
    assert ended.exit_code == code
    assert said in ended.stderr
    assert not (tmp_path / "out").exists()


def test_one_of_several_processes_and_sides_are_refused(
    colored: Path, tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("-m", "digits", "-o", tmp_path / "out", "--folds", "3")
    for side in ("train", "val"):
        shutil.copytree(colored, tmp_path / "sides" / side)
    ended = resnest("finetune", tmp_path / "sides", *words)
    assert (ended.exit_code, "sides has a val side; --folds parts images anew" in ended.stderr) == (1, True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended = resnest("finetune", colored, *words)
    assert ended.exit_code == ExitCode.USAGE
    assert "error: --folds 3 trains in one process" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_folds_go_on_only_as_they_were_begun(whole: Path, colored: Path, resnest: Resnest) -> None:
    words = ("finetune", colored, "-o", whole, "--resume")
    ended = resnest(*words, "--folds", "4")
    assert (ended.exit_code, "as the run was begun: folds 3 (now 4). Leave" in ended.stderr) == (2, True)
    ended = resnest(*words, "--epochs", "99")
    assert (ended.exit_code, "as the run was begun: epochs 30 (now 99). Leave" in ended.stderr) == (2, True)
    ended = resnest("finetune", colored, "-o", whole / "fold-1", "--resume", "--folds", "3")
    assert (ended.exit_code, "as the run was begun: folds 0 (now 3). Leave" in ended.stderr) == (2, True)


def test_the_screen_says_it_all_once(whole: Path, colored: Path, resnest: Resnest) -> None:
    ended = resnest("finetune", colored, "-o", whole, "--resume", "--device", "cpu", "-j", "0")
    assert ended.exit_code == 0, ended.stderr
    said = metrics(whole)
    one, two, three = (f"{share:.2%}" for share in said["fold_top1"])
    assert ended.stderr == (
        "loading torch ...\n"
        "class      images  left out\n"
        "10              9         0\n"
        "9              10         0\n"
        "=blå           11         0\n"
        "3 classes      30         0\n"
        f"fold 1/3  top-1 {one} of 10 images\n"
        f"fold 2/3  top-1 {two} of 10 images\n"
        f"fold 3/3  top-1 {three} of 10 images\n"
    )
    low, high = (f"{share:.2%}" for share in said["top1_ci95"])
    least, most = (f"{pick(said['fold_top1']):.2%}" for pick in (min, max))
    confused = [f"{row['class']} for {row['taken_for']} ({row['images']})" for row in said["worst_confusions"]]
    classes = sorted(said["per_class"], key=lambda row: row["recall"])
    weakest = [f"{row['class']} {row['images']} {row['recall']:.2%}" for row in classes]
    assert (
        ended.stdout.split()
        == (
            f"accuracy {said['top1']:.2%} of 30 images, each judged by the model that has not seen it "
            f"(95% interval {low} to {high}) "
            f"folds {least} to {most}, mean {said['fold_top1_mean']:.2%}, "
            f"standard deviation {said['fold_top1_std']:.2%} "
            f"baseline 36.67% by always saying '=blå' "
            f"confused {', '.join(confused)} "
            "look at mistakes.html, the images whose labels the model contradicts most: some may be wrong labels "
            "class images recall "
            f"{' '.join(weakest)} "
            f"models {whole}/fold-1 to {whole}/fold-3, each trained on the images of the other folds "
            "next one model: the same command without --folds and with another -o; "
            "--val 0.01 trains on nearly all images"
        ).split()
    )
