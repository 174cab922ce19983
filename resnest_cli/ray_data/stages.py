"""What runs on the machines of a cluster: tasks that read and decode, actors that hold an engine each.

In: blocks of numbered items. Out: blocks of the same items, in which each has become pixels, then a row; or has failed.
A block is a table; its columns of text are JSON, since Arrow's own text cannot hold every path. Knows nothing of Ray,
but that it calls these functions with such tables.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resnest_cli import buckets, graphs, sources, stream, urls, weights
from resnest_cli.engines import open_engine
from resnest_cli.errors import ImageError, OutputError, UnreadableInput
from resnest_cli.pool import Pool
from resnest_cli.types import Failure, Source, Stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from resnest_cli.engines import Engine
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

    Item: TypeAlias = Source | Failure
    Block: TypeAlias = dict[str, NDArray[Any]]
    # Makes a block of the rows of one: their numbers, the rows, F, and seconds [N, 3] (read, decode, forward).
    Finish: TypeAlias = Callable[[NDArray[np.int64], list[stream.Row | Failure], int, NDArray[np.float32]], Any]

AHEAD = 4  # images a decoding process is given before the first is taken from it


@dataclass(frozen=True)
class Parcel:
    """All that opens an engine on a machine that has nothing but this package.

    Attributes:
        files: a converted graph's files, or the checkpoint; none where weights are made from a seed.
        graph: the key of the graph, or nothing.
        facts: what the graph's sidecar says.
    """

    spec: ModelSpec
    options: Options
    want: str
    files: dict[str, bytes]
    graph: str
    facts: dict[str, Any]

    @classmethod
    def of(cls, engine: Engine, options: Options, want: str) -> Parcel:
        """Pack what `engine`, which is open here, was opened from."""
        options = replace(options, device=engine.device.partition(":")[0])  # a node's GPUs have numbers of their own
        pack = partial(cls, engine.spec, options, want)
        graph: graphs.Graph | None = getattr(engine, "graph", None)
        if graph:
            files = {name: (graph.folder / name).read_bytes() for name in graphs.FILES}
            return pack(files=files, graph=graph.folder.name, facts=graph.facts)
        if options.random_weights:
            return pack(files={}, graph="", facts={})
        path = weights.locate(engine.spec, options.weights)
        return pack(files={path.name: path.read_bytes()}, graph="", facts={})

    def open(self, cores: int) -> Engine:
        """Open the engine on this machine, for so many cores of it.

        Raises:
            OutputError: the files cannot be kept.
            DeviceError: the device is not there.
        """
        return self._with_graph(cores) if self.graph else self._with_weights()

    def _with_graph(self, cores: int) -> Engine:
        from resnest_cli.engines.openvino import OpenVinoEngine, require_native  # noqa: PLC0415 - heavy

        require_native(self.options.precision)
        try:
            graph = graphs.ensure(self.graph, lambda: graphs.store(self.graph, self._write, self.facts))
        except OSError as error:
            message = f"no graph can be kept on a node: {error}. Set RESNEST_CACHE there to a folder to write in."
            raise OutputError(message) from error
        return OpenVinoEngine(self.spec, graph, precision=self.options.precision, cores=cores)

    def _with_weights(self) -> Engine:
        """Open torch, which takes its threads from OMP_NUM_THREADS: Ray sets it to the CPUs of an actor."""
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder))
            paths = [Path(folder) / name for name in self.files]
            options = replace(self.options, engine="torch", weights=paths[0] if paths else None)
            return open_engine(self.spec, options, want=self.want)

    def _write(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


class Model:
    """An engine in an actor: takes blocks of pixels, gives what `finish` makes of their rows.

    Args:
        parcel: a Ray reference to the `Parcel`, so that each machine fetches it once.
        cores: those of this actor.
        batch: images a forward pass.
        finish: see `Finish`.
    """

    def __init__(self, parcel: Any, cores: int, batch: int, finish: Finish) -> None:  # noqa: ANN401 - Ray has no types
        import ray  # noqa: PLC0415 - of the extra "ray"

        self._engine = ray.get(parcel).open(cores)
        self._engine.prepare(single=False)
        self._batch = batch
        self._finish = finish

    def __call__(self, block: Block) -> Any:  # noqa: ANN401 - whatever `finish` gives
        """Run a block."""
        decoded = [
            item if isinstance(item, Failure) else stream.Pixels(item.path, pixels)
            for item, pixels in zip(map(unpack, block["item"]), block["pixels"], strict=True)
        ]
        stages = Stages()
        rows = list(stream.infer(decoded, self._engine, self._batch, stages))
        seconds = np.column_stack([block["seconds"], np.full(len(rows), stages.forward / len(rows), np.float32)])
        return self._finish(block["number"], rows, self._engine.width, seconds)


def decode(block: Block, load: stream.Loader, timeout: float) -> Block:
    """Read and decode a block; an item without pixels says why.

    As without Ray, in a process that may crash or be stopped: Ray would do a block that ends its worker again and
    again, and then end the job.
    """
    named = list(map(unpack, block["item"]))
    stages = Stages()
    try:
        decoded = list(stream.decode_in(_decoder(load, timeout), map(unpack, block["place"]), load, AHEAD, stages))
    except BaseException:
        _decoder.cache_clear()  # it has answers to give that nobody waits for
        raise
    nothing = np.zeros((*load.data.input_size[1:], 3), np.uint8)
    settled = [
        replace(now, path=item.path) if isinstance(now, Failure) else item
        for item, now in zip(named, decoded, strict=True)
    ]
    return {
        "number": block["number"],
        "item": np.array(list(map(pack, settled))),
        "pixels": np.stack([nothing if isinstance(now, Failure) else now.values for now in decoded]),
        "seconds": np.full((len(named), 2), np.array([stages.read, stages.decode]) / len(named), np.float32),
    }


def as_block(
    numbers: NDArray[np.int64], rows: list[stream.Row | Failure], width: int, seconds: NDArray[np.float32]
) -> Block:
    """Give rows as they are: `values` float32 [N, F], NaN where there is none; `failure` says why, or is empty."""
    nothing = np.full(width, np.nan, np.float32)
    return {
        "number": numbers,
        "failure": np.array([pack(row) if isinstance(row, Failure) else "" for row in rows]),
        "values": np.stack([nothing if isinstance(row, Failure) else row.values for row in rows]),
        "seconds": seconds,
    }


def pack(item: Item) -> str:
    """Give an item as text."""
    return json.dumps([item.path, item.type, item.message] if isinstance(item, Failure) else [item.path, item.url])


def unpack(text: str) -> Item:
    """Give the item again."""
    words = json.loads(text)
    return Source(*words) if len(words) == 2 else Failure(*words)  # noqa: PLR2004 - as `pack` wrote it


def placed(item: Item) -> Item:
    """Name a file so that it is found from any folder; anything else is as it was."""
    if isinstance(item, Failure) or not is_file(item):
        return item
    return Source(os.path.abspath(item.path))  # noqa: PTH100 - strings: what is typed may be no text


def is_file(source: Source) -> bool:
    """Tell whether it is in a file system, and so may be on one machine and not on another."""
    return not (source.url or buckets.is_bucket(source.path) or urls.is_url(source.path))


def unreadable(found: list[Source]) -> list[str]:
    """Say of each source why this machine cannot read it; nothing if it can."""
    return [_why_unreadable(source) for source in found]


def _why_unreadable(source: Source) -> str:
    try:
        sources.read(source)
    except UnreadableInput as error:
        return str(error)
    except ImageError:
        return ""
    return ""


@lru_cache(maxsize=1)
def _decoder(load: stream.Loader, timeout: float) -> Pool:
    """Give the process that decodes for this one, as long as this one lives."""
    return Pool(load, 1, timeout=timeout)
