"""What is trained on: every file accounted for, names decide, and no image on both sides."""

from __future__ import annotations

import os
from collections import Counter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from class_folders import draw, fill, load

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL

if TYPE_CHECKING:
    from resnest_cli.inputs.labelled.training_set import TrainingSet


pytestmark = pytest.mark.usefixtures("check_in_shared_processes")


def labels_of(data: TrainingSet, split: str) -> set[tuple[str, str]]:
    """Return each file of a side with the name its index stands for."""
    return {(Path(path).parent.name, data.classes[index]) for path, index in data.side(split)}


def test_class_folders_are_split_class_by_class(tmp_path: Path) -> None:
    data = load(fill(tmp_path, {"a": 8, "b": 12, "c": 4}))
    assert data.counts(TRAIN) == {"a": 6, "b": 9, "c": 3}
    assert data.counts(VAL) == {"a": 2, "b": 3, "c": 1}
    assert data.notes == ()


def test_the_split_hangs_on_content_and_seed_not_on_names(tmp_path: Path) -> None:
    first = fill(tmp_path / "first", {"a": 20, "b": 20})
    second = tmp_path / "second"
    for path in first.rglob("*.png"):  # the same images under names that sort the other way
        target = second / path.parent.name / f"{99 - int(path.stem)}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())

    def held_out(root: Path, seed: int) -> Counter[bytes]:
        return Counter(Path(path).read_bytes() for path, _ in load(root, seed=seed).side(VAL))

    assert held_out(first, 0) == held_out(second, 0)
    assert held_out(first, 0) != held_out(first, 1)


def test_names_decide_so_1_beside_10_and_2_shifts_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"10": 2, "2": 2, "1": 2})
    fill(tmp_path / "val", {"2": 1, "10": 1}, first=100)  # one class fewer: its own map would differ
    data = load(tmp_path)
    assert data.classes == ("1", "10", "2")
    assert labels_of(data, TRAIN) == {("1", "1"), ("2", "2"), ("10", "10")}
    assert labels_of(data, VAL) == {("2", "2"), ("10", "10")}
    assert data.notes == ("1 is without an image to validate on: accuracy says nothing of that.",)


def test_unicode_names_are_one_class_however_they_are_written(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"caf\u00e9": 2, "日本": 2})
    fill(tmp_path / "val", {"cafe\u0301": 1, "日本": 1}, first=100)
    data = load(tmp_path)
    assert data.classes == ("caf\u00e9", "日本")
    assert data.counts(VAL) == {"caf\u00e9": 1, "日本": 1}


@pytest.mark.slow
def test_two_thousand_classes(tmp_path: Path) -> None:
    seeds = count()
    sides = {"train": range(2000), "val": range(0, 2000, 200)}
    for side, classes in sides.items():
        for i in classes:
            draw(tmp_path / "root" / side / f"{i}" / "x.png", next(seeds))
    data = load(tmp_path / "root")
    assert (len(data.classes), len(data.side(TRAIN)), len(data.side(VAL))) == (2000, 2000, 10)
    assert all(Path(path).parent.name == data.classes[index] for path, index in data.side(VAL) + data.side(TRAIN))
    assert data.notes == (
        "1, 10, 100, 1001, 1002 and 1,985 more are without an image to validate on: accuracy says nothing of that.",
    )


def test_unreadable_files_are_left_out_with_their_reason(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "cut.png").write_bytes(whole[:-40])
    (tmp_path / "b" / "page.jpg").write_text("<html>")
    data = load(tmp_path)
    reasons = {Path(e.path).name: e.reason.partition(":")[0] for e in data.examples if e.split == LEFT_OUT}
    assert reasons == {"cut.png": "TruncatedImage", "page.jpg": "NotAnImage"}
    assert len(data.examples) == 10
    assert data.notes[0] == "2 files are left out, each with its reason in split.csv:"


def test_an_image_on_both_sides_is_not_trained_on(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 3, "b": 3})
    fill(tmp_path / "val", {"a": 1, "b": 1}, first=100)
    copy = tmp_path / "train" / "a" / "copy.png"
    copy.write_bytes((tmp_path / "val" / "a" / "0.png").read_bytes())
    data = load(tmp_path)
    (left_out,) = (e for e in data.examples if e.split == LEFT_OUT)
    assert (left_out.path, left_out.reason) == (str(copy), "the same image is in validation")
    assert data.counts(TRAIN) == {"a": 3, "b": 3}


def test_copies_within_a_class_fall_on_one_side(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 6})
    for path in [*tmp_path.rglob("*.png")]:
        path.with_name(f"copy-{path.name}").write_bytes(path.read_bytes())
    data = load(tmp_path)
    sides = [{Path(path).read_bytes() for path, _ in data.side(split)} for split in (TRAIN, VAL)]
    assert not sides[0] & sides[1]
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 8, "b": 8}, {"a": 4, "b": 4})
    assert data.notes == ("12 files are the same image as another of the same class; copies stay on one side.",)


