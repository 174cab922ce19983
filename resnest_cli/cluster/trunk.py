"""The trunk on Ray Data: the same sources, decoding, engine and rows, on the machines of a cluster.

In: as for `trunk.Trunk`. Out: the same rows, in the same order. Ray carries blocks between the stages, and repeats the
work of a lost machine. Does not know what the numbers mean.
"""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import ExitStack
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from resnest_cli.cluster import session
from resnest_cli.cluster.spans import Span, remaining
from resnest_cli.cluster.stages import STAGES, Model, Parcel, as_block, is_file, pack, placed, unpack, unreadable
from resnest_cli.engines import window
from resnest_cli.engines.base import batch_size
from resnest_cli.engines.choose import open_engine
from resnest_cli.errors import UsageError
from resnest_cli.inputs import loading
from resnest_cli.inputs.pool import Pool
from resnest_cli.pipeline import stream
from resnest_cli.system import machine
from resnest_cli.text.words import counted
from resnest_cli.types import STDIN, EngineFacts, Exif, Failure, Source, Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from resnest_cli.cluster.folder import Folder
    from resnest_cli.cluster.session import Plan
    from resnest_cli.cluster.stages import Block, Finish, Item
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

WAVE = 500_000  # items whose names are in memory at a time; the actors restart with each wave
ROUNDS = 128  # forward passes per core of an actor, or per GPU, in a block: the idle end of a block is negligible
WRITE_CPUS = 0.5  # of a task that writes a file
FILES, LEAST_ROWS = 20, 1000  # files per wave, rows per file: written rows are done, but small files are a burden
SAMPLES = 8  # images tried before all others
_log = logging.getLogger(__name__)


