"""An index from Python: made of a file or of arrays, searched by images and by features."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Embedder, Failure, Index
from resnest_cli.errors import UnreadableInput, UsageError
from resnest_cli.tasks import itself, similar
from resnest_cli.tasks.similar import Answer

PATHS = sorted(map(str, SAMPLES.iterdir()))
SEVEN = str(SAMPLES / "seven_0081.png")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the features of the samples, and of a file that is lost."""
    with Embedder("digits", workers=0) as embedder:
        embedder.write([*PATHS, "lost.png"], tmp_path / "digits.npy")
    return tmp_path / "digits.npy"


def by_hand(values: np.ndarray, query: np.ndarray) -> list[int]:
    """Return the rows by their cosine in float64, the highest first."""
    known, sought = values[: len(PATHS)].astype(np.float64), query.astype(np.float64)
    order: list[int] = np.argsort(-(known @ sought) / np.linalg.norm(known, axis=1), kind="stable").tolist()
    return order


def test_an_image_a_picture_and_its_features_find_the_same(file: Path) -> None:
    with Index.open(file, workers=0) as index:
        near = index.search(SEVEN, k=4, include_self=True)
        row = index.values[PATHS.index(SEVEN)]
        with Image.open(SEVEN) as picture:
            assert index.search(picture, k=4, include_self=True) == near == index.search(row, k=4)
        assert [one.row for one in near] == by_hand(index.values, row)[:4]
        assert [(one.rank, one.path) for one in near] == list(enumerate((PATHS[one.row] for one in near), 1))
        assert (len(index), near[0].path) == (13, SEVEN)
        assert near[0].similarity == pytest.approx(1)
        assert len(index.search(row, k=99)) == len(PATHS)  # the lost one is never found


def test_many_are_answered_in_order_each_in_its_place(file: Path) -> None:
    with Index.open(file, workers=0) as index:
        first, lost, last = index.answers([PATHS[3], "lost.png", PATHS[5]], k=2)
        assert isinstance(first, Answer)
        assert isinstance(last, Answer)
        assert (first.neighbours, last.neighbours) == (index.search(PATHS[3], k=2), index.search(PATHS[5], k=2))
        assert lost == Failure("lost.png", "UnreadableInput", "no such file.")
        with pytest.raises(UnreadableInput, match="no such file"):
            index.search("lost.png")


def test_the_query_itself_is_no_neighbour_unless_asked_for(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file is the same name in the same folder, whatever leads there; a copy is another image."""
    (tmp_path / "linked").symlink_to(SAMPLES)
    monkeypatch.chdir(SAMPLES)
    with Index.open(file, workers=0) as index:
        everything = by_hand(index.values, index.values[PATHS.index(SEVEN)])
        others = [row for row in everything if PATHS[row] != SEVEN]
        for query in (
            SEVEN,
            "seven_0081.png",
            f"{SAMPLES}/../samples/seven_0081.png",
            tmp_path / "linked" / Path(SEVEN).name,
        ):
            found = index.search(query, k=4)
            assert [(near.rank, near.row) for near in found] == [*enumerate(others[:4], 1)], query
            assert [near.row for near in index.search(query, k=4, include_self=True)] == everything[:4]
        with Image.open(SEVEN) as picture:  # which knows its file
            assert [near.row for near in index.search(picture, k=1)] == others[:1]
        shutil.copy(SEVEN, tmp_path / "copy.png")
        (tmp_path / "other").mkdir()
        shutil.copy(SEVEN, tmp_path / "other")  # of the same name
        for copy in (tmp_path / "copy.png", tmp_path / "other" / "seven_0081.png", Path(SEVEN).read_bytes()):
            assert index.search(copy, k=1)[0].path == SEVEN
        answers = [answer for answer in index.answers(PATHS, k=99) if answer.ok]
        assert [[near.path for near in answer.neighbours if near.path == answer.path] for answer in answers] == [
            []
        ] * 12
        assert {len(answer.neighbours) for answer in answers} == {11}


def test_every_row_of_the_query_is_left_out_and_what_has_no_path_of_its_own_is_none() -> None:
    paths = ["a/x.png", "b/x.png", "./a/x.png", "-", "#0", "https://h/a/x.png", "a\0/x.png", "a/x.png/"]
    queries = ["a/x.png", "-", "#0", "https://h/a/x.png", "y.png", "b/../a/x.png"]
    assert itself.rows(queries, paths) == [{0, 2}, set(), set(), {5}, set(), {0, 2}]


def test_an_index_of_arrays_is_that_of_the_file(file: Path) -> None:
    with Embedder("digits", workers=0) as embedder, Index.open(file) as written:
        rows = [row for row in embedder.embed(PATHS) if row.ok]
        index = Index([row.path for row in rows], np.stack([row.values for row in rows]), embedder)
        near = written.search(written.values[PATHS.index(SEVEN)], k=3)
        assert index.search(SEVEN, k=3, include_self=True) == near
        index.close()  # the embedder is the caller's
        assert index.search(SEVEN, k=1, include_self=True)[0].path == SEVEN
        with pytest.raises(UsageError, match=r"^the query has 512 features, the index has 2\.$"):
            Index(["one"], [[1, 2]], embedder).search(SEVEN)


def test_arrays_alone_are_searched_by_features() -> None:
    index = Index(["right", "up", "nothing"], np.array([[1, 0], [0, 1], [np.nan, 0]]))
    assert [(near.path, near.similarity) for near in index.search(np.array([3, 4]))] == [("up", 0.8), ("right", 0.6)]
    alike = Index(["a", "b", "c"], np.array([[1, 0], [0, 1], [2, 0]])).duplicates(0.9)
    assert [group.paths for group in alike] == [("a", "c")]
    with pytest.raises(UsageError, match=r"^an index of arrays has no model for images: give it embedder="):
        index.search(SEVEN)
    with pytest.raises(UsageError, match=r"^the query has 3 features, the index has 2\.$"):
        index.search(np.zeros(3))
    with pytest.raises(UsageError, match=r"^1 paths need float32 \[1, F\], not \(2, 2\)\.$"):
        Index(["one"], np.eye(2))


def test_the_model_opens_with_the_first_image_and_closes_with_the_index(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Embedder] = []
    closed: list[Embedder] = []

    class Watched(Embedder):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)  # type: ignore[arg-type] # passed on
            opened.append(self)

        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr(similar, "Embedder", Watched)
    with Index.open(file, workers=0) as index:
        index.search(np.ones(512))
        assert opened == []
        index.search(SEVEN)
        index.search(SEVEN)
        assert len(opened) == 1
    assert closed == opened
    with pytest.raises(UsageError, match="closed"):
        index.search(SEVEN)
