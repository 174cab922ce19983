"""What a check says: facts, the rows that do not hold, and what to type next.

In: a `Checked`. Out: rows of tables, sentences, and a value for JSON.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resnest_cli.text.json_input import shorten
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.tasks.check.job import Checked

DRIFTED = ("row", "then", "now", "difference")
MOST = 20  # rows that are shown


def facts(found: Checked) -> Iterator[tuple[str, str]]:
    """Yield names and values."""
    sampled = len(found.sample)
    yield "rows", f"{found.rows:,}"
    yield "files", ", ".join(f"{count:,} {state}" for state, count in found.files.items() if count) or "none"
    yield "predicted again", f"{sampled:,}; {sampled - len(found.drifted):,} hold"
    yield "largest difference", f"{found.largest:.2g} (up to {found.tolerance:g} holds)"
    for name, (then, now) in found.changes.items():
        yield name, f"{shorten(then)}, now {shorten(now)}"


def drifted(found: Checked) -> list[tuple[str, str, str, str]]:
    """Return a row per answer that does not hold, at most `MOST`."""
    return [(each.path, each.then, each.now, f"{each.by:.4f}") for each in found.drifted[:MOST]]


def advice(found: Checked) -> Iterator[str]:
    """Yield what to type next, or that nothing is to be done."""
    if not found.exit_code:
        yield "all that was looked at holds."
    drifted = [each for each in found.drifted if not each.file_changed]
    if found.other_model or any(not each.was_failure for each in drifted):
        yield "the model answers otherwise now; predict with --overwrite makes all rows anew."
    if any(each.was_failure for each in drifted):
        yield "failed rows have another outcome now; predict with --retry-failed tries again."
    if count := found.files["changed"]:
        yield f"{counted(count, 'file')} changed since; predict with --append-new makes new rows."
    if count := found.files["gone"]:
        yield f"{counted(count, 'file')} gone; predict with --append-new keeps such rows, --overwrite drops them."


def as_json(found: Checked) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "holds": not found.exit_code,
        "rows": found.rows,
        "files": dict(found.files),
        "sampled": len(found.sample),
        "drifted": [asdict(each) for each in found.drifted],
        "largest": found.largest,
        "tolerance": found.tolerance,
        "changes": {name: {"then": then, "now": now} for name, (then, now) in found.changes.items()},
    }
