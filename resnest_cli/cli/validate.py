"""`resnest validate`: how right a model is on labelled images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import EXCLUDE
from resnest_cli.cli.options import format_option, validate_options
from resnest_cli.cli.parameters import STDOUT, Names
from resnest_cli.errors import ExitCode, OutputError, UsageError, counted
from resnest_cli.inputs.splits import ALL, CHOICES
from resnest_cli.text.terminal import data as write_data
from resnest_cli.text.terminal import note, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.tasks.validate.report import ClassRow
    from resnest_cli.tasks.validate.validation import Validation
    from resnest_cli.types import Failure

WORST_CLASSES = 10  # in the table on the screen; --per-class has all
_FILE = click.Path(path_type=Path)
_PICTURE, _TABLE = ".png", ".csv"


@click.command(cls=Command)
@click.argument("data", type=Names(), metavar="DATA")
@click.option("--split", type=click.Choice(CHOICES), help="Side to score.  [default: val, else test]")
@EXCLUDE
@click.option("--subset", is_flag=True, help="Score among the classes that DATA has only (ImageNet-A, -R).")
@click.option(
    "--real-labels", type=_FILE, metavar="FILE", help="ReaL labels for ImageNet's validation set (real.json)."
)
@format_option(("table", "json"), "table")
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="Write the numbers there too, as JSON; - is -f json.")
@click.option("--per-class", type=_FILE, metavar="FILE.csv", help="Write the table of classes.")
@click.option(
    "--confusion", type=_FILE, multiple=True, metavar="FILE", help="Write the confusion matrix: .csv or .png."
)
@click.option("--mistakes", type=_FILE, metavar="FILE.html", help="Write a page of the worst mistakes.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@validate_options
def validate(  # noqa: PLR0913 - one parameter an option
    *,
    data: str,
    split: str | None,
    exclude: tuple[str, ...],
    subset: bool,
    real_labels: Path | None,
    format: str,
    output: Path | None,
    per_class: Path | None,
    confusion: tuple[Path, ...],
    mistakes: Path | None,
    overwrite: bool,
    options: Options,
    view: View,
) -> None:
    """Measure accuracy on labelled images.

    DATA is a folder that has a folder for each class, a tar archive of one, or a table (CSV or Parquet) with the
    columns path and label. A class is named by its WordNet id, its name or its index: names decide, not the order of
    folders. Of a folder with train and val (or test) in it, or a table with a column split, the val side is scored.

    An image without an answer is named, counted as an error and never replaced; the exit code is 3 then. Images are
    turned by their EXIF orientation, but for models with a published number, which was made without.

    \b
    Examples:
      resnest validate imagenet/val --model resnest101e
      resnest validate imagenet-a --subset --format json
      resnest validate photos.csv --confusion matrix.png --mistakes worst.html
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks.validate import validation as task

    if output == Path(STDOUT):
        output, format = None, "json"
    writers = _writers(output, per_class, confusion, mistakes, overwrite=overwrite)
    view.say(f"{options.model}{', random weights (the numbers mean nothing)' * options.random_weights} on {data}")
    found = task.validate(
        data,
        options,
        real_labels=real_labels,
        subset=subset,
        split=split,
        exclude=exclude,
        keep_worst=mistakes is not None,
        on_failure=_name,
        progress=lambda items, total: (
            view.follow(items, lambda: total, "validating") if view.has_bar() else iter(items)
        ),
    )
    if format == "json":
        write_data(json.dumps(found.summary()) + "\n")
    else:
        _print(found)
    if found.errors:
        view.say(f"no answer for {found.errors:,} of {counted(found.errors + found.tally.images, 'image')}.")
    _save(found, writers)
    if found.errors:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _writers(
    output: Path | None, per_class: Path | None, confusion: tuple[Path, ...], mistakes: Path | None, *, overwrite: bool
) -> dict[Path, Callable[[Validation], bytes | str]]:
    """Choose what each file gets, and see now whether it can be had."""
    from resnest_cli.outputs import plots, saving
    from resnest_cli.tasks.validate import report

    wanted: list[tuple[Path | None, Callable[[Validation], bytes | str]]] = [
        (output, lambda found: json.dumps(found.summary()) + "\n"),
        (per_class, report.classes_csv),
        (mistakes, report.mistakes_html),
    ]
    for path in confusion:
        if path.suffix.lower() not in {_PICTURE, _TABLE}:
            message = f"--confusion {path}: give a name that ends in {_TABLE} or {_PICTURE}."
            raise UsageError(message)
        if path.suffix.lower() == _PICTURE:
            plots.require()
        wanted.append((path, plots.confusion_png if path.suffix.lower() == _PICTURE else report.confusion_csv))
    writers = {path: write for path, write in wanted if path}
    if len(writers) < sum(path is not None for path, _ in wanted):
        raise UsageError("two results would have the same name: give each a file of its own.")
    for path in writers:
        saving.claim(path, overwrite=overwrite)
    return writers


