"""What a run leaves for people: words about it, the images that it contradicts, pictures, scalars."""

from __future__ import annotations

import csv
import json
import re
from base64 import b64decode
from dataclasses import replace
from html import unescape
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from resnest_cli import Classifier
from resnest_cli.inputs.labelled.training_set import TrainingSet
from resnest_cli.inputs.tables import Example
from resnest_cli.outputs import mistakes as page
from resnest_cli.training import answers, board, mistakes
from resnest_cli.training.answers import Answer
from resnest_cli.training.events import Done, Epoch, Step
from resnest_cli.training.job import Job
from resnest_cli.training.judgement import of_logits
from resnest_cli.training.recipe import FINETUNE
from resnest_cli.training.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Resnest

RED, BLUE = (200, 40, 40), (40, 40, 200)
ODD = "<b>&"  # the class of blue images


def paint(path: Path, color: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-40, 40, (24, 24, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(color) + noise).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw two classes of noisy colors; one blue validation image lies among the red ones."""
    root = tmp_path_factory.mktemp("colors")
    for side, count in (("train", 10), ("val", 8)):
        for number, (name, color) in enumerate({"red": RED, ODD: BLUE}.items()):
            for i in range(count):
                paint(root / side / name / f"{i}.png", color, 100 * number + i + (side == "val") * 1000)
    paint(root / "val" / "red" / "wrong.png", BLUE, 5000)
    return root


def asked(root: Path, *, full: bool = False) -> Job:
    short = replace(FINETUNE, epochs=2, batch=10, augment="none", lr=1e-4)
    return Job("finetune", str(root), short, model={"model": "digits"}, full=full)


def finish(job: Job, out: Path, *, resume: bool = False) -> dict[str, Any]:
    *_, last = Run(job, out, device="cpu", workers=0).events(resume=resume)
    assert isinstance(last, Done)
    return last.metrics


@pytest.fixture(scope="module")
def solved(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a solved head."""
    out = tmp_path_factory.mktemp("runs") / "solved"
    finish(asked(colors), out)
    return out


def test_the_image_with_the_wrong_label_is_on_the_page(solved: Path, colors: Path) -> None:
    text = (solved / mistakes.FILENAME).read_text()
    assert f"{solved.name}: 1 worst of 1 mistakes in 17 validation images" in text
    wrong = colors / "val" / "red" / "wrong.png"
    assert re.findall(r'<div class="path"><bdi>(.*?)</bdi>', text) == [str(wrong)]
    with Classifier(str(solved)) as model:
        (record,) = model.predict([wrong], topk=2)
    first, second = record.predictions
    rows = dict(re.findall(r"<tr><td>(.*?)</td><td><bdi>(.*?)</bdi>", text))
    assert unescape(rows["taken for"]) == f"{ODD}, {first.probability:.1%}"
    assert rows["label"] == f"red, {second.probability:.1%}"
    assert float(rows["loss"]) == pytest.approx(-np.log(second.probability), abs=0.01)
    assert "<b>" not in text
    (content,) = re.findall(r"base64,([\w+/=]+)", text)
    with Image.open(BytesIO(b64decode(content))) as image:
        assert (image.format, image.size) == ("WEBP", (24, 24))
        np.testing.assert_allclose(np.asarray(image).mean((0, 1)), BLUE, atol=15)


def test_the_confusion_picture_is_the_one_that_validate_draws(solved: Path, tmp_path: Path, resnest: Resnest) -> None:
    words = ("-m", solved, "-q", "--confusion", tmp_path / "same.png")
    assert resnest("validate", solved, *words).exit_code == 0
    assert (tmp_path / "same.png").read_bytes() == (solved / "confusion.png").read_bytes()


def test_a_head_alone_has_no_curves(solved: Path) -> None:
    assert not (solved / "curves.png").exists()


def test_the_worst_answers_are_the_wrong_ones_by_their_loss() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    judged = of_logits(logits, torch.tensor([0, 0, 1, 0]))
    assert torch.allclose(judged.confidence, functional.softmax(logits.double(), dim=1).amax(dim=1))
    examples = tuple(Example(str(row), "ab"[label], "val") for row, label in enumerate((0, 0, 1, 0)))
    setup: Any = SimpleNamespace(data=TrainingSet(("a", "b"), examples))
    found = answers.of(setup, judged)
    assert [(answer.path, answer.label, answer.taken_for) for answer in mistakes.worst(found)] == [
        ("1", "a", "b"),
        ("2", "b", "a"),
        ("3", "a", "b"),
    ]
    loss, confidence = functional.cross_entropy(logits[1:2], torch.tensor([0])), logits[1].softmax(dim=0)[1]
    assert (found[1].loss, found[1].probability) == pytest.approx((float(loss), float(confidence)), abs=1e-6)
    many = [Answer(str(row), "a", "b", 0.7, 1.2) for row in range(60)]
    assert mistakes.worst(many) == many[: page.MOST]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_any_more_is_listed_without_a_picture(
    colors: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost between the last step and the page."""
    whole = mistakes.worst

    def lost(*given: Any) -> Any:  # noqa: ANN401 - as the function itself
        wrong.write_bytes(b"")
        return whole(*given)

    for path in sorted(colors.rglob("*.png")):
        copy = tmp_path / "data" / path.relative_to(colors)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    wrong = tmp_path / "data" / "val" / "red" / "wrong.png"
    monkeypatch.setattr(mistakes, "worst", lost)
    *_, last = Run(asked(tmp_path / "data"), tmp_path / "out", device="cpu", workers=workers).events()
    assert isinstance(last, Done)
    text = (tmp_path / "out" / mistakes.FILENAME).read_text()
    assert str(wrong) in text
    assert "<img" not in text


@pytest.mark.slow
def test_where_every_answer_is_right_there_is_no_page_and_the_next_command_is_named(
    colors: Path, tmp_path: Path, resnest: Resnest
) -> None:
    rows = [
        f"{path},{path.parent.name},{path.parent.parent.name}"
        for path in sorted(colors.rglob("*.png"))
        if path.stem != "wrong"
    ]
    (tmp_path / "list.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out"
    ended = resnest("finetune", tmp_path / "list.csv", "-m", "digits", "--head-only", "-o", out, "--device", "cpu")
    assert ended.exit_code == 0, ended.stderr
    assert not (out / mistakes.FILENAME).exists()
    assert "verdict" not in ended.stdout
    assert ended.stdout.endswith(f"next: resnest predict IMAGE -m {out}\n")


@pytest.mark.slow
def test_labels_that_say_nothing_teach_nothing_and_no_next_command_is_named(tmp_path: Path, resnest: Resnest) -> None:
    for side, count in (("train", 12), ("val", 6)):
        for i in range(2 * count):  # the same noise, whatever the class
            paint(tmp_path / "data" / side / ("ant", "bee")[i % 2] / f"{i}.png", (128, 128, 128), i + 100 * len(side))
    out = tmp_path / "out"
    ended = resnest("finetune", tmp_path / "data", "-m", "digits", "--head-only", "-o", out, "--device", "cpu")
    assert ended.exit_code == 0, ended.stderr
    said = " ".join(ended.stdout.split())
    assert "verdict it has learned nothing that can be shown" in said
    assert "a look at the labels (mistakes.html)" in said
    assert "next:" not in said
    assert json.loads((out / "metrics.json").read_text())["verdict"]["learned"] is False


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard itself reads: (epoch, value) by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(out / board.FOLDER))
    read.Reload()
    # Two files of one second are read in any order.
    return {name: sorted((item.step, item.value) for item in read.Scalars(name)) for name in read.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_reads_the_history_also_of_a_run_that_was_resumed(colors: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the scalars are written where tensorboard is installed")
    out, steps_per_epoch = tmp_path / "out", 2
    events = Run(asked(colors, full=True), out, device="cpu", workers=0).events()
    for _ in range(steps_per_epoch + 1):
        next(event for event in events if isinstance(event, Step))
    assert [step for step, _ in scalars(out)["loss/train"]] == [0, 1]  # while it trains
    events.close()  # type: ignore[attr-defined] # it is a generator
    finish(asked(colors, full=True), out, resume=True)
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = scalars(out)
    columns = {"loss/train": "train_loss", "loss/validation": "val_loss", "top1/validation": "val_top1", "lr": "lr"}
    assert found.keys() == columns.keys()
    for name, column in columns.items():
        expected = [(int(row["epoch"]), float(row[column])) for row in rows if name != "lr" or row["stage"] != "head"]
        assert [step for step, _ in found[name]] == [step for step, _ in expected]
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in expected], rel=1e-6)


EPOCH = Epoch("layers", 1, step=2, lr=0.1, train_loss=1.0, val_loss=0.5, val_top1=0.75, seconds=1.0)


def test_scalars_that_cannot_be_written_cost_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard", reason="the scalars are written where tensorboard is installed")
    (tmp_path / board.FOLDER).write_text("a file")
    made = board.Board(tmp_path, wanted=True)
    made.add(EPOCH)
    made.add(EPOCH)
    made.close()
    (record,) = caplog.records
    left_out = "TensorBoard's scalars are left out from here on (FileExistsError"
    assert record.getMessage().startswith(f"{tmp_path / board.FOLDER}: {left_out}")


def test_without_tensorboard_there_is_neither_a_folder_nor_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "find_spec", lambda _: None)
    made = board.Board(tmp_path, wanted=True)
    made.add(EPOCH)
    made.close()
    assert not [*tmp_path.iterdir()]
    assert not caplog.records


def test_one_process_of_several_writes_scalars(tmp_path: Path) -> None:
    board.Board(tmp_path, wanted=False).add(EPOCH)
    assert not [*tmp_path.iterdir()]
