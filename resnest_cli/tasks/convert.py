"""Rows in another format: what `predict` would have written with another `-f`, without running a model.

In: a finished file of rows. Out: a file or a stream of the same rows, and for a file what makes it one of the same job:
its record, so that `predict` continues it, and its ledger. Rows pass one by one. Does not know the terminal.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.outputs import ledger, records, saving, streams
from resnest_cli.outputs.formats import AUTO, named
from resnest_cli.outputs.reading import Results
from resnest_cli.outputs.rows import to_record
from resnest_cli.system import files
from resnest_cli.system.paths import look
from resnest_cli.text import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from resnest_cli.outputs.formats import Format
    from resnest_cli.types import Record


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        output: the file; None for standard output.
        rows: how many there are.
        failures: how many of them have an error, by its type.
        is_continuable: the job that made the rows goes on with this file too (`--resume`, `--append-new`, ...).
    """

    output: Path | None
    rows: int
    failures: dict[str, int]
    is_continuable: bool = False


def convert(
    rows: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    format: str = AUTO,
    overwrite: bool = False,
) -> Converted:
    """Write the rows of a file in another format.

    >>> convert("answers.csv", "answers.parquet").rows
    12

    Args:
        rows: what `predict` wrote with an output file, in any format.
        output: the file to write; None for standard output.
        format: another format than the suffix of `output` names.
        overwrite: replace a file that exists.

    Raises:
        UsageError: the rows cannot be read, or a format is not known.
        OutputError: the output exists, or cannot be written; no partial file is left.
    """
    found, path = Results(Path(rows)), None if output is None else Path(output)
    kind, tally = named(format, path), records.Tally()
    if path is None or streams.is_device(path):
        _to_stream(found, path, kind, tally)
        return Converted(path, tally.rows, dict(tally.failures))
    _claim(found.path, path, overwrite=overwrite)
    made = found.finished
    with saving.writer(path) as out:
        kind.write(map(kind.to_row, _counted(found, tally)), out, found.about)
        for old in (records.place(path), records.ledger(path)):  # of the file that is replaced now
            old.unlink(missing_ok=True)
    if made and kind.lines:
        with files.as_output_error(path):
            _keep(found, made, path, kind, tally)
    return Converted(path, tally.rows, dict(tally.failures), bool(made and kind.lines))


def _to_stream(found: Results, path: Path | None, kind: Format, tally: records.Tally) -> None:
    if kind.needs_file:
        raise UsageError(f"-f {kind.name}: it is complete only with its end; add -o FILE.")
    with streams.open_output(path, overwrite=False) as stream:
        out = terminal.harmless(stream) if kind.lines else stream
        kind.write(map(kind.to_row, _counted(found, tally)), out, found.about)


def _claim(source: Path, path: Path, *, overwrite: bool) -> None:
    """Check that the file can be written.

    Raises:
        UsageError: it is the source.
        OutputError: it exists and is not to be replaced, a job is not finished with it, or it cannot be written.
    """
    if path.exists() and path.samefile(source):
        raise UsageError(f"-o {path}: these are the rows themselves; give another name.")
    if look(records.unfinished(path)).is_there:
        raise OutputError(f"{path} is of a job that is not finished: finish it with --resume, or give another -o.")
    saving.claim(path, overwrite=overwrite)


def _counted(found: Results, tally: records.Tally) -> Iterator[Record]:
    for row in found.rows():
        tally.add(row["path"], row["error"]["type"] if "error" in row else None)
        yield to_record(row)


def _keep(found: Results, made: records.Finished, path: Path, kind: Format, tally: records.Tally) -> None:
    """Write what made the new file: the same job in another format, as old as it is.

    An image that was changed after the job, and has no stamp, counts as changed by the time of the record.
    """
    records.write(path, made.settings | {"format": kind.name}, tally, kind.companions, found.about, made.folder)
    ended = records.place(found.path).stat()
    os.utime(records.place(path), ns=(ended.st_atime_ns, ended.st_mtime_ns))
    ledger.copy(found.path, path)
