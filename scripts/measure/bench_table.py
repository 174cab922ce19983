"""Measure the eight variants and write the table of `docs/speed.md`, between its two marks.

In: nothing, or further options of `resnest bench` (such as --seconds 5); int8 needs the extra `int8`. Out: the page's
table from one run, with a description of the machine, and the rows as JSON in `bench.json` or the file of --rows.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from resnest_cli.system import machine

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
MARKS = ("<!-- bench: scripts/measure/bench_table.py writes this -->", "<!-- end of bench -->")
PRECISIONS = ("fp32", "bf16", "int8")
COLUMNS = (
    *("fp32: images/s", "of limit", "step ms", "x timm", "MB"),
    *("bf16: images/s", "of limit", "x timm"),
    *("int8: images/s", "x bf16", "x timm"),
)


def measure(words: list[str], to: Path) -> list[dict[str, Any]]:
    """Run the benchmark and return its rows; a failed configuration is a row with an error."""
    command = [sys.executable, "-m", "resnest_cli", "bench", "-m", "all", "--baseline", "-o", str(to), "--overwrite"]
    subprocess.run([*command, "--precision", ",".join(PRECISIONS), *words], check=False)  # noqa: S603 - our own command
    rows: list[dict[str, Any]] = json.loads(to.read_text())
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table, one line per variant."""
    lines = [f"| | top-1 % | {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * (len(COLUMNS) + 1)}"]
    found = {(row["model"], row["precision"]): row for row in rows}
    for model in dict.fromkeys(row["model"] for row in rows):
        fp32, bf16, int8 = (found[model, precision] for precision in PRECISIONS)
        gain = f"{int8['samples_per_sec'] / bf16['samples_per_sec']:.2f}" if {"error"}.isdisjoint(int8 | bf16) else ""
        cells = [model, f"{fp32['published_top1']:.2f}"]
        cells += [_rate(fp32), _share(fp32), _step(fp32), _ratio(fp32), _memory(fp32)]
        cells += [_rate(bf16), _share(bf16), _ratio(bf16)]
        cells += [_rate(int8), gain, _ratio(int8)]
        lines.append(f"| {' | '.join(cells)} |")
    good = next(row for row in rows if "error" not in row)
    versions = ", ".join(f"{name} {number}" for name, number in good["versions"].items())
    limits = [row["peak_tflops"] for row in rows if "error" not in row and row["precision"] in PRECISIONS[:2]]
    return (
        f"{machine.cpu_name()}, {machine.usable_cores()} cores ({', '.join(machine.instruction_sets())}); {versions}; "
        f"batch 1; limit {min(limits):.3f} (fp32) to {max(limits):.3f} (bf16) TFLOP/s; "
        f"{datetime.now(timezone.utc):%Y-%m-%d}.\n\n" + "\n".join(lines)
    )


def _rate(row: dict[str, Any]) -> str:
    return row["error"]["type"] if "error" in row else f"{row['samples_per_sec']:.2f}"


def _share(row: dict[str, Any]) -> str:
    return "" if "error" in row else f"{row['utilisation']:.0%}"


def _step(row: dict[str, Any]) -> str:
    return "" if "error" in row else f"{row['step_time_ms']['p50']:.0f}"


def _ratio(row: dict[str, Any]) -> str:
    return "" if "error" in row else f"{row['baseline']['ratio']:.2f}"


def _memory(row: dict[str, Any]) -> str:
    return "" if "error" in row else f"{row['peak_memory_mb']:.0f}"


def main() -> None:
    """Measure, and write the table between the marks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=Path, default=Path("bench.json"), help="default: %(default)s")
    args, words = parser.parse_known_args()
    written = table(measure(words, args.rows))
    text = PAGE.read_text(encoding="utf-8")
    pattern = f"({re.escape(MARKS[0])}\n).*?({re.escape(MARKS[1])})"
    PAGE.write_text(re.sub(pattern, lambda m: f"{m[1]}{written}\n{m[2]}", text, flags=re.DOTALL), encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