def _save(found: Validation, writers: dict[Path, Callable[[Validation], bytes | str]]) -> None:
    """Write every file, also where another one cannot be.

    Raises:
        OutputError: some cannot; it says which and why.
    """
    from resnest_cli.outputs import saving

    wrong = []
    for path, write in writers.items():
        try:
            saving.save(path, write(found))
        except OutputError as error:  # noqa: PERF203 - a few files
            wrong.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    if wrong:
        raise OutputError("\n".join(wrong))


def _name(failure: Failure) -> None:
    note(one_line(f"{failure.path}: {failure.type}: {failure.message}"))


def _print(found: Validation) -> None:
    from resnest_cli.cli.output import console, facts, table
    from resnest_cli.tasks.validate.report import class_rows

    out = console(sys.stdout)
    out.print(facts(list(_rows(found))))
    wrong = [row for row in class_rows(found) if row.mistaken_for]
    wrong.sort(key=lambda row: (row.right / row.n, -row.n))
    if wrong:
        out.print()
        cells = [_class_cells(found, row) for row in wrong[:WORST_CLASSES]]
        out.print(
            table(["hardest classes", "images", "top-1 %", "mostly taken for", "times"], cells, numeric=(1, 2, 4))
        )


def _rows(found: Validation) -> Iterator[tuple[str, str]]:
    row, facts = found.summary(), found.spec.facts
    yield "model", f"{row['model']}, {row['param_count']} M parameters"
    unread = f", and {row['errors']} without an answer" if row["errors"] else ""
    side = "" if found.split == ALL else f", the {found.split} side"
    classes = int(found.tally.confusion.any(axis=1).sum())
    yield "images", f"{row['n']}{unread}, of {classes} {'class' if classes == 1 else 'classes'}{side}"
    yield "scored among", f"{len(found.among)} of {found.spec.num_classes} classes"
    yield "top-1", _percent(row["top1"], row["top1_ci95"], facts.get("top1_timm"))
    yield "top-5", _percent(row["top5"], row["top5_ci95"], facts.get("top5_timm"))
    if found.real:
        yield "ReaL top-1", _percent(row["real_top1"], None, row["published_real_top1"]) + f", {row['real_n']} images"
        yield "ReaL top-5", _percent(row["real_top5"], None, None)
    if row["n"]:
        yield "loss", f"{row['loss']:.4f}"
        yield "calibration error", f"{row['ece']:.4f}"
    yield "images are", _preparation(found)
    if facts:
        yield "published with", _published(found)


def _percent(value: float | None, interval: list[float] | None, published: float | None) -> str:
    if value is None:
        return "no images"
    between = f" (95%: {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{value:.2f} %{between}" + (f", published {published:.2f}" if published else "")


def _preparation(found: Validation) -> str:
    data = found.spec.data
    not_turned = "not turned by EXIF" + ", as the published numbers" * bool(found.spec.facts)
    turned = "turned by EXIF" if found.exif else not_turned
    return f"{data.input_size[1]} px, crop {data.crop_pct}, {data.interpolation}, {turned}"


def _published(found: Validation) -> str:
    if found.is_as_published():
        return "the same preparation, on ImageNet-1k's validation set"
    facts = found.spec.facts
    return (
        f"{facts['input_size']} px, crop {facts['crop_pct']}, {facts['interpolation']}, not turned by EXIF: "
        "another preparation than here; on ImageNet-1k's validation set"
    )


def _class_cells(found: Validation, row: ClassRow) -> list[str]:
    names = found.labels.names
    other, times = row.mistaken_for or (row.index, 0)
    return [f"{names[row.index]} ({row.index})", str(row.n), f"{row.top1:.2f}", f"{names[other]} ({other})", str(times)]