def test_an_image_in_two_classes_is_left_out_of_both(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "b" / "x.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    data = load(tmp_path)
    left_out = {(e.label, e.reason) for e in data.examples if e.split == LEFT_OUT}
    assert left_out == {(name, "the same image is in the classes a and b") for name in "ab"}


def test_what_lies_beside_the_classes_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2, "b": 2, ".ipynb_checkpoints": 1})
    draw(tmp_path / "loose.png", 99)
    (tmp_path / "a" / "notes.txt").write_text("?")
    data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert data.notes == (
        f"{tmp_path}: 1 file not looked at: 1 .txt; 1 hidden, thumbnail or trash name left out.",
        "1 file is left out, each with its reason in split.csv:",
        f"  {tmp_path / 'loose.png'}: it lies in no class folder",
    )


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"a": 3, "b": 0}, "has 1 class with images; at least two are needed"),
        ({"a": 3, "b": 3, "c": 0}, "c is without an image to train on"),
        ({"a": 1}, "has 1 class with images; at least two are needed"),
        ({"a": 1, "b": 1}, "every class has one image only"),
        ({}, "has no class folders"),
    ],
    ids=str,
)
def test_a_set_that_nothing_can_be_trained_on_is_refused(tmp_path: Path, counts: dict[str, int], said: str) -> None:
    for name in counts:
        (tmp_path / name).mkdir()
    with pytest.raises(BadDataSet, match=said):
        load(fill(tmp_path, counts))


def test_a_class_of_unreadable_files_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x.png").write_bytes(b"")
    with pytest.raises(BadDataSet, match=r"c is without an image to train on .*x\.png: NotAnImage: the file is empty"):
        load(tmp_path)


def test_a_class_of_one_image_is_trained_on_and_said(tmp_path: Path) -> None:
    data = load(fill(tmp_path, {"a": 4, "b": 1}))
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 3, "b": 1}, {"a": 1})
    assert data.notes == ("b is without an image to validate on: accuracy says nothing of that.",)


def test_a_class_only_in_validation_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "val", {"a": 1, "z": 1}, first=100)
    with pytest.raises(BadDataSet, match="z is without an image to train on"):
        load(tmp_path)


def test_class_names_that_cannot_be_printed_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2, "b\n": 2})
    with pytest.raises(BadDataSet, match=r"class names 'b\\n' is not printable"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_names_files_beside_it(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path / "images", {"x": 4, "y": 4})
    rows = [{"path": f"images/{n}/{i}.png", "label": n.upper()} for n in "xy" for i in range(4)]
    rows.append({"path": "images/none.png", "label": "X"})
    table = tmp_path / f"labels{suffix}"
    if suffix == ".csv":
        table.write_text("label,path\n" + "".join(f"{row['label']},{row['path']}\n" for row in rows))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), table)
    data = load(table)
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"X": 3, "Y": 3}, {"X": 1, "Y": 1})
    (missing,) = (e for e in data.examples if e.split == LEFT_OUT)
    assert missing.reason == "UnreadableInput: no such file."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\na.png,x\n", "must name the columns path and label .`path,label`.; it has: id, label"),
        ("path,label\na.png,\n", "row 2: it has no label"),
        ("path,label\n,x\n", "row 2: it has no path"),
        ("path,label\na.png,x,y\n", "row 2: more cells than columns"),
        ("path,label,split\na.png,x,train\nb.png,x,\n", "row 3: some rows have a split, some have none"),
        ("path,label,split\na.png,x,holdout\n", "row 2: the split 'holdout' is none of train, val and test"),
        ("", "must name the columns path and label .* it has: none"),
        ('path,label\n"a.png,x\n', "cannot be read as a table: unexpected end of data"),
        ("path,label\ns3://bucket/a.png,x\n", "row 2: s3://bucket/a.png is on no disk of this machine"),
        ("path;label\nhttps://host/a.png;x\n", "row 2: https://host/a.png is on no disk of this machine"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(BadDataSet, match=said):
        load(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("train", "val", "unread"),
    [
        ("Train", "Test", ""),
        ("TRAINING", "Validation", "test"),
        ("train", "valid", ""),
        ("seg_train", "seg_test", "seg_pred"),
        ("training_set", "test_set", ""),
        ("train", "dev", ""),
    ],
)
def test_sides_are_known_by_any_of_their_names(tmp_path: Path, train: str, val: str, unread: str) -> None:
    fill(tmp_path / train, {"a": 4, "b": 4})
    fill(tmp_path / val, {"a": 2, "b": 2}, first=100)
    if unread:
        draw(tmp_path / unread / "1.png", 200)
    data = load(tmp_path)
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 4, "b": 4}, {"a": 2, "b": 2})
    assert data.notes == ((f"validation is on {tmp_path / val}; not read: {unread}.",) if unread else ())


