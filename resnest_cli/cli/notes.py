"""What a job says on stderr: what runs, and at its end what was written, what failed and which classes there were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from resnest_cli.text.words import counted
from resnest_cli.types import Result

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.engines.base import Engine
    from resnest_cli.options import Options
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.types import ModelSpec, Record

MOST_CLASSES = 5  # in the counts at the end


class Opened(Protocol):
    """An opened model: a `Classifier` or an `Embedder`."""

    spec: ModelSpec
    engine: Engine
    options: Options


def opened(model: Opened, products: str) -> str:
    """Say in a line what runs where and why, and with which weights if these were chosen."""
    engine, options = model.engine, model.options
    weights = f", {options.weights}" if options.weights else ""
    if options.random_weights:
        weights = f", random weights (the {products} mean nothing)"
    return f"{model.spec.name} on {engine.device} ({engine.reason}), {engine.name} {engine.precision}{weights}"


def ended(view: View, summary: Summary, earlier: int, output: Path | None, classes: Counter[str] | None = None) -> None:
    """Say what came of a job; of a single image only what its row does not."""
    if output is not None or summary.ok + summary.failed > 1:
        view.say(summary.words(earlier, output))
        if classes and view.is_watched:
            view.say("\n".join(_classes(classes, new=earlier > 0)))
    view.detail(summary.times())


def tallied(records: Iterable[Record], classes: Counter[str]) -> Iterator[Record]:
    """Pass records on, counting their first classes."""
    for record in records:
        if isinstance(record, Result):
            classes.update(prediction.label for prediction in record.predictions[:1])
        yield record


def _classes(classes: Counter[str], *, new: bool) -> Iterator[str]:
    yield f"{counted(classes.total(), 'image')}{' of this run' * new}, by first class:"
    shown = classes.most_common(MOST_CLASSES)
    width = len(f"{shown[0][1]:,}")
    for label, count in shown:
        yield f"  {count:>{width},}  {label}"
    if rest := len(classes) - len(shown):
        images = classes.total() - sum(count for _, count in shown)
        yield f"  {images:>{width},}  in {rest:,} more class{'es' * (rest != 1)}"
