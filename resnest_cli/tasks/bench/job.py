"""A benchmark from its options to its files: what is measured, what is checked before, what is saved.

In: `Options` and a `Request`. Out: configurations, and files that grow row by row. Does not know who watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.models import catalog
from resnest_cli.models.check import require_torch
from resnest_cli.options import ALL
from resnest_cli.outputs import saving
from resnest_cli.system import imports
from resnest_cli.system.paths import Kind, look
from resnest_cli.tasks.bench import sweep, words
from resnest_cli.tasks.bench.rows import WRITERS
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from resnest_cli.options import Options
    from resnest_cli.tasks.bench.request import Request


EVERY_ENGINE = ("openvino", "torch")


def configurations(options: Options, asked: Request) -> list[Options]:
    """Return `options` with every combination of values that is asked for, once files can be read and written.

    "all" are all variants, or all engines.

    Raises:
        UsageError, UnknownModel: a value or a name that does not exist, torch is missing, or a plot would show nothing.
        OutputError: a file exists, or cannot be written.
    """
    models = [spec.name for spec in catalog.list_models()] if ALL in asked.model else asked.model
    engines = EVERY_ENGINE if ALL in asked.engine else asked.engine
    every = sweep.configurations(options, models, engines, asked.precision, asked.batch)
    for configuration in every:
        require_torch(configuration)
    if asked.baseline:
        imports.require_torch("--baseline")
    if asked.images:
        _check_images(asked.images, asked.exclude)
    for path in filter(None, (asked.output, asked.plot)):
        saving.claim(path, overwrite=asked.overwrite)
    if asked.plot:
        _check_plot(every)
    return every


def settle_format(asked: Request) -> str:
    """Return the format that "auto" means: that of the output's suffix, else a table.

    Raises:
        UsageError: the suffix names no format.
    """
    if asked.format != "auto":
        return asked.format
    suffix = asked.output.suffix.lower().removeprefix(".") if asked.output else "table"
    if suffix not in {"table", *WRITERS}:
        use = "add --format, or use .json, .jsonl, .csv or .tsv."
        raise UsageError(f"-o {asked.output}: its suffix names no format; {use}")
    return suffix


def measured(every: Sequence[Options], asked: Request) -> Iterator[dict[str, Any]]:
    """Yield the row of each configuration as it ends."""
    images = str(asked.images) if asked.images else None
    return sweep.sweep(every, asked.seconds, images=images, exclude=asked.exclude, baseline=asked.baseline)


def saved(rows: Iterable[dict[str, Any]], output: Path, format: str) -> Iterator[dict[str, Any]]:
    """Yield the rows; write the file anew with each row, so that an interrupted sweep leaves its rows.

    Raises:
        OutputError: it cannot be written.
    """
    done = []
    for row in rows:
        done.append(row)
        saving.save(output, words.as_text(done, format))
        yield row


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw speed against accuracy, and against batch size.

    Raises:
        OutputError: the picture cannot be written.
    """
    from resnest_cli.outputs import plots  # noqa: PLC0415 - numpy, see above

    saving.save(path, plots.speed_png(rows))


def _check_plot(every: Sequence[Options]) -> None:
    from resnest_cli.outputs import plots  # noqa: PLC0415 - numpy: the command itself loads no framework

    plots.require()
    if len({options.batch for options in every}) == 1 and not any(catalog.resolve(options).facts for options in every):
        why = "these models have no published accuracy, and there is one batch only."
        raise UsageError(f"--plot: nothing to draw: {why}")


def _check_images(images: Path, exclude: Sequence[str]) -> None:
    """Look for images once, so that what is left out is logged once: each configuration looks for itself."""
    seen = look(images)
    if not seen.is_folder:
        why = seen.why if seen.kind is Kind.UNKNOWN else "no such folder."
        raise UsageError(f"--images {images}: {why}")
    from resnest_cli.inputs.find import find_sources  # noqa: PLC0415 - numpy, see above

    found = list(find_sources([str(images)], exclude=exclude))
    failures = [item for item in found if isinstance(item, Failure)]
    if len(failures) == len(found):
        raise UsageError(f"--images {failures[0].path}: {failures[0].message}" if failures else "")