def test_wrapped_folders_are_gone_through(tmp_path: Path) -> None:
    """As a downloaded archive has them: archive/seg_train/seg_train/buildings."""
    fill(tmp_path / "archive" / "seg_train" / "seg_train", {"a": 4, "b": 4})
    fill(tmp_path / "archive" / "seg_test" / "seg_test", {"a": 2, "b": 2}, first=100)
    data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 4, "b": 4}, {"a": 2, "b": 2})


def test_a_train_side_alone_is_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 4, "b": 4})
    assert load(tmp_path).counts(VAL) == {"a": 1, "b": 1}


def test_a_class_may_be_called_like_a_side(tmp_path: Path) -> None:
    data = load(fill(tmp_path, {"train": 4, "car": 4, "bus": 4}))
    assert data.classes == ("bus", "car", "train")


def test_one_folder_in_each_class_hides_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "a", {"images": 4})
    fill(tmp_path / "b", {"images": 4}, first=100)
    assert load(tmp_path).counts(TRAIN) == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    "folders",
    [
        ("cat/train", "cat/val", "dog/train", "dog/val"),
        ("cat/train", "cat/test", "dog/Train"),
        ("2019/cat", "2019/dog", "2020/cat", "2020/dog"),
    ],
    ids="+".join,
)
def test_folders_that_may_be_classes_or_hold_them_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for i, folder in enumerate(folders):
        draw(tmp_path / folder / "1.png", i)
    with pytest.raises(BadDataSet, match=r"what are the classes, .*, or the folders in each of them, .*\?"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("val/a", "test/b"), "a test and a val side, and none to train on"),
        (("train", "test"), "train has no class folders"),
        (("train/a", "train/b", "val"), "val has no class folders"),
    ],
    ids=str,
)
def test_sides_that_cannot_be_trained_on_are_refused(tmp_path: Path, folders: tuple[str, ...], said: str) -> None:
    for i, folder in enumerate(folders):
        draw(tmp_path / folder / "1.png", i)
    with pytest.raises(BadDataSet, match=said):
        load(tmp_path)


def test_a_table_beside_the_images_is_pointed_at(tmp_path: Path) -> None:
    """As competitions give them: images in one folder, classes in a table."""
    draw(tmp_path / "train" / "1.png", 1)
    (tmp_path / "train.csv").write_text("path,label\ntrain/1.png,a\n")
    with pytest.raises(BadDataSet, match=rf"columns path and label: {tmp_path}/train\.csv\?$"):
        load(tmp_path)


@pytest.mark.parametrize(("train", "val"), [("train", "test"), ("Training", "VALID"), ("train", "")])
def test_a_table_may_name_sides(tmp_path: Path, train: str, val: str) -> None:
    fill(tmp_path, {"a": 5, "b": 5})
    sides = {
        name: val if int(name[2]) > 2 and val else train for name in (f"{c}/{i}.png" for c in "ab" for i in range(5))
    }
    rows = "".join(f"{name},{name[0]},{side}\n" for name, side in sides.items())
    (tmp_path / "list.csv").write_text(f"path,label,split\n{rows}")
    data = load(tmp_path / "list.csv")
    assert data.counts(VAL) == ({"a": 2, "b": 2} if val else {"a": 1, "b": 1})
    (tmp_path / "list.csv").rename(tmp_path / "split.csv")  # as the folder's own
    assert load(tmp_path).examples == data.examples
    assert load(tmp_path).notes == (f"{tmp_path / 'split.csv'} says which images there are.", *data.notes)


def test_the_test_side_of_a_table_is_not_read(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 6})
    rows = "".join(f"{c}/{i}.png,{c},{('train', 'val', 'test')[i % 3]}\n" for c in "ab" for i in range(6))
    (tmp_path / "list.csv").write_text(f"path,label,split\n{rows}")
    data = load(tmp_path / "list.csv")
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 2, "b": 2}, {"a": 2, "b": 2})
    assert data.notes == ("4 files are on the test side and not read.",)


def test_what_is_written_is_read_back_and_can_be_trained_on_again(tmp_path: Path) -> None:
    fill(tmp_path / "set", {"a": 4, 'b,"': 4})
    (tmp_path / "set" / "a" / "bad.png").write_bytes(b"")
    if os.name == "posix":
        draw(Path(os.fsdecode(os.fsencode(tmp_path / "set" / "a") + b"/\xff.png")), 99)
    data = load(tmp_path / "set")
    training_set.write(tmp_path / "split.csv", data)
    kept = training_set.read(tmp_path / "split.csv")
    assert (kept.classes, kept.examples) == (data.classes, data.examples)
    again = load(tmp_path / "split.csv", seed=1)
    assert (again.side(TRAIN), again.side(VAL)) == (data.side(TRAIN), data.side(VAL))
