"""The output of a job, opened: a file that a stopped job resumes, or a stream that nothing comes back to.

In: a path, a format, what the user allows. Out: an open `job.Output`. Does not know what the rows say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.outputs import streams
from resnest_cli.outputs.resumable import ResumableFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Output


def open_output(  # noqa: PLR0913 - all but two by name
    path: Path | None,
    format: Format,
    *,
    overwrite: bool = False,
    resume: bool = False,
    append_new: bool = False,
    by_hash: bool = False,
    retry_failed: bool = False,
    hold: Callable[[str], bool] | None = None,
) -> AbstractContextManager[Output]:
    """Open the file at `path`, or standard output if None, before a model is loaded.

    Args:
        path: the file.
        format: how it holds rows.
        overwrite: replace what is there.
        resume: continue the job that left what is there.
        append_new: add the rows of new and changed inputs, see `growing`.
        by_hash: with `append_new`, an input has changed if its content has.
        retry_failed: replace the rows that have failed, see `retrying`.
        hold: with `append_new`, which failed inputs get no row yet, see `growing`.

    Raises:
        UsageError: the output cannot be resumed, or cannot take the format.
        OutputError: it exists, is being written by another process, or cannot be written.
    """
    again = {"--resume": resume, "--watch" if hold else "--append-new": append_new, "--retry-failed": retry_failed}
    asked = [name for name, is_asked in again.items() if is_asked]
    if len(asked) + overwrite > 1:
        message = f"{', '.join(asked)}{' and --overwrite' * overwrite} exclude each other."
        raise UsageError(message)
    if by_hash and not append_new:
        raise UsageError("--by-hash: it goes with --append-new.")
    if asked and (path is None or format.lines is None):
        what = "standard output" if format.lines else f"a {format.name}"
        message = f"{asked[0]}: {what} cannot be continued; it goes with -o FILE."
        raise UsageError(message)
    if hold and format.compose:
        message = f"--watch: rows are written as they come; {format.name} is written at the end: use jsonl, csv or tsv."
        raise UsageError(message)
    if path is None or streams.is_device(path):
        if format.needs_file:
            message = f"-f {format.name}: it is complete only with its end; add -o FILE."
            raise UsageError(message)
    elif append_new:
        from resnest_cli.outputs.growing import GrowingFile  # noqa: PLC0415 - few jobs need it, and it takes milliseconds

        return GrowingFile(path, format, by_hash=by_hash, hold=hold)
    elif retry_failed:
        from resnest_cli.outputs.retrying import RetriedFile  # noqa: PLC0415 - as above

        return RetriedFile(path, format)
    elif format.lines:
        return ResumableFile(path, format, overwrite=overwrite, resume=resume)
    return streams.stream(path, format, overwrite=overwrite)
