"""Folds: every image is held out once, classes and sizes are even, and what belongs together stays together."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from class_folders import draw, ended, fill
from sklearn.model_selection import StratifiedKFold

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs.labelled import training_set
from resnest_cli.inputs.labelled.check import Scanning
from resnest_cli.inputs.labelled.split import folds
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL
from resnest_cli.inputs.tables import Example

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from resnest_cli.inputs.labelled.training_set import TrainingSet


def examples(counts: dict[str, int]) -> list[Example]:
    """Return so many images of each class, all different."""
    made = [label for label, count in counts.items() for _ in range(count)]
    return [Example(f"{at}.png", label, sha256=f"{at:064x}") for at, label in enumerate(made)]


def held_out(parts: Sequence[Sequence[Example]]) -> list[set[str]]:
    """Return the hashes of the val side of each fold, after a look at the train side."""
    for part in parts:
        sides = [{each.sha256 for each in part if each.split == side} for side in (TRAIN, VAL)]
        assert not sides[0] & sides[1]
        assert sides[0] | sides[1] == {each.sha256 for each in parts[0] if each.split != LEFT_OUT}
        assert {e.label for e in part if e.split == TRAIN} == {e.label for e in part if e.split != LEFT_OUT}
    return [{each.sha256 for each in part if each.split == VAL} for part in parts]


@pytest.mark.parametrize("count", [2, 5, 7])
def test_each_class_is_in_each_fold_as_often_as_scikit_learn_has_it(count: int) -> None:
    given = examples({"a": 100, "b": 31, "c": 13, "d": 7})
    labels = np.array([example.label for example in given])
    parts = held_out(folds(given, count=count, seed=0))
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(given)
    label_of = {example.sha256: example.label for example in given}
    theirs = [Counter(labels[rows].tolist()) for _, rows in StratifiedKFold(count).split(labels, labels)]
    ours = [Counter(label_of[each] for each in part) for part in parts]
    for name in "abcd":
        assert sorted(found[name] for found in ours) == sorted(found[name] for found in theirs)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_many_classes_of_few_images_fill_all_folds_alike() -> None:
    given = examples({f"{i}": 2 for i in range(100)})
    sizes = [len(part) for part in held_out(folds(given, count=5, seed=0))]
    assert sum(sizes) == 200
    assert max(sizes) - min(sizes) <= 2


def test_the_only_image_of_a_class_is_always_trained_on() -> None:
    parts = held_out(folds(examples({"a": 10, "b": 1, "c": 2}), count=5, seed=0))
    assert Counter(each for part in parts for each in part).keys() == {f"{at:064x}" for at in (*range(10), 11, 12)}


def test_copies_groups_and_near_duplicates_are_never_parted() -> None:
    given = examples({"a": 60, "b": 60})
    given = [replace(each, group=f"g{at // 3}" if at % 60 < 30 else "") for at, each in enumerate(given)]
    given += [replace(each, path=f"copy-{each.path}") for each in given[40:50]]
    near = [(given[50].sha256, given[51].sha256), (given[51].sha256, given[110].sha256)]
    parts = folds(given, near, count=4, seed=1)
    fold_of = {each: number for number, part in enumerate(held_out(parts)) for each in part}
    assert fold_of.keys() == {each.sha256 for each in given}
    of_group = defaultdict(set)
    for example in given:
        of_group[example.group].add(fold_of[example.sha256])
    assert {len(found) for group, found in of_group.items() if group} == {1}
    assert {fold_of[given[at].sha256] for at in (50, 51, 110)} == {fold_of[given[50].sha256]}
    for part in parts:  # 70 and 60 images, in units of three at most
        val = Counter(example.label for example in part if example.split == VAL)
        assert abs(val["a"] - 70 / 4) <= 3
        assert abs(val["b"] - 60 / 4) <= 3


@pytest.mark.parametrize("seed", range(20))
def test_every_fold_can_train_on_every_class_however_groups_mix_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = [
        replace(each, group=f"g{rng.integers(12)}")
        for each in examples({f"{i}": int(rng.integers(1, 6)) for i in range(6)})
    ]
    held_out(folds(given, count=3, seed=seed))


def test_an_image_in_two_classes_is_left_out_of_all_folds() -> None:
    given = examples({"a": 4, "b": 4})
    given.append(replace(given[0], path="again.png", label="b"))
    for part in folds(given, count=2, seed=0):
        assert {each.path for each in part if each.split == LEFT_OUT} == {"0.png", "again.png"}


def test_content_and_seed_decide_not_order_or_names() -> None:
    given = examples({"a": 30, "b": 20})
    renamed = [replace(each, path=f"other/{99 - at}.png") for at, each in enumerate(given)][::-1]
    parts = held_out(folds(given, count=3, seed=0))
    assert held_out(folds(renamed, count=3, seed=0)) == parts
    assert held_out(folds(given, count=3, seed=1)) != parts


def read(root: Path, count: int = 3, **how: str) -> list[TrainingSet]:
    return ended(training_set.folds(training_set.find(root, **how), count=count, seed=0))


def test_every_file_is_checked_once(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 3})
    (tmp_path / "b" / "bad.png").write_bytes(b"")
    steps = training_set.folds(training_set.find(tmp_path), count=3, seed=0)
    assert list(steps) == [Scanning(done, 10) for done in range(11)]
    data = read(tmp_path)
    assert [(each.counts(TRAIN), each.counts(VAL)) for each in data] == [({"a": 4, "b": 2}, {"a": 2, "b": 1})] * 3
    assert len({each.notes for each in data}) == 1
    assert data[0].notes[0] == "1 file is left out, each with its reason in split.csv:"


def test_classes_that_are_not_in_each_fold_are_named_once(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 6, "b": 1, "c": 2})
    assert read(tmp_path)[0].notes == (
        "b is only trained on and never judged: no two images of that may be parted.",
        "c is not judged in each of the 3 folds: too few images.",
    )


def test_subfolders_are_groups_of_folds(tmp_path: Path) -> None:
    for at in range(24):
        draw(tmp_path / "ab"[at % 2] / f"animal-{at // 4}" / f"{at}.png", at)
    draw(tmp_path / "a" / "loose.png", 24)
    data = read(tmp_path, groups="folder")
    animals = [{path.split("/")[-2] for path, _ in each.side(VAL)} - {"a"} for each in data]
    assert sorted(map(len, animals)) == [2, 2, 2]
    assert len(set().union(*animals)) == 6


def test_data_with_a_val_side_and_too_few_images_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "sides" / "train", {"a": 4, "b": 4})
    fill(tmp_path / "sides" / "val", {"a": 2, "b": 2}, first=50)
    words = f"{tmp_path}/sides has a val side; folds parts images anew: give one side, such as {tmp_path}/sides/train"
    with pytest.raises(BadDataSet, match=words):
        read(tmp_path / "sides")
    assert len(read(tmp_path / "sides" / "train")) == 3
    (tmp_path / "list.csv").write_text("path,label,split\nx.png,a,train\ny.png,b,val\n")
    with pytest.raises(BadDataSet, match="give one side, as a folder of classes or a table without a split, or leave"):
        read(tmp_path / "list.csv")
    fill(tmp_path / "few", {"a": 2, "b": 2})
    with pytest.raises(BadDataSet, match=r"few has too few images for 6 folds: 2 would be empty; give fewer folds\."):
        read(tmp_path / "few", 6)
