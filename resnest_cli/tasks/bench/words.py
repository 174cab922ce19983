"""Rows of a benchmark in words: facts of one configuration, a table of several, a line of each.

In: rows (`rows.row`). Out: texts for people, and the lines of them. Does not know where they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnest_cli.tasks.bench.rows import WRITERS
from resnest_cli.text import layout
from resnest_cli.text.layout import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True)
class Table:
    """Several configurations: columns that differ, values that all of them share, and errors."""

    headings: list[str]
    cells: list[tuple[str, ...]]
    numeric: list[int]
    shared: list[tuple[str, str]]
    failed: list[tuple[str, str]]


def as_text(rows: Sequence[dict[str, Any]], format: str) -> str:
    """Return rows as the text of a file, in a format of `rows.WRITERS` or as the "table" of a plain screen."""
    if format == "table":
        return "".join(f"{line}\n" for line in lines(rows, Screen()))
    return WRITERS[format](rows)


def lines(rows: Sequence[dict[str, Any]], screen: Screen) -> Iterator[str]:
    """Yield the lines of one configuration's facts, or of a table of several."""
    if len(rows) == 1:
        yield from layout.facts([*facts(rows[0])], screen)
        return
    made = table(rows)
    yield from layout.table([made.headings, *made.cells], screen, {*made.numeric})
    for together in (made.shared, *([fact] for fact in made.failed)):
        yield from layout.facts(together, screen)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table of these rows; a column that holds one value everywhere stands once, below."""
    columns = {heading: [cell(row) for row in rows] for heading, cell in COLUMNS.items()}
    shared = {heading: cells[0] for heading, cells in columns.items() if heading in SHARED and len(set(cells)) == 1}
    kept = {heading: cells for heading, cells in columns.items() if heading not in shared and any(cells)}
    return Table(
        headings=list(kept),
        cells=list(zip(*kept.values(), strict=True)),
        numeric=[i for i, heading in enumerate(kept) if heading not in SHARED],
        shared=[(heading, cell) for heading, cell in shared.items() if cell],
        failed=[("failed", line(row)) for row in rows if "error" in row],
    )


def facts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and value of what was measured of one configuration, or why it failed."""
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


def line(row: dict[str, Any]) -> str:
    """Return a row in one line."""
    name = f"{row['model']}, {row['engine']} {row['precision']}, batch {row['batch']}"
    if "error" in row:
        return f"{name}: {row['error']['type']}: {row['error']['message']}"
    return f"{name}: {row['samples_per_sec']:.2f} images/s, step {row['step_time_ms']['p50']:.1f} ms"


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


def _cell(name: str, form: str, *, of: str = "") -> Callable[[dict[str, Any]], str]:
    """Return a function that formats one value of a row, or of its part `of`; a failed row has none."""

    def cell(row: dict[str, Any]) -> str:
        value = row.get(of, {}).get(name) if of else row.get(name)
        return "" if value is None else f"{value:{form}}"

    return cell


SHARED = ("model", "engine", "precision", "batch")
# Heading -> the function that makes a cell.
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
