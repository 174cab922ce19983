"""Any tree of files, sorted in any way: nothing is lost or overwritten, and undone it is what it was."""

from __future__ import annotations

import json
import os
import tempfile
import unicodedata
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from trees import contents, failure, other_disk, row, snapshot, write_rows

from resnest_cli import sort, undo_sort

if TYPE_CHECKING:
    from collections.abc import Iterator


HOW = ["copy", "link", "hardlink", "move"]
STEMS = ["dog", "Dog", "caf\u00e9", "cafe\u0301", "dog (2)", "a b", ".hidden", "new\nline", "x" * 240]
STEMS += [os.fsdecode(b"\xff\xfe")]
SUFFIXES = [".jpg", ".JPG", ".cr2", ".xmp", ".jpg.xmp", ".json", ".jpg.json", ".png", ""]
LABELS = ["dog", "Dog", "crane", "CON", "a/b", "..", "", "caf\u00e9", "cafe\u0301", "_unsure", "photos", "y" * 200]
NAMES = st.builds("".join, st.tuples(st.sampled_from(STEMS), st.sampled_from(SUFFIXES)))
FOLDERS = st.sampled_from(["", "photos", "photos/dog", "photos/Dog", "photos/2020"])


@dataclass(frozen=True)
class Made:
    """A file or a link to make, and what its row says."""

    folder: str
    name: str
    content: bytes
    mode: int
    mtime_ns: int
    link: str
    label: str
    probability: float
    more: dict[str, Any]
    is_failed: bool
    has_row: bool


MADE = st.builds(
    Made,
    folder=FOLDERS,
    name=NAMES,
    content=st.binary(max_size=3),
    mode=st.sampled_from([0o644, 0o444, 0o600, 0o755]),
    mtime_ns=st.integers(10**18, 2 * 10**18),
    link=st.sampled_from(["", "", "", "dog.jpg", "../dog.jpg", "nowhere"]),
    label=st.sampled_from(LABELS),
    probability=st.floats(0, 1),
    more=st.sampled_from([{}, {}, {"set": [1], "strangeness": 0.5, "abstained": True}]),
    is_failed=st.booleans(),
    has_row=st.sampled_from([True, True, True, False]),
)
NOT_FILES = [row("https://example.org/a.jpg"), row("s3://photos/a.jpg"), row("-"), row("gone.jpg"), failure("gone.jpg")]


@contextmanager
def built(made: list[Made]) -> Iterator[tuple[Path, Path]]:
    """Yield a tree of files, and the rows that name them."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place, "tree")
        tree.mkdir()
        rows = []
        for each in made:
            path = tree / each.folder / each.name
            if not path.parent.is_dir():
                with suppress(FileExistsError, NotADirectoryError):  # a file has its name
                    path.parent.mkdir(parents=True)
            if not path.parent.is_dir():
                continue
            if each.link and not os.path.lexists(path):
                path.symlink_to(each.link)
            elif not os.path.lexists(path):
                path.write_bytes(each.content)
                path.chmod(each.mode)
                os.utime(path, ns=(each.mtime_ns, each.mtime_ns))
            if each.has_row:
                rows.append(failure(path) if each.is_failed else row(path, each.label, each.probability, **each.more))
        yield tree, write_rows(Path(place, "rows.jsonl"), [*rows, *NOT_FILES, *rows[:1]])


@pytest.mark.slow
@settings(max_examples=200, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(
    st.lists(MADE, max_size=12),
    st.sampled_from(["", "new", "photos", "photos/new", "another disk"]),
    st.fixed_dictionaries(
        {
            "how": st.sampled_from(HOW),
            "min": st.sampled_from([0.0, 0.5]),
            "failed": st.booleans(),
            "with_sidecars": st.booleans(),
        }
    ),
)
def test_any_tree_is_sorted_without_loss_and_undone_to_what_it_was(
    made: list[Made], where: str, choices: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        tree, rows = stack.enter_context(built(made))
        (tree / "photos").mkdir(exist_ok=True)
        to = stack.enter_context(other_disk()) / "new" if where == "another disk" else tree / where
        before, held = snapshot(tree), contents(tree)
        there = set(to.rglob("*"))

        would = sort(rows, to, **choices)
        assert would.journal is None
        assert snapshot(tree) == before
        assert where != "another disk" or not to.exists()

        did = sort(rows, to, apply=True, **choices)
        assert (did.folders, did.skipped) == (would.folders, would.skipped)
        assert contents(tree, to.parent) >= held
        if choices["how"] != "move":
            assert before.items() <= snapshot(tree).items()
        assert not [name for name, what in snapshot(tree).items() if before.get(name, what) != what]
        assert_told_apart(to, there)
        if not choices["with_sidecars"]:
            assert did.files <= len({each["path"] for each in map(json.loads, rows.read_text().splitlines())})
        if did.journal:
            assert undo_sort(did.journal).kept == ()
        assert snapshot(tree) == before
        assert where != "another disk" or not [*to.parent.iterdir()]


def assert_told_apart(to: Path, there: set[Path]) -> None:
    """Check that no new name is one that some file system takes for another's."""
    for folder in (to, *(path for path in to.glob("*") if path.is_dir() and not path.is_symlink())):
        alike = Counter(unicodedata.normalize("NFC", path.name).lower() for path in folder.glob("*"))
        new = {unicodedata.normalize("NFC", path.name).lower() for path in folder.glob("*") if path not in there}
        assert not [name for name in new if alike[name] > 1]
