"""`resnest validate` on the digits' held-out images: its numbers are scikit-learn's, whatever the folders look like."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import tarfile
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Options
from resnest_cli.engines.fake import FakeEngine
from resnest_cli.errors import ExitCode, OutputError, UsageError
from resnest_cli.inputs.labelled.dataset import Dataset
from resnest_cli.models.catalog import find_model
from resnest_cli.models.labels import load
from resnest_cli.outputs import plots
from resnest_cli.outputs.saving import save
from resnest_cli.pipeline.stream import Row
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.tasks.validate import report
from resnest_cli.tasks.validate.result import WORST
from resnest_cli.tasks.validate.validation import validate
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Resnest, Shell
    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("decode_here")

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KEYS = [
    *("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation"),
    *("n", "errors", "top1_ci95", "top5_ci95", "loss", "ece", "published_top1"),
    *("exif", "split"),
]


class HeldOut(NamedTuple):
    """The held-out images in class folders, and each file's class in the order of the folders' names."""

    folder: Path
    truth: dict[Path, int]


@pytest.fixture(scope="module")
def held_out(held_out_digits: list[Any], tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    """Write them."""
    folder = tmp_path_factory.mktemp("held_out")
    truth = {}
    for digit in held_out_digits:
        place = folder / CLASSES[digit.label] / f"{digit.row:04d}.png"
        place.parent.mkdir(exist_ok=True)
        digit.image.save(place)
        truth[place] = digit.label
    return HeldOut(folder, truth)


def logits_of(paths: Sequence[Path]) -> NDArray[np.float32]:
    trunk = Trunk(find_model("digits"), Options("digits", exif=False))
    rows = list(trunk.rows([Source(str(path)) for path in paths]))
    trunk.close()
    return np.stack([row.values for row in rows if isinstance(row, Row)])


def reference(truth: dict[Path, int], among: Sequence[int] = range(10)) -> dict[str, Any]:
    """Compute the numbers with scikit-learn, scipy and torchmetrics, from the trunk's own logits."""
    import torch
    from scipy.stats import binomtest
    from sklearn.metrics import accuracy_score, log_loss
    from torchmetrics.functional.classification import multiclass_calibration_error

    own = np.searchsorted(np.array(among), np.array([*truth.values()]))
    logits = torch.tensor(logits_of([*truth])[:, list(among)])
    probabilities = logits.double().softmax(dim=1)
    best = logits.argsort(dim=1, descending=True, stable=True).numpy()
    right = {1: int(accuracy_score(own, best[:, 0], normalize=False)), 5: int((best[:, :5] == own[:, None]).sum())}
    n = len(own)
    numbers: dict[str, Any] = {"n": n}
    for k, hits in right.items():
        interval = binomtest(hits, n).proportion_ci(method="wilson")
        numbers[f"top{k}"] = round(100 * hits / n, 4)
        numbers[f"top{k}_err"] = round(100 - 100 * hits / n, 4)
        numbers[f"top{k}_ci95"] = pytest.approx([100 * interval.low, 100 * interval.high], abs=6e-5)
    numbers["loss"] = pytest.approx(log_loss(own, probabilities.numpy(), labels=range(len(among))), abs=1e-6)
    if len(among) > 1:
        error = multiclass_calibration_error(probabilities, torch.tensor(own), len(among), n_bins=15)
        numbers["ece"] = pytest.approx(float(error), abs=1e-6)
    return numbers


def measured(resnest: Resnest, *args: str | Path, code: int = ExitCode.OK) -> dict[str, Any]:
    ended = resnest("validate", *args, "-m", "digits", "-f", "json", "-q")
    assert ended.exit_code == code, ended.output
    row: dict[str, Any] = json.loads(ended.stdout)
    return row


def test_the_held_out_images_through_the_command(resnest: Resnest, held_out: HeldOut) -> None:
    row = measured(resnest, held_out.folder)
    assert list(row) == KEYS
    assert row["top1"] >= 99
    assert row == row | reference(held_out.truth)
    assert (row["model"], row["param_count"], row["errors"], row["published_top1"]) == ("digits", 0.31, 0, None)
    assert (row["img_size"], row["crop_pct"], row["interpolation"]) == (32, 1.0, "bilinear")


def mislabeled(held_out: HeldOut, folder: Path) -> dict[Path, int]:
    """Copy the images; every seventh goes to the folder of the next class. Every class has mistakes then."""
    truth = {}
    for i, (path, label) in enumerate(held_out.truth.items()):
        said = (label + (i % 7 == 0)) % 10
        target = folder / CLASSES[said] / path.name
        target.parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(path, target)
        truth[target] = said
    return truth


