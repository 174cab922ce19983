"""What belongs together lies on one side: groups, near-duplicates, and the shares of classes that this leaves."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from class_folders import draw, fill, load
from PIL import Image

from resnest_cli.errors import BadDataSet
from resnest_cli.inputs.labelled import grouping
from resnest_cli.inputs.labelled.split import split
from resnest_cli.inputs.splits import LEFT_OUT, TRAIN, VAL
from resnest_cli.inputs.tables import Example

if TYPE_CHECKING:
    from resnest_cli.inputs.labelled.training_set import TrainingSet


pytestmark = pytest.mark.usefixtures("check_in_shared_processes")


def examples(*counts: tuple[str, str, int]) -> list[Example]:
    """Return so many different files of each label and group."""
    return [
        Example(f"{label}/{group}/{i}", label, sha256=f"{label} {group} {i}", group=group)
        for label, group, count in counts
        for i in range(count)
    ]


def sides(done: list[Example]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for example in done:
        found[example.group].add(example.split)
    return found


def counts(done: list[Example], side: str) -> dict[str, int]:
    return Counter(example.label for example in done if example.split == side)


def test_units_are_what_groups_and_near_duplicates_join() -> None:
    files = [Example(each, "x", sha256=each, group=group) for each, group in ("a1", "b2", "c1", "d ", "e ", "f ")]
    files = [Example(each.path, "x", sha256=each.sha256, group=each.group.strip()) for each in [*files, files[3]]]
    # a and c are of group 1; d is there twice; c and d look alike, so do e and a file that is not there.
    joined = grouping.units(files, [("c", "d"), ("e", "z")])
    assert [[each.path for each in unit] for unit in joined] == [["a", "c", "d", "d"], ["b"], ["e"], ["f"]]


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_equal_size_give_the_share_exactly(seed: int) -> None:
    """Of 5 groups of 4 in each class, a fifth is one group."""
    given = examples(*((label, f"{label}{group}", 4) for label in "ab" for group in range(5)))
    done = split(given, share=0.2, seed=seed)
    assert counts(done, VAL) == {"a": 4, "b": 4}
    assert all(len(each) == 1 for each in sides(done).values())


def test_a_group_too_large_for_the_share_is_passed_over_for_small_ones() -> None:
    """Wanted are 4 of 20: of groups of 16, 1, 1, 1 and 1 these are the small ones, in any order."""
    given = examples(("a", "large", 16), *(("a", f"small {i}", 1) for i in range(4)), ("b", "", 5))
    for seed in range(5):
        done = split(given, share=0.2, seed=seed)
        assert (counts(done, VAL), sides(done)["large"]) == ({"a": 4, "b": 1}, {TRAIN})


def test_a_class_of_two_large_groups_gives_the_smaller_one() -> None:
    """Wanted are 2 of 20: 9 are farther from it than none, and still are needed to validate on the class."""
    given = examples(("a", "p", 11), ("a", "q", 9), ("b", "", 10))
    for seed in range(5):
        done = split(given, share=0.1, seed=seed)
        assert (counts(done, VAL), sides(done)["q"]) == ({"a": 9, "b": 1}, {VAL})


def test_a_group_of_several_classes_is_not_parted() -> None:
    """Ten patients with 3 benign spots and 1 malignant each: two of them are a fifth of both classes."""
    given = examples(*((label, f"patient {i}", n) for i in range(10) for label, n in (("benign", 3), ("malignant", 1))))
    for seed in range(5):
        done = split(given, share=0.2, seed=seed)
        assert (counts(done, VAL), counts(done, TRAIN)) == (
            {"benign": 6, "malignant": 2},
            {"benign": 24, "malignant": 8},
        )
        assert all(len(each) == 1 for each in sides(done).values())


def test_a_group_that_has_all_of_one_class_stays_to_train_on() -> None:
    """B is in the group x alone; x in validation would leave none of it to train on."""
    given = examples(("a", "x", 2), ("b", "x", 2), ("a", "y", 2), ("a", "z", 2))
    for seed in range(5):
        assert sides(split(given, share=0.3, seed=seed))["x"] == {TRAIN}


def test_the_seed_decides_which_groups_and_the_order_of_files_does_not() -> None:
    given = examples(*((label, f"{label}{group}", 2) for label in "ab" for group in range(10)))

    def held_out(files: list[Example], seed: int) -> set[str]:
        return {each.group for each in split(files, share=0.2, seed=seed) if each.split == VAL}

    assert held_out(given, 0) == held_out(given[::-1], 0)
    assert held_out(given, 0) != held_out(given, 1)


def animals(root: Path) -> Path:
    """Draw four animals of each class, with three images each."""
    for number, name in enumerate(("cat", "dog")):
        fill(root / name, {f"{name} {i}": 3 for i in range(4)}, first=100 * number)
    return root


def by_folder(data: TrainingSet, side: str) -> set[str]:
    return {Path(path).parent.name for path, _ in data.side(side)}


def test_a_subfolder_of_a_class_is_a_group(tmp_path: Path) -> None:
    data = load(animals(tmp_path), groups="folder")
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"cat": 9, "dog": 9}, {"cat": 3, "dog": 3})
    assert not by_folder(data, TRAIN) & by_folder(data, VAL)
    assert by_folder(load(tmp_path), TRAIN) & by_folder(load(tmp_path), VAL)  # without, each image goes by itself


def test_deeper_folders_belong_to_the_first_and_loose_images_to_none(tmp_path: Path) -> None:
    fill(tmp_path / "cat" / "tom", {"day": 2, "night": 2})
    fill(tmp_path / "cat", {"kit": 4}, first=50)
    fill(tmp_path, {"dog": 4}, first=100)
    groups = {Path(each.path).parent.name: each.group for each in load(tmp_path, groups="folder").examples}
    assert groups == {"day": "tom", "night": "tom", "kit": "kit", "dog": ""}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_of_the_table_names_groups(tmp_path: Path, suffix: str) -> None:
    animals(tmp_path)
    rows = [(path.relative_to(tmp_path), path.parts[-3], path.parts[-2]) for path in sorted(tmp_path.rglob("*.png"))]
    table = tmp_path / f"list{suffix}"
    if suffix == ".csv":
        table.write_text("path,label,Animal ID\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = ("path", "label", "Animal ID")
        columns = {name: [str(row[at]) for row in rows] for at, name in enumerate(names)}
        pq.write_table(pa.table({**columns, "other": [1] * len(rows)}), table)
    data = load(table, groups="animal id")
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"cat": 9, "dog": 9}, {"cat": 3, "dog": 3})
    assert not by_folder(data, TRAIN) & by_folder(data, VAL)
    with pytest.raises(BadDataSet, match=r"has no column 'owner' for groups; it has: path, label, Animal ID"):
        load(table, groups="owner")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("folder", "no class folder has subfolders for groups=.folder., such as cat/tom/0001.jpg"),
        ("animal", "has no table with a column 'animal': give a table, or groups=.folder. for subfolders"),
    ],
)
def test_class_folders_without_such_groups_are_refused(tmp_path: Path, groups: str, said: str) -> None:
    with pytest.raises(BadDataSet, match=said):
        load(fill(tmp_path, {"a": 4, "b": 4}), groups=groups)


def test_a_class_of_one_group_is_refused(tmp_path: Path) -> None:
    animals(tmp_path)
    fill(tmp_path / "owl", {"hedwig": 3}, first=500)
    with pytest.raises(BadDataSet, match=r"all 3 images of owl are of one group, hedwig, so either none is left"):
        load(tmp_path, groups="folder")


def test_groups_that_a_given_split_parts_are_told(tmp_path: Path) -> None:
    """Tom is on both sides, Rex and Kit on one."""
    for first, place in enumerate(("train/cat/tom", "train/dog/rex", "val/cat/tom", "val/cat/kit", "val/dog/max")):
        fill(tmp_path / place, {"": 2}, first=10 * first)
    data = load(tmp_path, groups="folder")
    assert data.notes == ("groups on both sides: 1 of 4 (tom). Accuracy may measure memory.",)
    assert (len(data.side(TRAIN)), len(data.side(VAL))) == (4, 6)


def smaller(path: Path, to: Path) -> None:
    """Save a version of an image that its hash does not know."""
    image = Image.open(path)
    to.parent.mkdir(parents=True, exist_ok=True)
    image.resize((64, 64), Image.Resampling.BICUBIC).save(to, quality=80)


def test_near_duplicates_stay_on_one_side_and_are_counted(tmp_path: Path) -> None:
    """Each of 8 images of two classes comes again, larger and compressed."""
    for path in fill(tmp_path, {"a": 8, "b": 8}).rglob("*.png"):
        smaller(path, path.with_suffix(".jpg"))
    for seed in range(3):
        data = load(tmp_path, seed=seed)
        stems = [{Path(path).parent / Path(path).stem for path, _ in data.side(side)} for side in (TRAIN, VAL)]
        assert not stems[0] & stems[1]
        assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 12, "b": 12}, {"a": 4, "b": 4})
        assert data.notes == ("32 files are near-duplicates of others; they stay on one side.",)


def test_near_duplicates_across_a_given_split_are_told_and_stay(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 4, "b": 4})
    fill(tmp_path / "val", {"a": 2, "b": 2}, first=100)
    one, other = tmp_path / "train" / "a" / "0.png", tmp_path / "val" / "a" / "x.jpg"
    smaller(one, other)
    data = load(tmp_path)
    what = "images in validation that look like one to train on: 1"
    assert data.notes == (f"{what} ({other} like {one}). Accuracy may measure memory.",)
    assert (data.counts(TRAIN), data.counts(VAL)) == ({"a": 4, "b": 4}, {"a": 3, "b": 2})
    assert not [each for each in data.examples if each.split == LEFT_OUT]


def test_pictures_of_nothing_are_not_one_group(tmp_path: Path) -> None:
    """Plain grounds all look the same; each still goes by itself."""
    for name in "ab":
        for i in range(8):
            path = draw(tmp_path / name / f"{i}.png", 0)
            Image.new("RGB", (40, 30), (20 * i, 100, 100 if name == "a" else 200)).save(path)
    data = load(tmp_path)
    assert (data.counts(VAL), data.notes) == ({"a": 2, "b": 2}, ())
