"""`resnest bench`: how fast models are on this machine."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import EXCLUDE
from resnest_cli.cli.options import ALL, format_option, sweep_options
from resnest_cli.cli.parameters import Number, OutputFile
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.options import DEFAULT_BENCH_SECONDS
from resnest_cli.system.paths import Kind, look
from resnest_cli.text.terminal import data, note
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options

FORMATS = ("auto", "table", "json", "jsonl", "csv", "tsv")
EVERY_ENGINE = ("openvino", "torch")
_FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.option(
    "--seconds",
    default=DEFAULT_BENCH_SECONDS,
    show_default=True,
    type=Number(0),
    metavar="S",
    help="Time budget of a configuration.",
)
@click.option("--images", type=_FILE, metavar="DIR", help="Time the way from files to answers too, stage by stage.")
@EXCLUDE
@click.option("--baseline", is_flag=True, help="Run plain eager timm beside, in turns.")
@format_option(FORMATS, "auto")
@click.option("-o", "--output", type=OutputFile(), metavar="FILE", help="Write there, not to stdout.")
@click.option("--plot", type=_FILE, metavar="FILE.png", help="Draw speed against accuracy, and against batch size.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@sweep_options
def bench(  # noqa: PLR0913 - one parameter an option
    *,
    seconds: float,
    images: Path | None,
    exclude: tuple[str, ...],
    baseline: bool,
    format: str,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    model: tuple[str, ...],
    engine: tuple[str, ...],
    precision: tuple[str, ...],
    batch: tuple[int | str, ...],
    options: Options,
    view: View,
) -> None:
    """Measure the speed of models, and how far it is from the hardware's limit.

    Batches are timed one at a time (step time), and as a stream that is kept full (images a second). The limit is that
    of a large matrix product, measured in the same run, engine and precision. Every combination of the values given is
    a configuration, with a process of its own; one that fails has a row that says why, and the exit code is 3.

    The time budget of a configuration is exceeded where five steps, and two batches for each stream, take longer.
    Nothing is downloaded: the weights are random, which does not change the speed; only of a folder of `resnest
    quantize`, int8 runs the graph that is in it.

    \b
    Examples:
      resnest bench --model all -o speed.csv --plot speed.png
      resnest bench --batch 1,8,32 --precision fp32,bf16 --baseline
      resnest bench --engine all --images photos/ --format json
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.tasks.bench.sweep import configurations, sweep

    engines = EVERY_ENGINE if ALL in engine else engine
    every = configurations(options, _models(model), engines, precision, batch)
    _check(images, exclude, output, plot, overwrite=overwrite)
    if plot and len(batch) == 1 and not _any_published(every):
        raise UsageError(
            "--plot: nothing to draw: these models have no published accuracy, and there is one batch only."
        )
    format = _settle(format, output)
    view.say(f"{counted(len(every), 'configuration')} with random weights, about {seconds:g} s each")
    rows: list[dict[str, Any]] = []
    place = None if images is None else str(images)
    found = sweep(every, seconds, images=place, exclude=exclude, baseline=baseline)
    as_they_come = output is None and format == "jsonl"
    if view.has_bar(rows_on_stdout=as_they_come):
        found = view.follow(found, lambda: len(every), "measuring")
    for row in found:
        rows.append(row)
        if as_they_come:
            _write(rows[-1:], format, sys.stdout)
        elif output:
            _save(rows, format, output)
        if not view.quiet:
            note(_in_short(row))
    if not (as_they_come or output):
        _write(rows, format, sys.stdout)
    failed = sum("error" in row for row in rows)
    if plot and failed < len(rows):
        _draw(rows, plot)
    if failed:
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _models(names: tuple[str, ...]) -> list[str]:
    from resnest_cli.models import catalog

    return [spec.name for spec in catalog.list_models()] if ALL in names else list(names)


def _any_published(every: list[Options]) -> bool:
    from resnest_cli.models import catalog

    return any(catalog.resolve(options).facts for options in every)


def _check(
    images: Path | None, exclude: tuple[str, ...], output: Path | None, plot: Path | None, *, overwrite: bool
) -> None:
    """Refuse before the work what cannot be read or written."""
    from resnest_cli.outputs import saving

    if images:
        _look_through(images, exclude)
    for path in filter(None, (output, plot)):
        saving.claim(path, overwrite=overwrite)
    if plot:
        from resnest_cli.outputs import plots

        plots.require()


def _look_through(images: Path, exclude: tuple[str, ...]) -> None:
    """Look for images once, so that what is left out is said once: each configuration looks for itself."""
    from resnest_cli.inputs.find import find_sources
    from resnest_cli.types import Failure

    seen = look(images)
    if not seen.is_folder:
        why = seen.why if seen.kind is Kind.UNKNOWN else "no such folder."
        raise UsageError(f"--images {images}: {why}")
    why, some = "", False
    for item in find_sources([str(images)], exclude=exclude):
        if isinstance(item, Failure):
            why = why or f"--images {item.path}: {item.message}"
        else:
            some = True
    if not some:
        raise UsageError(why)


def _settle(format: str, output: Path | None) -> str:
    """Decide what "auto" is: by the output's suffix, else a table."""
    if format != "auto":
        return format
    suffix = output.suffix.lower().removeprefix(".") if output else "table"
    if suffix not in FORMATS[1:]:
        message = f"-o {output}: its suffix names no format; add --format, or use .json, .jsonl, .csv or .tsv."
        raise UsageError(message)
    return suffix


