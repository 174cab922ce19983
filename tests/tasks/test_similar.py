"""An index from Python: made of a file or of arrays, searched by images and by features."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES, Resnest
from PIL import Image

from resnest_cli import Embedder, Failure, Index
from resnest_cli.errors import ExitCode, OutputError, UnreadableInput, UsageError
from resnest_cli.inputs.read import read_source
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.tasks import itself, similar, similar_page
from resnest_cli.tasks.neighbours import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.pipeline.stream import Decoded
    from resnest_cli.types import Source, Stages

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


def blocks(page: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the rows, the pictures by path, and the facts of a page."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', page.read_text(), re.DOTALL)
    parsed = {name: json.loads(text) for name, text in found}
    return parsed["rows"], {one["path"]: one for one in parsed["pictures"]}, parsed["facts"]


def test_a_page_has_the_answers_and_each_picture_once(
    file: Path, tmp_path: Path, resnest: Resnest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SAMPLES.parent)
    monkeypatch.setenv("RESNEST_SIMILAR_WORKERS", "0")
    decoded: list[str] = []

    def counted(source: Source, *given: Any, **named: Any) -> bytes:  # noqa: ANN401 - passed on
        decoded.append(source.path)
        return read_source(source, *given, **named)

    monkeypatch.setattr("resnest_cli.inputs.loading.read_source", counted)
    words = ("similar", SEVEN, "lost.png", "-", "--index", file, "-k", "3", "-q")
    picture = Path(PATHS[0]).read_bytes()
    page = tmp_path / "near.html"
    assert resnest(*words, "-o", page, stdin=picture).exit_code == ExitCode.SOME_FAILED
    rows, pictures, facts = blocks(page)
    answers = json.loads(resnest(*words, "-f", "json", stdin=picture).stdout)
    assert [row["path"] for row in rows] == [SEVEN, "lost.png", "-"]
    for row, answer in zip(rows, answers, strict=True):
        near = [{"path": near["path"], "similarity": near["similarity"]} for near in answer["neighbours"]]
        assert (row["images"], row.get("error")) == (near, answer.get("error"))
    assert [bool(row.get("thumbnail")) for row in rows] == [True, False, True]
    assert [row["link"] for row in rows] == [Path(SEVEN).as_uri(), "", ""]
    assert {*pictures} == {near["path"] for row in rows for near in row["images"]}
    assert all(one["thumbnail"].startswith("data:image/webp;base64,") for one in pictures.values())
    assert facts == {"model": "digits", "engine": "openvino", "precision": "fp32"}
    assert sorted(decoded[: 3 + len(pictures)]) == sorted([SEVEN, "lost.png", "-", *pictures])  # each once
    ended = resnest(*words, "-f", "html", stdin=picture)
    assert ended.stdout == page.read_text()
    assert resnest(*words, "-o", page).stderr == f"error: {page} exists; add --overwrite to replace it.\n"
    ended = resnest(*words, "-o", tmp_path / "near.json")
    assert ended.stderr.endswith("near.json: a page ends in .html; for other formats leave out -o.\n")


def test_a_page_of_groups_needs_no_model_and_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "Embedder", None)
    asked: list[str] = []

    class Watched(Decoders):
        def images(self, found: Iterable[Source | Failure], stages: Stages | None = None) -> Iterator[Decoded]:
            sources = list(found)
            asked.extend(source.path for source in sources)
            return super().images(sources, stages)

    monkeypatch.setattr(similar_page, "Decoders", Watched)
    paths = [SEVEN, "https://h.org/a.png", "lost.png", "-", "#0", "s3://bucket/a.png", PATHS[0]]
    index = Index(paths, np.array([[1.0, 0.001 * number] for number in range(6)] + [[0, 1]]))
    index.write(index.duplicates(0.9), tmp_path / "x.html")
    ((group,), pictures, facts) = blocks(tmp_path / "x.html")
    assert [image["path"] for image in group["images"]] == paths[:6]
    assert (group["similarity"], facts) == (pytest.approx(1, abs=1e-4), {})
    assert asked == [SEVEN, "lost.png"]
    assert {path for path, one in pictures.items() if one["thumbnail"]} == {SEVEN}
    assert {path: one["link"] for path, one in pictures.items()} == {
        SEVEN: Path(SEVEN).as_uri(),
        "https://h.org/a.png": "https://h.org/a.png",
        **dict.fromkeys(["lost.png", "-", "#0", "s3://bucket/a.png"], ""),
    }
    with pytest.raises(OutputError, match="add overwrite=True to replace it"):
        index.write([], tmp_path / "x.html")
    index.write([], tmp_path / "x.html", overwrite=True)
    assert blocks(tmp_path / "x.html")[0] == []


def test_a_page_that_is_not_complete_gets_no_name(tmp_path: Path) -> None:
    def stopped() -> Iterator[Answer]:
        yield Answer("a", "ok", ())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index([], np.empty((0, 2))).write(stopped(), tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


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
