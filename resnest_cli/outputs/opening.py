"""The output of a job, opened: a file that a stopped job resumes, or a stream that nothing comes back to.

In: a path, a format, what the user allows. Out: an open `job.Output`. Does not know what the rows say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.outputs import streams
from resnest_cli.outputs.resumable import ResumableFile

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from resnest_cli.outputs.formats import Format
    from resnest_cli.outputs.job import Output


def open_output(
    path: Path | None, format: Format, *, overwrite: bool = False, resume: bool = False
) -> AbstractContextManager[Output]:
    """Open the file at `path`, or standard output if None, before a model is loaded.

    Raises:
        UsageError: the output cannot be resumed, or cannot take the format.
        OutputError: it exists, is being written by another process, or cannot be written.
    """
    if resume and (overwrite or path is None or format.lines is None):
        what = f"a {format.name}" if format.lines is None else "what is there" if overwrite else "standard output"
        message = f"--resume: {what} cannot be continued; it goes with -o FILE, without --overwrite."
        raise UsageError(message)
    if path is None or streams.is_device(path):
        if format.needs_file:
            message = f"-f {format.name}: it is complete only with its end; add -o FILE."
            raise UsageError(message)
    elif format.lines:
        return ResumableFile(path, format, overwrite=overwrite, resume=resume)
    return streams.stream(path, format, overwrite=overwrite)