def _write(rows: list[dict[str, Any]], format: str, stream: IO[str]) -> None:
    from resnest_cli.tasks.bench.rows import WRITERS

    if format == "table":
        _tabulate(rows, stream)
    elif stream is sys.stdout:
        data(WRITERS[format](rows))
    else:
        stream.write(WRITERS[format](rows))


def _save(rows: list[dict[str, Any]], format: str, output: Path) -> None:
    """Write the file anew with each row, so that an interrupted sweep leaves its rows."""
    from resnest_cli.outputs import saving

    text = io.StringIO()
    _write(rows, format, text)
    saving.save(output, text.getvalue())


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    from resnest_cli.outputs import plots, saving

    saving.save(path, plots.speed_png(rows))


def _tabulate(rows: list[dict[str, Any]], stream: IO[str]) -> None:
    """Print one configuration as facts, several as a table; what all of them share stands once, below."""
    from resnest_cli.cli.output import console, facts, table

    out = console(stream)
    if len(rows) == 1:
        out.print(facts(list(_facts(rows[0]))))
        return
    columns = {heading: [cell(row) for row in rows] for heading, cell in COLUMNS.items()}
    shared = {heading: cells[0] for heading, cells in columns.items() if heading in SHARED and len(set(cells)) == 1}
    shown = {heading: cells for heading, cells in columns.items() if heading not in shared and any(cells)}
    numeric = [i for i, heading in enumerate(shown) if heading not in SHARED]
    out.print(table(list(shown), zip(*shown.values(), strict=True), numeric=numeric))
    out.print(facts([(heading, cell) for heading, cell in shared.items() if cell]))
    for row in rows:
        if "error" in row:
            out.print(facts([("failed", _in_short(row))]))


def _facts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", f"{row['model']}{_published(row)}"
    if "error" in row:
        yield "failed", f"{row['error']['type']}: {row['error']['message']}"
        return
    times = row["step_time_ms"]
    yield "runs on", f"{row['device']}, {row['engine']} {row['precision']}, {row['threads']} threads"
    yield "input", f"batch {row['batch']}, {row['img_size']} x {row['img_size']}"
    yield "throughput", f"{row['samples_per_sec']:.2f} images/s, a stream of {row['stream_batches']} batches kept full"
    yield "step time", " ".join(f"{name} {times[name]:.1f}" for name in ("min", "p50", "p90", "p99", "max")) + " ms"
    yield "steps", f"{row['steps']} timed one at a time, after {row['warmup_steps']} to warm up"
    yield "arithmetic", _arithmetic(row)
    yield (
        "memory",
        f"{row['peak_memory_mb']:.0f} MB at the most, {row['param_count']} M parameters, {row['weights']} weights",
    )
    yield "start", f"loaded in {row['load_time_s']:.2f} s, first result after {row['first_result_s']:.2f} s"
    if "files" in row:
        yield "from files", _from_files(row["files"])
    if "baseline" in row:
        yield "beside", _beside(row["baseline"])
    yield "versions", ", ".join(f"{name} {number}" for name, number in row["versions"].items())


def _published(row: dict[str, Any]) -> str:
    return f", published top-1 {row['published_top1']:.2f} %" if row["published_top1"] else ""


def _arithmetic(row: dict[str, Any]) -> str:
    limit = f"{row['peak_tflops']:.3f} TFLOP/s in a large matrix product"
    if row["utilisation"] is None:
        return f"{limit}; the GMACs of this network at this size are not known"
    return f"{row['achieved_tflops']:.3f} TFLOP/s, {row['utilisation']:.0%} of the {limit}"


def _from_files(files: dict[str, Any]) -> str:
    stages = ", ".join(f"{name} {value:.1f}" for name, value in files["stage_ms"].items())
    failed = f", {files['errors']} could not be read" if files["errors"] else ""
    return f"{files['samples_per_sec']:.2f} images/s, {files['images']} images{failed}; ms an image alone: {stages}"


def _beside(baseline: dict[str, Any]) -> str:
    rate = f"{baseline['samples_per_sec']:.2f} images/s"
    return f"{baseline['name']} {rate}: x {baseline['ratio']:.2f}, median of {baseline['rounds']} rounds in turn"


def _in_short(row: dict[str, Any]) -> str:
    """Say one row in a line, while the others still run."""
    name = f"{row['model']}, {row['engine']} {row['precision']}, batch {row['batch']}"
    if "error" in row:
        return f"{name}: {row['error']['type']}: {row['error']['message']}"
    return f"{name}: {row['samples_per_sec']:.2f} images/s, step {row['step_time_ms']['p50']:.1f} ms"


def _cell(name: str, form: str, *, of: str = "") -> Callable[[dict[str, Any]], str]:
    """Return a function that formats one value of a row, or of the part `of` it; a row that failed has none."""

    def cell(row: dict[str, Any]) -> str:
        value = row.get(of, {}).get(name) if of else row.get(name)
        return "" if value is None else f"{value:{form}}"

    return cell


SHARED = ("model", "engine", "precision", "batch")
# Heading -> what stands below it.
COLUMNS = {
    "model": _cell("model", ""),
    "engine": _cell("engine", ""),
    "precision": _cell("precision", ""),
    "batch": _cell("batch", ""),
    "images/s": _cell("samples_per_sec", ".2f"),
    "p50 ms": _cell("p50", ".1f", of="step_time_ms"),
    "TFLOP/s": _cell("achieved_tflops", ".3f"),
    "of limit": _cell("utilisation", ".0%"),
    "MB": _cell("peak_memory_mb", ".0f"),
    "from files": _cell("samples_per_sec", ".2f", of="files"),
    "x timm": _cell("ratio", ".2f", of="baseline"),
    "top-1 %": _cell("published_top1", ".2f"),
}