class RayTrunk:
    """An opened model whose rows are computed by a cluster; `close` it.

    Args:
        spec: the model.
        options: how it runs, with which weights.
        want: "logits", or "features" for the pooled ones.
        address: of the cluster, "auto" or HOST:PORT; None starts a private cluster on this machine.

    Attributes:
        engine: the engine as it is opened here; the actors make theirs from it.
        stages: the seconds that all rows have taken so far, by stage, added up over all machines.

    Raises:
        UsageError: Ray is not installed; or the cluster is not there, is too small or has nodes with other versions.
        WeightsUnavailable, BadCheckpoint, DeviceError: as `open_engine` does.
    """

    def __init__(self, spec: ModelSpec, options: Options, want: str = "logits", *, address: str | None = None) -> None:
        session.require()
        self.spec = spec
        self.options = options
        self.stages = Stages()
        self._want = want
        self._private = address is None
        self._load = loading.Loader.of(spec.data, options)
        self._parcel: Any = None  # Ray's reference to it
        with ExitStack() as ends:
            self._nodes = ends.enter_context(session.joined(address))
            self.engine = open_engine(spec, options, want=want)
            ends.callback(self.engine.close)
            self._plan()  # refuses a cluster that is too small before anything is read
            if not self._private:
                self._compare_versions()
            self._ends = ends.pop_all()

    def rows(self, found: Iterable[Item]) -> Iterator[stream.Row | Failure]:
        """Read, decode and run every source on the cluster, in order; a row is float32 [F]."""
        items = map(_elsewhere, found)
        while wave := list(islice(items, WAVE)):
            for block in self.blocks(list(enumerate(wave)), as_block):
                yield from _rows(block, wave)

    def blocks(
        self, items: Sequence[tuple[int, Item]], finish: Finish, then: Callable[[Any], Any] = lambda dataset: dataset
    ) -> Iterator[Block]:
        """Run numbered items, and yield what `finish` makes of their rows, block by block, in order.

        `then` adds steps to the `ray.data.Dataset` of the blocks; its result still has the column "seconds".
        """
        plan = self._prepare([item for _, item in items])
        with session.translated():
            blocks = then(self._dataset(items, finish, plan)).iter_batches(batch_size=None, batch_format="numpy")
            for block in session.watched(blocks):
                self._count(block)
                yield block

    def save(self, found: Iterable[Item], folder: Folder, spans: list[Span], make: Finish) -> Iterator[Span]:
        """Run every source that has no row yet, let the nodes write the rows, and yield what each file holds."""
        numbered = remaining(map(_elsewhere, found), spans)
        while wave := list(islice(numbered, WAVE)):
            rows = max(LEAST_ROWS, len(wave) // FILES)

            def write(dataset: Any, rows: int = rows) -> Any:  # noqa: ANN401 - Ray has no types
                whole = dataset.repartition(target_num_rows_per_block=rows, strict=True)
                return whole.map_batches(folder.save, batch_size=None, batch_format="pyarrow", num_cpus=WRITE_CPUS)

            for block in self.blocks(wave, make, write):
                yield from (Span(*json.loads(span)) for span in block["span"])

    def submit(self, *_: object, **__: object) -> NoReturn:
        """Raise UsageError: a cluster takes whole jobs."""
        raise UsageError("a cluster takes whole jobs: use predict or write, or open the model without a runner.")

    def close(self, *, cancel: bool = False) -> None:  # noqa: ARG002 - nothing was submitted
        """Free the engine's memory, and leave the cluster."""
        self._ends.close()

    def _dataset(self, items: Sequence[tuple[int, Item]], finish: Finish, plan: Plan) -> Any:  # noqa: ANN401 - Ray has no types
        import ray  # noqa: PLC0415 - of the extra "ray"

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        self._parcel = self._parcel or ray.put(Parcel.of(self.engine, self.options, self._want))
        rows = [{"number": number, "item": pack(item), "place": pack(placed(item))} for number, item in items]
        blocks = math.ceil(len(rows) / self._block_size(len(rows), plan))
        # Not `from_arrow`: its tasks would take the processes that Ray has ready, and actors wait for new ones.
        return ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Model,
            fn_constructor_args=(self._parcel, plan.cores, finish),
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            compute=ray.data.ActorPoolStrategy(size=plan.actors),
            batch_size=None,
            batch_format="numpy",
        )

    def _block_size(self, count: int, plan: Plan) -> int:
        """Return the images per block: many forward passes of an actor; in a small job, several blocks per actor."""
        fair = math.ceil(count / (4 * plan.actors))
        at_once = 1 if plan.gpus else plan.cores
        return max(1, min(ROUNDS * at_once * batch_size(self.options, self.engine), fair))

    def _prepare(self, items: Sequence[Item]) -> Plan:
        """Try some images, divide the cluster, and log the expected time."""
        found = [item for item in items if isinstance(item, Source)]
        samples = found[:: max(1, len(found) // SAMPLES)][:SAMPLES]
        self._nodes = session.nodes()  # some may have come or gone since the last wave
        if not self._private:
            self._compare_files(samples)
        plan = self._plan()
        seconds = len(items) * self._measure(samples) / (plan.actors * plan.cores)
        _log.info("%s", in_words(plan, len(items), seconds))
        return plan

    def _plan(self) -> Plan:
        return session.plan(self._nodes, on_gpu=self.engine.device.startswith("cuda"))

    def _measure(self, samples: list[Source]) -> float:
        """Return about how many seconds one core of this machine takes per image; 0 if none can be read."""
        stages = Stages()
        with Pool(self._load, 1, timeout=self.options.timeout) as pool:  # an image may crash what decodes it
            self._run(np.zeros(self.engine.shape, np.uint8))  # it compiles while that process starts
            loaded = stream.decode_in_pool(pool, samples, self._load, len(samples) or 1, stages)
            good = [item.values for item in loaded if isinstance(item, stream.Pixels)]
        if not good:
            return 0.0
        return (stages.read + stages.decode) / len(good) + self._run(good[0])

    def _run(self, image: NDArray[np.uint8]) -> float:
        """Run batches of one image on all cores of this machine; return the seconds that one core takes per image."""
        cores, batch = machine.usable_cores(), batch_size(self.options, self.engine)
        batches = [np.stack([image] * batch)] * max(2, cores)
        begun = time.perf_counter()
        list(window.rows(self.engine, batches))
        return (time.perf_counter() - begun) * cores / (len(batches) * batch)

    def _count(self, block: Block) -> None:
        for stage, seconds in zip(STAGES, block["seconds"].sum(0), strict=True):
            setattr(self.stages, stage, getattr(self.stages, stage) + float(seconds))

    def _compare_versions(self) -> None:
        """Refuse nodes that would compute other numbers, or none.

        Raises:
            UsageError: a package is missing on a node, or has another version there.
        """
        here = {name: version(name) for name in ("resnest-cli", *EngineFacts.of(self.engine).versions)}

        def installed(names: list[str]) -> dict[str, str]:
            from importlib import metadata  # noqa: PLC0415 - it runs elsewhere

            found = ((name, next(iter(metadata.distributions(name=name)), None)) for name in names)
            return {name: package.version if package else "not installed" for name, package in found}

        for node, there in session.ask(self._nodes, installed, list(here)):
            for name, wanted in here.items():
                if there[name] != wanted:
                    raise UsageError(
                        f"--ray: on node {node.name} {name} is {there[name]}, here it is {wanted}: rows would differ. "
                        f"Install the same there: pip install '{name}=={wanted}'"
                    )

    def _compare_files(self, samples: list[Source]) -> None:
        """Refuse a job whose files are on this machine only.

        Raises:
            UsageError: a node cannot read a file that this machine can read.
        """
        files = [source for source in map(placed, samples) if isinstance(source, Source) and is_file(source)]
        seen = [source for source, why in zip(files, unreadable(files), strict=True) if not why]
        for node, answers in session.ask(self._nodes, unreadable, seen):
            for source, why in zip(seen, answers, strict=True):
                if why:
                    raise UsageError(
                        f"--ray: {source.path} can be read here, but not on node {node.name}: {why} Files must lie "
                        "where all nodes see them under the same path: a shared folder, s3://... or gs://..."
                    )


def in_words(plan: Plan, count: int, seconds: float) -> str:
    """Return a line that says how the cluster is divided, and how long the job may take."""
    each = "a GPU and " * plan.gpus + counted(plan.cores, "CPU")
    actors = counted(plan.actors, "actor")
    nodes = counted(plan.nodes, "node")
    time = f", about {_duration(seconds)}" if seconds and not plan.gpus else ""
    return f"{count:,} inputs, {nodes}: {actors} with {each}{' each' * (plan.actors > 1)}{time}"


def _elsewhere(item: Item) -> Item:
    """Pass on an item that other machines can read.

    Raises:
        UsageError: it is on this machine only.
    """
    if isinstance(item, Source) and item.is_in_memory:
        raise UsageError(f"{item.path}: an image in memory is on this machine only; give a cluster its path.")
    if isinstance(item, Source) and item.path == STDIN:
        raise UsageError("-: standard input is on this machine only; leave out --ray.")
    return item


def _rows(block: Block, wave: list[Item]) -> Iterator[stream.Row | Failure]:
    columns = (block[name] for name in ("number", "failure", "values", "thumbnail", "exif"))
    for number, failure, values, thumbnail, exif in zip(*columns, strict=True):
        found = Exif(**json.loads(exif)) if exif else None
        yield unpack(failure) if failure else stream.Row(wave[number].path, np.asarray(values), thumbnail, found)  # type: ignore[misc] # a Failure


def _duration(seconds: float) -> str:
    units = {"h": 3600, "min": 60, "s": 1}
    unit, length = next(((unit, length) for unit, length in units.items() if seconds >= 2 * length), ("s", 1))
    return f"{max(1, seconds / length):.0f} {unit}"
