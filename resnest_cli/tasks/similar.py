"""Which images of an index look like a query, and which look alike among themselves.

In: an `Index` of features, and queries: images, or features. Out: answers and groups, as they are found. Does not know
who reads them; the comparison itself is in `cosine`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.models import provenance
from resnest_cli.options import Options
from resnest_cli.outputs import index
from resnest_cli.outputs.features import DTYPE
from resnest_cli.outputs.rows import error_of
from resnest_cli.tasks import cosine, itself
from resnest_cli.tasks.embed import Embedder
from resnest_cli.tasks.opened import Once
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self, Unpack

    from resnest_cli.inputs.find import Input
    from resnest_cli.options import Keywords
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.tasks.opened import Inputs

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


Item: TypeAlias = Answer | Group | Failure


class Index:
    """Features of N images that can be searched; use it as a context manager, or `close` it.

    The search is exact: it compares with every image. The model that images of queries go through opens with the first.

    Args:
        paths: N names.
        values: the features of each, float32 [N, F]; a row of NaN is never found.
        embedder: the model that made them, which stays the caller's; None: only features are looked for.
    """

    def __init__(self, paths: Sequence[str], values: ArrayLike, embedder: Embedder | None = None) -> None:
        self.paths, self.values = list(paths), np.asarray(values, DTYPE)
        if self.values.shape[:-1] != (len(self.paths),):
            raise UsageError(f"{len(self.paths)} paths need float32 [{len(self.paths)}, F], not {self.values.shape}.")
        self._embedder = embedder
        self._own: Once[Embedder] | None = None

    @classmethod
    def open(cls, path: str | PathLike[str], model: str | Options = "", **changes: Unpack[Keywords]) -> Self:
        """Open a file that `Embedder.write` or `resnest embed` wrote.

        >>> with Index.open("photos.npy") as index:
        ...     for near in index.search("dog.jpg", k=3):
        ...         print(near.similarity, near.path)

        Args:
            path: the file: .npy, whose values stay on disk until they are used, .parquet, .jsonl or .csv.
            model: where the model of the index is, if it moved.
            **changes: how it runs, such as `device="cpu"`; precision and preprocessing are those of the index.

        Raises:
            TypeError: a keyword that is no field of `Options`.
            UsageError: the file is not there, not complete, or not one of features.
        """
        known = index.read(Path(path))
        made = cls(known.paths, known.values)
        made._own = Once(partial(_opened, known, Options.of(model, changes)))
        return made

    def __len__(self) -> int:
        """Return N."""
        return len(self.paths)

    def __enter__(self) -> Self:
        """Return the index itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def embedder(self) -> Embedder:
        """The model of the index, opened.

        Raises:
            UsageError: the index does not name its model, or names another than was given; or there is none.
            WeightsUnavailable, BadCheckpoint, DeviceError: the model cannot be opened.
        """
        if self._own:
            return self._own.get()
        if self._embedder is None:
            raise UsageError("an index of arrays has no model for images: give it embedder=, or look for features.")
        return self._embedder

    def search(
        self, query: Input | NDArray[np.float32], k: int = DEFAULT_NEIGHBOURS, *, include_self: bool = False
    ) -> tuple[Neighbour, ...]:
        """Return the `k` images most like one image, or like features [F], most similar first.

        Args:
            query: the image, as for `Embedder`, or its features.
            k: how many.
            include_self: keep the image itself, if the index has its path.

        Raises:
            ImageError: the image cannot be read.
            UsageError: features of another length; or as `embedder` does.
        """
        if getattr(query, "ndim", 0) == 1:
            return self._neighbours(self._nearest([np.asarray(query, DTYPE)], k)[0])
        (found,) = self.answers(self.embedder.find_one(query), k, include_self=include_self)
        if isinstance(found, Failure):
            raise found.error
        return found.neighbours

    def answers(
        self, queries: Inputs, k: int = DEFAULT_NEIGHBOURS, *, include_self: bool = False
    ) -> Iterator[Answer | Failure]:
        """Yield the `k` images most like each query, in the order of the queries.

        Args:
            queries: as for `Embedder.embed`.
            k: how many for each.
            include_self: keep an image of the index that has the query's path: the query itself.
        """
        rows = self.embedder.embed(queries)
        while some := list(islice(rows, TOGETHER)):
            yield from self._answers(some, k, include_self=include_self)

    def duplicates(self, threshold: float) -> Iterator[Group]:
        """Find the groups of images of which any two have a cosine of at least `threshold`.

        Raises:
            UsageError: there are more pairs than memory holds.
        """
        paths = self.paths
        for group in cosine.groups(cosine.pairs(self.values, threshold)):
            rows = sorted({row for pair in group for row in (pair.first, pair.second)})
            pairs = (Pair(paths[pair.first], paths[pair.second], round(pair.similarity, DECIMALS)) for pair in group)
            yield Group(tuple(paths[row] for row in rows), tuple(pairs))

    def close(self) -> None:
        """Close the model, if the index opened one."""
        if self._own:
            self._own.close()

    def _answers(self, rows: list[Row | Failure], k: int, *, include_self: bool) -> Iterator[Answer | Failure]:
        """Answer some queries with one pass over the index."""
        good = [row for row in rows if not isinstance(row, Failure)]
        own = [set[int]()] * len(good) if include_self else itself.rows([row.path for row in good], self.paths)
        most = k + max(map(len, own), default=0)  # so that k others are left
        nearest = zip(self._nearest([row.values for row in good], most), own, strict=True)
        others = ([near for near in found if near.row not in left_out][:k] for found, left_out in nearest)
        for row in rows:
            yield row if isinstance(row, Failure) else Answer(row.path, "ok", self._neighbours(next(others)))

    def _nearest(self, queries: Sequence[NDArray[np.float32]], k: int) -> list[list[cosine.Neighbour]]:
        for values in queries:
            if values.shape != self.values.shape[1:]:
                raise UsageError(f"the query has {len(values)} features, the index has {self.values.shape[1]}.")
        return cosine.nearest(self.values, queries, k)

    def _neighbours(self, found: list[cosine.Neighbour]) -> tuple[Neighbour, ...]:
        return tuple(
            Neighbour(rank, self.paths[near.row], near.row, round(near.similarity, DECIMALS))
            for rank, near in enumerate(found, 1)
        )


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


def _opened(known: index.Features, now: Options) -> Embedder:
    """Open the model that features were made with; `now` is how it runs, and where it is if it moved.

    Raises:
        UsageError: the features do not name their model, or the model that `now` names is another.
    """
    embedder = Embedder(provenance.options_of(known.facts, now))
    try:
        _check(embedder, known.facts)
    except BaseException:
        embedder.close()
        raise
    return embedder


def _check(embedder: Embedder, facts: dict[str, Any]) -> None:
    """Refuse to compare features of two networks.

    Raises:
        UsageError: the model is not the one that the index was made with.
    """
    for key in ("architecture", "weights_sha256", "width"):
        if embedder.facts[key] != facts.get(key):
            message = (
                f"the index was made with another model: its {key} is {facts.get(key)}, that of "
                f"{embedder.spec.name} is {embedder.facts[key]}. Name the index's with --model or --weights."
            )
            raise UsageError(message)
