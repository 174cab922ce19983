"""What runs on the machines of a cluster: actors that hold a trunk each, with its engine and decoding processes.

In: blocks of numbered items. Out: blocks of the same items, in which each has become a row, or has failed. A block is a
table; its columns of text are JSON, since Arrow's own text cannot hold every path. Knows nothing of Ray, but that it
calls these functions with such tables.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resnest_cli.engines.choose import open_engine
from resnest_cli.errors import ImageError, OutputError, UnreadableInput
from resnest_cli.inputs import buckets, urls
from resnest_cli.inputs.read import read_source
from resnest_cli.models import graphs, weights
from resnest_cli.pipeline.decoders import MAX_AUTO_WORKERS
from resnest_cli.pipeline.trunk import Trunk
from resnest_cli.system import machine
from resnest_cli.types import EngineFacts, Failure, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Options
    from resnest_cli.pipeline import stream
    from resnest_cli.types import ModelSpec

    Item: TypeAlias = Source | Failure
    Block: TypeAlias = dict[str, NDArray[Any]]
    # Makes a block of the rows of one: their numbers, the rows, F, and seconds [N, 3] (read, decode, forward).
    Finish: TypeAlias = Callable[[NDArray[np.int64], list[stream.Row | Failure], int, NDArray[np.float32]], Any]

STAGES = ("read", "decode", "forward")  # whose seconds come back with the rows: the first of `Stages`


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
        # A node's GPUs have numbers of their own; what was left to choose is as it was chosen here.
        options = replace(options, device=engine.device.partition(":")[0], precision=engine.precision)
        pack = partial(cls, engine.spec, options, want)
        graph: graphs.Graph | None = getattr(engine, "graph", None)
        if graph:
            files = {name: (graph.folder / name).read_bytes() for name in graphs.FILES}
            return pack(files=files, graph=graph.folder.name, facts=graph.facts)
        if options.random_weights:
            return pack(files={}, graph="", facts={})
        path = weights.locate(engine.spec, options.weights)
        content = weights.read(path, EngineFacts.of(engine).origin or "")  # what is opened here, also there
        return pack(files={path.name: content.data}, graph="", facts={})

    def open(self, cores: int) -> Engine:
        """Open the engine on this machine, for so many cores of it.

        Raises:
            OutputError: the files cannot be kept.
            DeviceError: the device is not there.
        """
        return self._with_graph(cores) if self.graph else self._with_weights()

    def _with_graph(self, cores: int) -> Engine:
        from resnest_cli.engines.openvino import OpenVinoEngine  # noqa: PLC0415 - heavy
        from resnest_cli.engines.runtime import require_native  # noqa: PLC0415 - heavy

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
    """A trunk in an actor: takes blocks of items, gives what `finish` makes of their rows.

    Args:
        parcel: a Ray reference to the `Parcel`, so that each machine fetches it once.
        cores: those of this actor.
        finish: see `Finish`.
    """

    def __init__(self, parcel: Any, cores: int, finish: Finish) -> None:  # noqa: ANN401 - Ray has no types
        import ray  # noqa: PLC0415 - of the extra "ray"

        opened: Parcel = ray.get(parcel)
        cores = min(cores, machine.usable_cores())
        options = opened.options
        if options.workers == "auto":
            options = replace(options, workers=min(cores, MAX_AUTO_WORKERS))
        self._trunk = Trunk(opened.spec, options, engine=opened.open(cores))
        self._finish = finish

    def __call__(self, block: Block) -> Any:  # noqa: ANN401 - whatever `finish` gives
        """Run a block."""
        before = astuple(self._trunk.stages)
        found = self._trunk.rows(map(unpack, block["place"]))
        rows = [replace(row, path=unpack(item).path) for item, row in zip(block["item"], found, strict=True)]
        taken = np.subtract(astuple(self._trunk.stages), before)[: len(STAGES)] / len(rows)
        return self._finish(
            block["number"], rows, self._trunk.engine.width, np.tile(taken.astype(np.float32), (len(rows), 1))
        )


def as_block(
    numbers: NDArray[np.int64], rows: list[stream.Row | Failure], width: int, seconds: NDArray[np.float32]
) -> Block:
    """Return rows as they are: `values` float32 [N, F], NaN where there is none; `failure` says why, or is empty."""
    nothing = np.full(width, np.nan, np.float32)
    return {
        "number": numbers,
        "failure": np.array([pack(row) if isinstance(row, Failure) else "" for row in rows]),
        "values": np.stack([nothing if isinstance(row, Failure) else row.values for row in rows]),
        "exif": np.array([_exif(row) for row in rows], object),
        "thumbnail": np.array(["" if isinstance(row, Failure) else row.thumbnail for row in rows], object),
        "seconds": seconds,
    }


def _exif(row: stream.Row | Failure) -> str:
    return "" if isinstance(row, Failure) or row.exif is None else json.dumps(asdict(row.exif))


def pack(item: Item) -> str:
    """Return an item as text."""
    return json.dumps([item.path, item.type, item.message] if isinstance(item, Failure) else [item.path, item.url])


def unpack(text: str) -> Item:
    """Return the item again."""
    words = json.loads(text)
    return Source(*words) if len(words) == 2 else Failure(*words)  # noqa: PLR2004 - as `pack` wrote it


def placed(item: Item) -> Item:
    """Name a file so that it is found from any folder; anything else is as it was."""
    if isinstance(item, Failure) or not is_file(item):
        return item
    return Source(os.path.abspath(item.path))  # noqa: PTH100 - strings: what is typed may be no text


def is_file(source: Source) -> bool:
    """Return whether a source is in a file system, and so may be missing on another machine."""
    return not (source.url or buckets.is_bucket(source.path) or urls.is_url(source.path))


def unreadable(found: list[Source]) -> list[str]:
    """Return per source why this machine cannot read it; "" if it can."""
    return [_why_unreadable(source) for source in found]


def _why_unreadable(source: Source) -> str:
    try:
        read_source(source)
    except UnreadableInput as error:
        return error.message
    except ImageError:
        return ""
    return ""
