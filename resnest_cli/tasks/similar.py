"""Which images of an index look like a query, and which look alike among themselves.

In: an `Index` of features, and queries. Out: answers and groups, as they are found. Does not know who reads them; the
comparison itself is in `cosine`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from resnest_cli.errors import UsageError
from resnest_cli.models import provenance
from resnest_cli.options import Options
from resnest_cli.outputs.rows import error_of
from resnest_cli.tasks import cosine
from resnest_cli.tasks.embed import Embedder
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resnest_cli.outputs.index import Index
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.types import Source

TOGETHER = 64  # queries that are compared in one pass over the index
DECIMALS = 6  # of a cosine: the rest is rounding of float32
DEFAULT_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image of the index: its rank from 1, its path, its row, and its cosine with the query, -1..1."""

    rank: int
    path: str
    row: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The images most like the query at `path`, most similar first."""

    path: str
    status: Literal["ok"]
    neighbours: tuple[Neighbour, ...]


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


Item: TypeAlias = Answer | Group | Failure


def opened(index: Index, now: Options | None = None) -> Embedder:
    """Open the model that the index was made with.

    Args:
        index: see `outputs.index.read`.
        now: how the model runs, and where it is if it moved.

    Raises:
        UsageError: the index does not name its model, or the model that `now` names is another.
        WeightsUnavailable, BadCheckpoint, DeviceError: the model cannot be opened.
    """
    embedder = Embedder(provenance.options_of(index.facts, now or Options(model="")))
    try:
        _check(embedder, index)
    except BaseException:
        embedder.close()
        raise
    return embedder


def search(
    index: Index, embedder: Embedder, queries: Iterable[Source | Failure], *, topk: int = DEFAULT_NEIGHBOURS
) -> Iterator[Answer | Failure]:
    """Find the images most like each query, in the order of the queries.

    The search is exact: it compares with every image.

    Args:
        index: the features that are searched.
        embedder: the model of the index, see `opened`.
        queries: images.
        topk: the most images of an answer.
    """
    rows = embedder.embed(queries)
    while some := list(islice(rows, TOGETHER)):
        yield from _answers(index, some, topk)


def duplicates(index: Index, threshold: float) -> Iterator[Group]:
    """Find the groups of images of which any two have a cosine of at least `threshold`.

    Raises:
        UsageError: there are more pairs than memory holds.
    """
    for group in cosine.groups(cosine.pairs(index.values, threshold)):
        rows = sorted({row for pair in group for row in (pair.first, pair.second)})
        pairs = (
            Pair(index.paths[pair.first], index.paths[pair.second], round(pair.similarity, DECIMALS)) for pair in group
        )
        yield Group(tuple(index.paths[row] for row in rows), tuple(pairs))


def row(item: Item) -> dict[str, Any]:
    """Return an item as a row of JSON."""
    if isinstance(item, Failure):
        return {"path": item.path, "status": item.status, "neighbours": []} | error_of(item)
    return asdict(item)


def words(item: Item) -> list[str]:
    """Return an item as lines for people: what it is about, then each image."""
    if isinstance(item, Failure):
        return [item.path, f"    {item.type}: {item.message}"]
    if isinstance(item, Group):
        least = min(pair.similarity for pair in item.pairs)
        return [f"{len(item.paths)} images, {least:.4f} or more alike", *(f"    {path}" for path in item.paths)]
    return [item.path, *(f"{near.rank:>3}  {near.similarity:7.4f}  {near.path}" for near in item.neighbours)]


def _check(embedder: Embedder, index: Index) -> None:
    """Refuse to compare features of two networks.

    Raises:
        UsageError: the model is not the one that the index was made with.
    """
    for key in ("architecture", "weights_sha256", "width"):
        if embedder.facts[key] != index.facts.get(key):
            message = (
                f"the index was made with another model: its {key} is {index.facts.get(key)}, that of "
                f"{embedder.spec.name} is {embedder.facts[key]}. Name the index's with --model or --weights."
            )
            raise UsageError(message)


def _answers(index: Index, rows: list[Row | Failure], topk: int) -> Iterator[Answer | Failure]:
    """Answer some queries with one pass over the index."""
    good = [row.values for row in rows if not isinstance(row, Failure)]
    found = iter(cosine.nearest(index.values, good, topk))
    for row in rows:
        if isinstance(row, Failure):
            yield row
            continue
        neighbours = (
            Neighbour(rank, index.paths[near.row], near.row, round(near.similarity, DECIMALS))
            for rank, near in enumerate(next(found), 1)
        )
        yield Answer(row.path, "ok", tuple(neighbours))
