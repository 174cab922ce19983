"""An index from Python: made of a file or of arrays, searched by images and by features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Embedder, Failure, Index
from resnest_cli.errors import UnreadableInput, UsageError
from resnest_cli.tasks import similar
from resnest_cli.tasks.similar import Answer

if TYPE_CHECKING:
    from pathlib import Path

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
        near = index.search(SEVEN, k=4)
        row = index.values[PATHS.index(SEVEN)]
        with Image.open(SEVEN) as picture:
            assert index.search(picture, k=4) == near == index.search(row, k=4)
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


def test_an_index_of_arrays_is_that_of_the_file(file: Path) -> None:
    with Embedder("digits", workers=0) as embedder, Index.open(file) as written:
        rows = [row for row in embedder.embed(PATHS) if row.ok]
        index = Index([row.path for row in rows], np.stack([row.values for row in rows]), embedder)
        assert index.search(SEVEN, k=3) == written.search(written.values[PATHS.index(SEVEN)], k=3)
        index.close()  # the embedder is the caller's
        assert index.search(SEVEN, k=1)[0].path == SEVEN


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
