"""What a search in an index finds: the neighbours of a query, groups of images that are alike; and how each is told.

In: paths, rows and cosines. Out: values, and each of them as JSON, as a row of the page, and as lines for people.
Standard library only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from resnest_cli.outputs.rows import error_of
from resnest_cli.types import Failure


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image of the index: its rank from 1, its path, its row, and its cosine with the query, -1..1."""

    rank: int
    path: str
    row: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The images most like the query at `path`, most similar first; `thumbnail` is as in `Result`."""

    path: str
    status: Literal["ok"]
    neighbours: tuple[Neighbour, ...]
    thumbnail: str = field(default="", repr=False)

    @property
    def ok(self) -> Literal[True]:
        """Always True: there is an answer."""
        return True


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images of the index, and their cosine, -1..1."""

    a: str
    b: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Group:
    """Images of the index, in its order, of which any two are similar; and all those pairs."""

    paths: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def similarity(self) -> float:
        """The least cosine of any two, -1..1."""
        return min(pair.similarity for pair in self.pairs)


Item: TypeAlias = Answer | Group | Failure


def row(item: Item) -> dict[str, Any]:
    """Return an item as a row of JSON."""
    if isinstance(item, Failure):
        return {"path": item.path, "status": item.status, "neighbours": []} | error_of(item)
    row = asdict(item)
    row.pop("thumbnail", None)  # of a page
    return row


def page_row(item: Item) -> dict[str, Any]:
    """Return an item as a row of the page: the images that it has found are its "images"."""
    if isinstance(item, Failure):
        return {"path": item.path, "status": item.status, "images": []} | error_of(item)
    if isinstance(item, Group):
        return {"status": "ok", "similarity": item.similarity, "images": [{"path": path} for path in item.paths]}
    images = [{"path": near.path, "similarity": near.similarity} for near in item.neighbours]
    return {"path": item.path, "status": item.status, "images": images, "thumbnail": item.thumbnail}


def words(item: Item) -> list[str]:
    """Return an item as lines for people: what it is about, then each image."""
    if isinstance(item, Failure):
        return [item.path, f"    {item.type}: {item.message}"]
    if isinstance(item, Group):
        return [
            f"{len(item.paths)} images, {item.similarity:.4f} or more alike",
            *(f"    {path}" for path in item.paths),
        ]
    return [item.path, *(f"{near.rank:>3}  {near.similarity:7.4f}  {near.path}" for near in item.neighbours)]
