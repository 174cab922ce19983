"""What the commands share whose work is a job: how its output opens, and what it says on stderr.

In: options of a command. Out: an open output; what runs, a bar, and at the end what was written and what failed.
"""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from resnest_cli.outputs.formats import Format
from resnest_cli.text.words import counted
from resnest_cli.types import Result

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.options import Options
    from resnest_cli.outputs.job import Follow, Output
    from resnest_cli.outputs.rows import About
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.pipeline.trunk import RunnerFactory
    from resnest_cli.types import ModelSpec, Record

MOST_CLASSES = 5  # in the counts at the end


class Opened(Protocol):
    """An opened model: a `Classifier` or an `Embedder`."""

    spec: ModelSpec
    engine: Engine
    options: Options


def opened(model: Opened, products: str) -> str:
    """Return a line with the model, the device and why, the engine, and the weights if they were chosen."""
    engine, options = model.engine, model.options
    weights = f", {options.weights}" if options.weights else ""
    if options.random_weights:
        weights = f", random weights (the {products} mean nothing)"
    return f"{model.spec.name} on {engine.device} ({engine.reason}), {engine.name} {engine.precision}{weights}"


def open_output(
    output: Path | str | None, format: Format, runner: RunnerFactory | None, *, overwrite: bool, resume: bool
) -> AbstractContextManager[Output]:
    """Open what rows go to: a file, standard output (None), or a folder (text) that a cluster writes."""
    if not isinstance(output, str):
        from resnest_cli.outputs import opening

        return opening.open_output(output, format, overwrite=overwrite, resume=resume)
    from resnest_cli.cluster.output import Shards, without_cluster

    if runner is None:
        raise without_cluster(output)
    return nullcontext(Shards(output, overwrite=overwrite, resume=resume))


def following(view: View, inputs: Inputs, what: str, output: object, *, on_screen: bool = False) -> Follow:
    """Return what follows the records of a job with a bar: on stderr, or below the table that is `on_screen`."""

    def follow(records: Iterable[Any], earlier: int) -> Iterable[Any]:
        has_bar = view.progress and sys.stdout.isatty() if on_screen else view.has_bar(rows_on_stdout=output is None)
        if not has_bar:
            return records
        from resnest_cli.cli.output import bar, console

        return bar(records, inputs.count(earlier), what, console(sys.stdout if on_screen else sys.stderr))

    return follow


def ended(view: View, summary: Summary, classes: Counter[str] | None = None) -> None:
    """Print the summary of a job (of a single image only the times); exit with 3 if an input failed."""
    if summary.output is not None or summary.ok + summary.failed > 1:
        view.say(summary.words())
        if classes and view.is_watched:
            view.say("\n".join(_classes(classes, new=summary.earlier > 0)))
    if not summary.complete:
        view.detail(summary.times())
    if summary.failed:
        click.get_current_context().exit(summary.exit_code)


def tallied(records: Iterable[Record], classes: Counter[str]) -> Iterator[Record]:
    """Pass records on, counting their first classes."""
    for record in records:
        if isinstance(record, Result):
            classes.update(prediction.label for prediction in record.predictions[:1])
        yield record


def _write_table(records: Iterable[Record], out: IO[bytes], about: About) -> None:
    from resnest_cli.cli.answers import print_records
    from resnest_cli.cli.output import console

    with _text_on(out) as text:
        print_records(records, console(text), single=about.topk == 1)


TABLE = Format("table", None, _write_table, to_row=lambda record: record)


@contextmanager
def _text_on(out: IO[bytes]) -> Iterator[IO[str]]:
    """Yield a text stream on a binary one, which stays open: UTF-8, with the bytes of names that are not."""
    if out is sys.stdout.buffer:
        yield sys.stdout
        return
    text = io.TextIOWrapper(out, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()  # or the wrapper would close the stream when it is collected


def _classes(classes: Counter[str], *, new: bool) -> Iterator[str]:
    yield f"{counted(classes.total(), 'image')}{' of this run' * new}, by first class:"
    shown = classes.most_common(MOST_CLASSES)
    width = len(f"{shown[0][1]:,}")
    for label, count in shown:
        yield f"  {count:>{width},}  {label}"
    if rest := len(classes) - len(shown):
        images = classes.total() - sum(count for _, count in shown)
        yield f"  {images:>{width},}  in {rest:,} more class{'es' * (rest != 1)}"
