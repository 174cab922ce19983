"""Which images of an index look like a query, and which look alike among themselves.

In: an `Index` of features, and queries: images, or features. Out: answers and groups, as they are found. Does not know
who reads them; the comparison itself is in `cosine`.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from resnest_cli.errors import UsageError
from resnest_cli.models import provenance
from resnest_cli.options import Options
from resnest_cli.outputs import index, saving
from resnest_cli.outputs.features import DTYPE
from resnest_cli.tasks import cosine, itself, similar_page
from resnest_cli.tasks.embed import Embedder
from resnest_cli.tasks.neighbours import Answer, Group, Neighbour, Pair
from resnest_cli.tasks.opened import Once
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self, Unpack

    from resnest_cli.inputs.find import Input
    from resnest_cli.options import Keywords
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.tasks.neighbours import Item
    from resnest_cli.tasks.opened import Inputs

TOGETHER = 64  # queries that are compared in one pass over the index
DECIMALS = 6  # of a cosine: the rest is rounding of float32
DEFAULT_NEIGHBOURS = 10


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
        self._facts: Mapping[str, Any] = embedder.facts if embedder else {}
        self._options = embedder.options if embedder else Options()

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
        made._facts, made._options = known.facts, Options.of(model, changes)
        made._own = Once(partial(_opened, known, made._options))
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

    def write(self, found: Iterable[Item], output: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write answers or groups as a page, with the pictures of all their images that are files.

        >>> with Index.open("photos.npy") as index:
        ...     index.write(index.answers(["dog.jpg", "cat.jpg"]), "near.html")
        ...     index.write(index.duplicates(0.95), "twins.html")

        Args:
            found: what `answers` or `duplicates` yield.
            output: the page, which gets its name when it is complete.
            overwrite: replace a file that exists.

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        path = Path(output)
        saving.claim(path, overwrite=overwrite)
        with saving.writer(path) as out:
            self.write_to(found, out, path)

    def write_to(self, found: Iterable[Item], out: IO[bytes], page: Path | None = None) -> None:
        """Write the page to an open file; `page` is where it will lie, if that is known."""
        similar_page.write(found, out, facts=self._facts, options=self._options, page=page)

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
            yield (
                row
                if isinstance(row, Failure)
                else Answer(row.path, "ok", self._neighbours(next(others)), row.thumbnail)
            )

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