def test_mistakes_are_counted_as_scikit_learn_counts_them(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth = mislabeled(held_out, tmp_path / "data")
    table, matrix, picture = (tmp_path / name for name in ("classes.csv", "matrix.csv", "matrix.png"))
    files = ("--per-class", table, "--confusion", matrix, "--confusion", picture, "-o", tmp_path / "all.json")
    row = measured(resnest, tmp_path / "data", *files)
    assert row == row | reference(truth)
    assert row == json.loads((tmp_path / "all.json").read_text())
    assert 80 < row["top1"] < 90
    own, best = [*truth.values()], logits_of([*truth]).argmax(axis=1)
    counts = confusion_matrix(own, best)
    rows = list(csv.reader(matrix.read_text().splitlines()))
    assert rows[0] == ["index", "wnid", "label", *map(str, range(10))]
    assert [line[:3] for line in rows[1:]] == [[str(i), "", name] for i, name in enumerate(CLASSES)]
    assert np.array_equal(np.array([line[3:] for line in rows[1:]], int), counts)
    precision, recall, _, support = precision_recall_fscore_support(own, best)
    for i, line in enumerate(csv.DictReader(table.read_text().splitlines())):
        assert (int(line["index"]), line["label"], int(line["n"])) == (i, CLASSES[i], support[i])
        assert float(line["top1"]) == round(100 * recall[i], 4)
        assert float(line["precision"]) == round(100 * precision[i], 4)
        assert int(line["predicted"]) == counts[:, i].sum()
        wrong = counts[i] * (np.arange(10) != i)
        assert (int(line["mistaken_for_index"]), int(line["mistaken_for_n"])) == (wrong.argmax(), wrong.max())
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 500


def in_folders(folder: Path, truth: dict[Path, int], name: Callable[[int], str]) -> None:
    for path, label in truth.items():
        target = folder / name(label) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def first(held_out: HeldOut, each: int = 3) -> dict[Path, int]:
    """Take the first few images of each class, to be quick."""
    return {path: label for path, label in held_out.truth.items() if path in sorted(path.parent.iterdir())[:each]}


LAYOUTS: dict[str, Callable[[int], str]] = {
    "index": str,
    "index with zeros": "{:04d}".format,
    "name in capitals": lambda i: CLASSES[i].upper(),
    "a name or an index": lambda i: CLASSES[i] if i % 2 else str(i),
    "below another folder": lambda i: f"val/{CLASSES[i]}",
    "with folders below": lambda i: f"{CLASSES[i]}/camera {i % 2}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_decide_however_they_are_written(
    layout: str, resnest: Resnest, held_out: HeldOut, tmp_path: Path
) -> None:
    truth = first(held_out)
    in_folders(tmp_path, truth, LAYOUTS[layout])
    row = measured(resnest, tmp_path)
    assert row == row | reference(truth)
    assert row["n"] == 30


def test_missing_classes_shift_nothing(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    truth = {path: label for path, label in first(held_out).items() if label in {1, 4, 7, 8}}
    in_folders(tmp_path, truth, CLASSES.__getitem__)
    row = measured(resnest, tmp_path)
    assert row == row | reference(truth)
    alone = measured(resnest, tmp_path, "--subset")
    assert alone == alone | reference(truth, (1, 4, 7, 8))
    assert alone["loss"] < row["loss"]
    assert (row["top5"], alone["top5"]) == (100, 100)


def test_a_single_image(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    truth = dict([next(iter(held_out.truth.items()))])
    in_folders(tmp_path, truth, CLASSES.__getitem__)
    row = measured(resnest, tmp_path)
    assert row == row | reference(truth)
    assert (row["n"], row["top1"]) == (1, 100)
    assert row["top1_ci95"] == [20.6549, 100]
    only = measured(resnest, tmp_path, "--subset")
    assert (only["loss"], only["ece"], only["top1"]) == (0, 0, 100)


def test_empty_extra_and_hidden_folders_change_nothing(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    truth = {path: label for path, label in first(held_out).items() if label != 3}
    data = tmp_path / "data"
    in_folders(data, truth, CLASSES.__getitem__)
    for name in ("three", "no class at all", ".cache", "__MACOSX", "four/.thumbs"):
        (data / name).mkdir()
    (data / "no class at all" / "notes.txt").write_text("not an image")
    for name in (".cache", "__MACOSX", "four/.thumbs"):
        shutil.copy(next(iter(truth)), data / name / "x.png")
    row = measured(resnest, data, "--per-class", tmp_path / "classes.csv")
    assert row == row | reference(truth)
    empty = [*csv.DictReader((tmp_path / "classes.csv").read_text().splitlines())][3]
    assert (empty["label"], empty["n"], empty["top1"], empty["mistaken_for_label"]) == ("three", "0", "", "")


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:xz"])
def test_an_archive_is_as_its_folder(
    kind: Any,  # noqa: ANN401 - of a literal type
    resnest: Resnest,
    held_out: HeldOut,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = first(held_out)
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, kind) as tar:
        for path in (p for i in (7, 2, 9, 0, 1, 3, 8, 4, 5, 6) for p in truth if truth[p] == i):
            tar.add(path, f"./data/{path.parent.name}/{path.name}")
        tar.add(next(iter(truth)), "data/README.txt")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    row = measured(resnest, archive)
    assert row == row | reference(truth)
    assert not [*(tmp_path / "scratch").iterdir()]


def test_a_list_with_labels_of_every_kind(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    truth = first(held_out)
    for path in truth:
        shutil.copy(path, tmp_path / path.name)
    lines = [f"{i},{path.name},{label if i % 2 else CLASSES[label]}" for i, (path, label) in enumerate(truth.items())]
    (tmp_path / "list.csv").write_text("\ufeffid,path,label\n" + "\n".join(lines), encoding="utf-8")
    row = measured(resnest, tmp_path / "list.csv")
    assert row == row | reference(truth)


@pytest.fixture(scope="module")
def sided(held_out: HeldOut, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three sides of one wrong, two right and four right images."""
    folder = tmp_path_factory.mktemp("sided")
    sides = {"train": (1, {"seven": "one"}), "Valid": (2, {"two": "two"}), "test": (4, {"nine": "nine"})}
    for side, (count, classes) in sides.items():
        for true, said in classes.items():
            for path in sorted(path for path in held_out.truth if path.parent.name == true)[:count]:
                target = folder / side / said / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    return folder


def as_it_is(folder: Path, _tmp_path: Path) -> Path:
    return folder


def as_tar(folder: Path, tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder, "data")
    return tmp_path / "x.tar"


def as_table(folder: Path, tmp_path: Path) -> Path:
    rows = [f"{path},{path.parent.name},{path.parent.parent.name}" for path in folder.rglob("*.png")]
    (tmp_path / "x.csv").write_text("\n".join(["path,label,Split", *rows]))
    return tmp_path / "x.csv"


def as_folder_with_table(folder: Path, tmp_path: Path) -> Path:
    return as_table(folder, tmp_path).rename(tmp_path / "split.csv").parent


def as_classes_with_sides(folder: Path, tmp_path: Path) -> Path:
    for path in folder.rglob("*.png"):
        target = tmp_path / path.parent.name / path.parent.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


@pytest.mark.parametrize("make", [as_it_is, as_tar, as_table, as_folder_with_table, as_classes_with_sides])
def test_one_side_is_scored_and_said(
    make: Callable[[Path, Path], Path], sided: Path, tmp_path: Path, resnest: Resnest
) -> None:
    place = make(sided, tmp_path)
    named = place / "split.csv" if make is as_folder_with_table else place
    for words, n, side in (((), 2, "val"), (("--split", "train"), 1, "train"), (("--split", "test"), 4, "test")):
        ended = resnest("validate", place, "-m", "digits", "-f", "json", *words)
        row = json.loads(ended.stdout)
        assert (row["n"], row["top1"], row["split"]) == (n, 0 if side == "train" else 100, side)
        assert f"the {side} side of {named}: {n} images; not read: " in ended.stderr
    row = measured(resnest, place, "--split", "all")
    assert (row["n"], row["split"]) == (7, "all")
    assert re.search(r"images +2, of 1 class, the val side", resnest("validate", place, "-m", "digits").stdout)


def test_without_a_val_side_the_test_side_is_scored_else_all(sided: Path, tmp_path: Path, resnest: Resnest) -> None:
    for side in ("train", "test"):
        shutil.copytree(sided / side, tmp_path / side)
    assert measured(resnest, tmp_path)["split"] == "test"
    shutil.rmtree(tmp_path / "test")
    ended = resnest("validate", tmp_path, "-m", "digits")
    assert f"{tmp_path} has a train side only, and that is scored." in ended.stderr
    assert measured(resnest, tmp_path / "train")["split"] == "all"
    ended = resnest("validate", tmp_path, "-m", "digits", "--split", "val")
    assert ended.exit_code == ExitCode.USAGE
    assert f"--split val: {tmp_path} has no such side; it has train." in ended.stderr


def test_what_is_on_another_side_may_have_any_label(sided: Path, tmp_path: Path, resnest: Resnest) -> None:
    shutil.copytree(sided, tmp_path / "data")
    (tmp_path / "data" / "train" / "one").rename(tmp_path / "data" / "train" / "no class")
    assert measured(resnest, tmp_path / "data")["n"] == 2
    ended = resnest("validate", tmp_path / "data", "-m", "digits", "--split", "train")
    assert "'train/no class' is no class of the model" in ended.stderr


def test_a_side_without_class_folders_is_said_to_have_none(tmp_path: Path) -> None:
    """As ImageNet comes from Kaggle: classes to train on, and fifty thousand images side by side to validate on."""
    for folder in ("Data/CLS-LOC/train/n01440764", "Data/CLS-LOC/val"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "ILSVRC2012_val_00000001.JPEG").touch()
    named = load(find_model("resnest50d"))
    with pytest.raises(UsageError, match=r"CLS-LOC/val/ILSVRC2012_val_00000001\.JPEG is in no class folder"):
        Dataset(tmp_path, named)
    assert Dataset(tmp_path, named, "train").present == (0,)


def test_a_class_may_be_called_like_a_side(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in ("train", "car", *map(str, range(100, 108)))))
    for folder in ("train", "car", "val/train", "val/car"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "x.jpg").touch()
    named = load(find_model("digits"), tmp_path / "names.txt")
    assert Dataset(tmp_path / "data", named).sides == {"": 2, "val": 2}
    assert Dataset(tmp_path / "data" / "val", named).sides == {"": 2}


def test_unreadable_files_are_counted_and_named_and_never_replaced(
    resnest: Resnest, held_out: HeldOut, tmp_path: Path
) -> None:
    truth = first(held_out)
    clean = tmp_path / "clean"
    in_folders(clean, truth, CLASSES.__getitem__)
    good = measured(resnest, clean)
    (clean / "five" / "000.png").write_bytes(b"")
    (clean / "six" / "\x1b[2J.png").write_text("<html>")
    os.mkfifo(clean / "two" / "pipe.png")
    ended = resnest("validate", clean, "-m", "digits", "-f", "json", "-b", "4")
    assert ended.exit_code == ExitCode.SOME_FAILED
    assert json.loads(ended.stdout) == good | {"errors": 3}
    named = [line for line in ended.stderr.splitlines() if line.startswith(str(tmp_path))]
    assert [line.removeprefix(f"{clean}/").split(": ")[:2] for line in named] == [
        ["five/000.png", "NotAnImage"],
        ["six/\\x1b[2J.png", "NotAnImage"],
        ["two/pipe.png", "UnreadableInput"],
    ]
    assert "no answer for 3 of 33 images." in ended.stderr


def test_an_unreadable_member_is_named_as_it_is_in_the_archive(resnest: Resnest, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"%PDF")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "bad.png", "nine/bad.png")
    ended = resnest("validate", tmp_path / "images.tar", "-m", "digits", "-f", "json")
    assert ended.exit_code == ExitCode.SOME_FAILED
    row = json.loads(ended.stdout)
    assert (row["n"], row["errors"], row["top1"], row["top1_ci95"], row["loss"]) == (0, 1, None, None, None)
    assert f"{tmp_path}/images.tar/nine/bad.png: NotAnImage: this is a PDF document" in ended.stderr
    assert "no images" in resnest("validate", tmp_path / "images.tar", "-m", "digits").stdout


def listed(folder: Path, model: str, *names: str) -> Dataset:
    """List a folder with one image (which nobody opens) in each of the folders `names`."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "x.jpg").touch()
    return Dataset(folder, load(find_model(model)))


def test_imagenet_by_wnid_name_and_index(tmp_path: Path) -> None:
    names = ("n02012849", "n03126707", "great_grey_owl", "Cardigan", "cardigan", "7", "tench")
    assert listed(tmp_path, "resnest50d", *names).present == (0, 7, 24, 134, 264, 474, 517)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crane", "'crane' may be 134 n02012849 crane or 517 n03126707 crane\n"),
        ("Maillot", "'Maillot' may be 638 n03710637 maillot or 639 n03710721 maillot\n"),
        ("CARDIGAN", "'CARDIGAN' may be 264 n02113186 Cardigan or 474 n02963159 cardigan\n"),
        ("goldfsh", "'goldfsh' is no class of the model (is it 'goldfish'?)\n"),
        ("1000", "'1000' is no class of the model\n"),
        ("tench/goldfish", "'tench/goldfish' may be 0 n01440764 tench or 1 n01443537 goldfish\n"),
        ("", "x.jpg is in no class folder\n"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_way_out(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "n01440764").mkdir()
    (tmp_path / "n01440764" / "x.jpg").touch()
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / name / "x.jpg").touch()
    with pytest.raises(UsageError, match=re.escape(reason)) as refused:
        listed(tmp_path, "resnest50d")
    assert "1 label cannot be understood" in str(refused.value)
    assert "a WordNet id (n02012849), a class name or a class index" in str(refused.value)


def test_where_classes_are_called_by_numbers_an_index_is_refused(tmp_path: Path, resnest: Resnest) -> None:
    (tmp_path / "names.txt").write_text("".join(f"{i + 1}\n" for i in range(10)))
    (tmp_path / "data" / "10").mkdir(parents=True)
    (tmp_path / "data" / "0").mkdir()
    (tmp_path / "data" / "10" / "x.png").touch()
    assert Dataset(tmp_path / "data", load(find_model("digits"), tmp_path / "names.txt")).present == (9,)
    (tmp_path / "data" / "0" / "x.png").touch()
    ended = resnest("validate", tmp_path / "data", "-m", "digits", "--labels", tmp_path / "names.txt")
    assert ended.exit_code == ExitCode.USAGE
    assert "'0' is no class of the model\n" in ended.stderr


@pytest.mark.parametrize(
    ("make", "words", "code"),
    [
        (lambda _: None, "no such folder or file", ExitCode.USAGE),
        (lambda path: path.mkdir(), "no labeled images", ExitCode.USAGE),
        (lambda path: path.write_text("hello"), "neither a tar archive nor a table", ExitCode.USAGE),
        (os.mkfifo, "neither a folder nor a file", ExitCode.USAGE),
    ],
    ids=["missing", "empty", "fifo", "text"],
)
def test_what_is_no_dataset_is_refused(
    make: Callable[[Path], None], words: str, code: int, tmp_path: Path, resnest: Resnest
) -> None:
    make(tmp_path / "data")
    ended = resnest("validate", tmp_path / "data", "-m", "digits")
    assert (ended.exit_code, words in ended.stderr) == (code, True)


def test_lists_that_are_none(tmp_path: Path, resnest: Resnest) -> None:
    for content, words in (
        ("a.png,one\n", "the first line must name the columns path and label"),
        ("path,label\na.png\n", "list.csv, row 2: it has no label"),
        ("path,label\na.png,eleven\n", "'eleven' is no class"),
    ):
        (tmp_path / "list.csv").write_text(content)
        ended = resnest("validate", tmp_path / "list.csv", "-m", "digits")
        assert (ended.exit_code, words in ended.stderr) == (ExitCode.USAGE, True), content


def test_a_full_temporary_folder_is_named_and_not_the_archive(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    Image.effect_noise((300, 300), 90).save(tmp_path / "x.png")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "x.png", "nine/x.png")
    dataset = Dataset(tmp_path / "images.tar", load(find_model("digits")))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError) as refused:
            next(dataset.images(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(refused.value) == (
        f"{tmp_path} cannot be written (File too large): images of {tmp_path}/images.tar are unpacked there, one at a "
        "time. Make room, or name another folder in TMPDIR."
    )


def test_without_any_temporary_folder_tmpdir_is_named_where_one_is_needed(
    tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "nine").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "nine" / "x.png")
    archive = as_tar(tmp_path / "data", tmp_path)
    assert measured(resnest, archive)["n"] == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    ended = resnest("validate", archive, "-m", "digits")
    assert ended.exit_code == ExitCode.FAILED
    assert "no temporary folder can be made (No such file or directory)" in ended.stderr
    assert measured(resnest, tmp_path / "data")["n"] == 1


@pytest.mark.parametrize("kind", ["w", "w:gz"])
def test_an_archive_cut_short_is_said_before_anything_is_run(
    kind: Any,  # noqa: ANN401 - of a literal type
    tmp_path: Path,
    resnest: Resnest,
) -> None:
    (tmp_path / "x.png").write_bytes(np.random.default_rng(0).bytes(100_000))
    with tarfile.open(tmp_path / "images.tar", kind) as tar:
        tar.add(tmp_path / "x.png", "nine/x.png")
    whole = (tmp_path / "images.tar").read_bytes()
    (tmp_path / "images.tar").write_bytes(whole[: len(whole) // 2])
    ended = resnest("validate", tmp_path / "images.tar", "-m", "digits")
    assert ended.exit_code == ExitCode.FAILED
    assert ended.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/images.tar cannot be read: ")


@pytest.mark.slow
def test_the_worst_mistakes_as_a_page(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    data, page = tmp_path / "data", tmp_path / "worst.html"
    mislabeled(held_out, data)
    odd = data / "one" / "<b>&\udcff.png"
    shutil.copy(next(path for path in held_out.truth if path.parent.name == "nine"), odd)
    found = validate(data, Options("digits", exif=False), keep_worst=True)
    losses = [mistake.answer.loss for mistake in found.worst]
    assert len(losses) == WORST < found.tally.images - found.tally.right
    assert losses == sorted(losses, reverse=True)
    assert resnest("validate", data, "-m", "digits", "--mistakes", page, "-q").exit_code == ExitCode.OK
    text = page.read_text()
    assert re.findall(r"<tr><td>loss</td><td><bdi>([\d.]+)", text) == [f"{loss:.2f}" for loss in losses]
    assert "&lt;b&gt;&amp;\\udcff.png" in text
    assert "<b>" not in text
    assert not re.search(r"https?:|src=\"(?!data:)", text)
    with Image.open(BytesIO(b64decode(re.findall(r"base64,([\w+/=]+)", text)[0]))) as image:
        assert (image.format, image.size) == ("WEBP", (32, 32))
    assert len(text) < 200_000


@pytest.mark.slow
def test_a_score_from_python_and_its_files_are_those_of_the_command(
    resnest: Resnest, held_out: HeldOut, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    mislabeled(held_out, data)
    found = validate(data, "digits", keep_worst=True, workers=0)
    names = {"output": "numbers.json", "per_class": "classes.csv", "confusion": "matrix.csv", "mistakes": "worst.html"}
    places: dict[str, Any] = {name: tmp_path / file for name, file in names.items()}
    found.save(**places)
    options = [word for name, file in names.items() for word in (f"--{name.replace('_', '-')}", f"by-command-{file}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        numbers = json.loads(resnest("validate", data, "-m", "digits", "-f", "json", *options).stdout)
    assert (found.top1, found.top5, found.n, found.errors) == tuple(numbers[k] for k in ("top1", "top5", "n", "errors"))
    assert repr(found) == f"Validation('digits', top1={found.top1}, top5={found.top5}, n={found.n}, errors=0)"
    for file in names.values():
        assert (tmp_path / file).read_bytes() == (tmp_path / f"by-command-{file}").read_bytes()
    with pytest.raises(OutputError, match=r"classes\.csv exists"):
        found.save(per_class=tmp_path / "classes.csv")
    found.save(per_class=tmp_path / "classes.csv", overwrite=True)


def test_a_page_of_mistakes_that_were_not_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nine").mkdir()
    shutil.copy(SAMPLES / "two_0051.png", tmp_path / "nine")
    found = validate(tmp_path, "digits", workers=0)
    with pytest.raises(UsageError, match="validate with keep_worst=True"):
        found.save(mistakes=tmp_path / "worst.html")
    assert not (tmp_path / "worst.html").exists()
    with pytest.raises(TypeError, match="did you mean 'device'"):
        validate(tmp_path, "digits", devise="cpu")  # type: ignore[call-arg]


def test_names_of_a_model_and_its_classes_are_text_on_the_page(resnest: Resnest, tmp_path: Path) -> None:
    model, page = tmp_path / "<b>&", tmp_path / "worst.html"
    shutil.copytree(SAMPLES.parent, model, ignore=shutil.ignore_patterns("samples"))
    config = json.loads((model / "config.json").read_text())
    config["label_names"] = [f"<b>&{i}" for i in range(10)]
    (model / "config.json").write_text(json.dumps(config))
    (tmp_path / "list.csv").write_text(f"path,label\n{SAMPLES}/two_0051.png,0\n")
    ended = resnest("validate", tmp_path / "list.csv", "-m", model, "--mistakes", page, "-q")
    assert ended.exit_code == ExitCode.OK, ended.output
    text = page.read_text()
    assert text.count("&lt;b&gt;&amp;: 1 worst of 1 mistakes in 1 images<") == 2
    assert "<bdi>&lt;b&gt;&amp;0 (0)</bdi>" in text
    assert "<b>" not in text


def test_thumbnails_are_small(tmp_path: Path) -> None:
    (tmp_path / "nine").mkdir()
    Image.effect_noise((1200, 600), 90).save(tmp_path / "nine" / "x.jpg")
    (mistake,) = validate(tmp_path, Options("digits"), keep_worst=True, engine=FakeEngine()).worst
    with Image.open(BytesIO(b64decode(mistake.thumbnail.partition(",")[2]))) as image:
        assert image.size == (160, 80)


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_of_mistakes_come_from_the_process_that_decoded_the_image(
    tmp_path: Path,
    resnest: Resnest,
    monkeypatch: pytest.MonkeyPatch,
    packed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    def unwanted(*_: object, **__: object) -> Image.Image:
        message = "a picture is decoded in the process of the job"
        raise AssertionError(message)

    (tmp_path / "data" / "nine").mkdir(parents=True)
    for i in range(2):
        Image.new("RGB", (320, 320 + i)).save(tmp_path / "data" / "nine" / f"{i}.png")
    place = as_tar(tmp_path / "data", tmp_path) if packed else tmp_path / "data"
    monkeypatch.setattr("resnest_cli.inputs.decode.images.decode", unwanted)
    monkeypatch.setattr(Image, "open", unwanted)
    row = measured(resnest, place, "--mistakes", tmp_path / "worst.html", "-j", "1")
    assert (row["n"], row["errors"]) == (2, 0)
    assert (tmp_path / "worst.html").read_text().count("<img") == 2


def test_a_mistake_without_a_small_picture_is_a_mistake(
    tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nine").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "nine" / "x.png")
    monkeypatch.setattr("resnest_cli.inputs.thumbnails.EDGE", -1)
    page = tmp_path / "worst.html"
    row = measured(resnest, tmp_path, "--mistakes", page)
    assert (row["n"], row["top1"]) == (1, 0)
    assert "<img" not in page.read_text()
    assert f"{tmp_path}/nine/x.png" in page.read_text()


def test_numbers_come_before_files(tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nine").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "nine" / "x.png")

    def full(*_: object) -> None:
        message = "x.json cannot be written: No space left on device."
        raise OutputError(message)

    monkeypatch.setattr("resnest_cli.outputs.saving.save", full)
    ended = resnest("validate", tmp_path, "-m", "digits", "-f", "json", "-o", tmp_path / "x.json")
    assert json.loads(ended.stdout)["n"] == 1
    assert "No space left on device" in ended.stderr


@pytest.mark.slow
def test_real_labels(tmp_path: Path) -> None:
    # FakeEngine answers by brightness; image 1 is right by ReaL only, 2 has no ReaL label, 3 is right by both.
    rows = [[] for _ in range(50_000)]  # type: list[list[int]]
    rows[0], rows[2], rows[49_999] = [5, 0], [9], [4]
    (tmp_path / "real.json").write_text(json.dumps(rows))
    data = tmp_path / "data"
    for number, folder, shade in ((1, "3", 0), (2, "3", 90), (3, "9", 250), (50_000, "1", 0)):
        (data / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (shade,) * 3).save(data / folder / f"ILSVRC2012_val_{number:08d}.png")
    found = validate(data, Options("digits"), real_labels=tmp_path / "real.json", engine=FakeEngine())
    row = found.summary()
    assert (row["n"], row["top1"], row["real_n"], row["real_top1"], row["real_top5"]) == (4, 50, 3, 66.6667, 100)
    Image.new("RGB", (32, 32)).save(data / "3" / "mine.png")
    with pytest.raises(UsageError, match=r"mine\.png is not named like ILSVRC2012_val_00000001\.JPEG"):
        validate(data, Options("digits"), real_labels=tmp_path / "real.json", engine=FakeEngine())
    for content in ("{", "[[1]]", "[1, 2]", json.dumps([[11]] * 50_000)):
        (tmp_path / "real.json").write_text(content)
        with pytest.raises(UsageError, match="real_labels"):
            validate(data, Options("digits"), real_labels=tmp_path / "real.json", engine=FakeEngine())


def test_an_image_that_the_model_has_no_number_for_is_an_error_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resnest: Resnest
) -> None:
    class Broken(FakeEngine):
        def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            rows = super().answer(batch)
            rows[rows[:, -1] > 0] = np.nan  # white pictures
            return rows

    for name, color in (("x", "black"), ("y", "white"), ("z", "black")):
        (tmp_path / "0").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), color).save(tmp_path / "0" / f"{name}.png")
    monkeypatch.setattr("resnest_cli.pipeline.trunk.open_engine", lambda spec, *_, **__: Broken(spec))
    ended = resnest("validate", tmp_path, "-m", "digits", "-f", "json")
    assert ended.exit_code == ExitCode.SOME_FAILED
    row = json.loads(ended.stdout)
    assert (row["n"], row["errors"], row["top1"]) == (2, 1, 100.0)
    assert "0/y.png: NotANumber: the model answers NaN or infinity in fp32: its weights may be damaged." in ended.stderr


def test_for_a_person(resnest: Resnest, held_out: HeldOut, tmp_path: Path) -> None:
    mislabeled(held_out, tmp_path)
    shown = resnest("validate", tmp_path, "-m", "digits", "--exif").stdout
    assert re.search(r"images +360, of 10 classes *\n", shown)
    assert re.search(r"top-1 +\d\d\.\d\d % \(95%: \d\d\.\d\d to \d\d\.\d\d\)", shown)
    assert re.search(r"images are +32 px, crop 1.0, bilinear, turned by EXIF *\n", shown)
    assert re.search(r"one \(1\) +\d+ +\d\d\.\d\d +zero \(0\) +\d", shown)


@pytest.mark.parametrize(
    ("changes", "words"),
    [((), "the same preparation, on ImageNet"), (("--crop-pct", "1"), "another preparation than here")],
)
def test_published_numbers_stand_beside(
    changes: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnest: Resnest
) -> None:
    monkeypatch.setattr("resnest_cli.pipeline.trunk.open_engine", lambda spec, *_, **__: FakeEngine(spec))
    (tmp_path / "n01440764").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "n01440764" / "x.png")
    shown = " ".join(resnest("validate", tmp_path, *changes).stdout.split())
    assert "published 80.96" in shown
    assert "published 95.37" in shown
    assert words in shown
    row = json.loads(resnest("validate", tmp_path, *changes, "-f", "json").stdout)
    assert (row["published_top1"], row["top1"]) == (80.958, 100)
    ended = resnest("validate", tmp_path, *changes, "--random-weights")
    assert "published" not in ended.stdout
    assert ended.stderr.startswith("resnest50d, random weights (the numbers mean nothing) on ")


def test_images_are_turned_by_exif_as_predict_turns_them(tmp_path: Path, resnest: Resnest) -> None:
    (tmp_path / "seven").mkdir()
    upright = Image.open(next((find_model("digits").folder or Path()).rglob("seven*.png"))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 3
    upright.rotate(180).save(tmp_path / "seven" / "x.png", exif=exif)
    for words, top1 in (((), 100), (("--exif",), 100), (("--no-exif",), 0)):
        row = measured(resnest, tmp_path, *words)
        assert (row["top1"], row["exif"]) == (top1, top1 == 100)
    assert validate(tmp_path, Options("digits")).exif
    assert not validate(tmp_path, Options("digits", exif=False)).exif


def test_published_numbers_are_met_without_turning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnest: Resnest
) -> None:
    monkeypatch.setattr("resnest_cli.pipeline.trunk.open_engine", lambda spec, *_, **__: FakeEngine(spec))
    (tmp_path / "n01440764").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "n01440764" / "x.png")
    for words, said in (
        ((), "not turned by EXIF, as the published numbers"),
        (("--exif",), ", turned by EXIF"),
        (("--random-weights",), ", turned by EXIF"),
    ):
        shown = " ".join(resnest("validate", tmp_path, *words).stdout.split())
        assert said in shown
        assert shown.count("turned by EXIF") == 1 + (words == ("--exif",))


def test_files_that_cannot_be_written_are_told_before_the_work(tmp_path: Path, resnest: Resnest) -> None:
    (tmp_path / "there.html").write_text("old")
    for option, path, words in (
        ("--mistakes", tmp_path / "there.html", "add --overwrite"),
        ("--mistakes", tmp_path / "none" / "x.html", "its folder is missing"),
        ("-o", tmp_path, "exists; add --overwrite"),
        ("--confusion", tmp_path / "matrix.pdf", "ends in .csv or .png"),
    ):
        ended = resnest("validate", tmp_path / "no data", "-m", "digits", option, path)
        assert words in ended.stderr
        assert ended.exit_code != ExitCode.OK
    assert (tmp_path / "there.html").read_text() == "old"
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        save(tmp_path, "x")


def test_without_matplotlib_a_picture_names_the_extra(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    ended = shell("resnest", "validate", tmp_path, "--confusion", tmp_path / "x.png", PYTHONPATH=paths)
    assert ended.returncode == ExitCode.USAGE
    assert b"pip install 'resnest-cli[plot]'" in ended.stderr


@pytest.mark.slow
def test_a_large_confusion_matrix_shows_the_classes_with_most_mistakes(tmp_path: Path) -> None:
    for name in ("n02012849", "n01440764"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32), (255,) * 3).save(tmp_path / name / "x.png")
    found = validate(tmp_path, Options("resnest50d"), engine=FakeEngine(find_model("resnest50d")))
    counts, names, choice = plots.folded(*report.confusion(found))
    assert counts.shape == (31, 31)
    assert counts.sum() == 2
    assert {"tench (0)", "crane (134)", "hen-of-the-woods (996)", "all others"} <= set(names)
    assert "the 30 of 1000 classes with most mistakes" in choice
    assert report.confusion_png(found).startswith(b"\x89PNG")
