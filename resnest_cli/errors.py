"""The tree of errors. Every message names the object, the problem, and the command or option that fixes it.

    ResnestError                 exit 1
    |- UsageError                exit 2   an invalid option or argument
    |  `- UnknownModel                    no such variant, folder or repository
    |- ModelError                         a model that exists but cannot be used
    |  |- WeightsUnavailable              nothing cached, and nothing could be downloaded
    |  `- BadCheckpoint                   a weights file that does not fit or cannot be read
    |- DeviceError                        the device asked for is not there
    |  `- OutOfMemory                     not enough memory for a forward pass
    |- LabelsError                        class names that do not fit the model
    |- OutputError                        the result could not be written
    |- QueueFull                          too many images wait already; submit again later
    |- TooManyFailures                    more inputs failed than --max-failures allows; finished rows are kept
    |- BadDataSet                         labeled images that cannot be trained on
    |- TrainingStopped                    a run that ended early; its last checkpoint is kept
    `- ImageError                         one input failed; becomes a Failure record, never ends a job
       |- UnreadableInput                 missing, no permission, not a regular file
       |- UrlRefused                      a scheme, an address or a redirect that is not followed
       |- DownloadFailed                  a URL that failed: no response, no success, too slow, too large
       |- NoImages                        a folder or pattern that matches nothing
       |- NotAnImage                      no known image format; the message says what it is
       |- BrokenImage                     a known format that does not decode
       |  `- TruncatedImage               ... because the file ends too early
       |- ImageTooLarge                   more pixels or bytes than the limit
       |- DecodeTimeout                   not decoded within --timeout
       |- DeadlineExceeded                not answered within the time that the caller gave it
       |- WorkerDied                      the process that decoded it crashed or was killed
       `- NotANumber                      the model's output for it is NaN or infinite

Does not know the terminal: the command line prints `message` and exits with `exit_code`. The text of an error, which is
what Python shows, is the message in Python's terms.
"""

from enum import IntEnum

from resnest_cli import wording


class ExitCode(IntEnum):
    """The exit codes of the process (signals: 128 + number)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3  # finished with every row, and some inputs failed; FAILED: no complete result
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class ResnestError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = ExitCode.FAILED

    @property
    def message(self) -> str:
        """The message with options of the command line; rows have it too."""
        return super().__str__()

    def __str__(self) -> str:
        """Return the message with keywords in place of options."""
        return wording.of_python(self.message)


class UsageError(ResnestError):
    """An invalid option or argument."""

    exit_code = ExitCode.USAGE


class UnknownModel(UsageError):
    """No variant, model folder or repository has this name."""


class ModelError(ResnestError):
    """A model that exists but cannot be used."""


class WeightsUnavailable(ModelError):
    """Weights that are neither cached nor could be downloaded."""


class BadCheckpoint(ModelError):
    """A weights file that cannot be read or does not fit the model."""


class DeviceError(ResnestError):
    """The device asked for is not there, or cannot be used."""


class OutOfMemory(DeviceError, MemoryError):
    """Not enough memory for a forward pass; a smaller batch may fit."""


class LabelsError(ResnestError):
    """Class names that do not fit the model."""


class OutputError(ResnestError):
    """The result could not be written."""


class QueueFull(ResnestError):
    """Too many images wait already; this one was not accepted."""


class TooManyFailures(ResnestError):
    """More inputs failed than --max-failures allows; finished rows are kept."""


class BadDataSet(ResnestError):
    """Labeled images that cannot be trained on."""


class TrainingStopped(ResnestError):
    """A run that ended early: by a signal (then `exit_code` is 128 + its number), or by a fault."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ImageError(ResnestError):
    """One input that failed; in a stream it becomes a `Failure` record."""


class UnreadableInput(ImageError):
    """The file is missing, not permitted or not a regular file."""


class UrlRefused(ImageError):
    """A URL that is not requested: its scheme, its address, or a redirect."""


class DownloadFailed(ImageError):
    """A URL that failed: no response, no success, too slow or too large."""


class NoImages(ImageError):
    """A folder or pattern that matches no image."""


class NotAnImage(ImageError):
    """The bytes are in no image format that is read."""


class BrokenImage(ImageError):
    """The format is known, but the image does not decode."""


class TruncatedImage(BrokenImage):
    """The file ends before the image does."""


class ImageTooLarge(ImageError):
    """More pixels or bytes than the limit, before or after resizing."""


class DecodeTimeout(ImageError):
    """The image was not decoded within --timeout."""


class DeadlineExceeded(ImageError):
    """The image was not answered within the time that the caller gave it."""


class WorkerDied(ImageError):
    """The process that decoded the image crashed, or was killed."""


class NotANumber(ImageError):
    """The model's output for the image has NaN or infinity: an overflow of fp16, or damaged weights."""


def message_of(error: BaseException) -> str:
    """Return the message of any exception, for another message: ours with options of the command line."""
    return error.message if isinstance(error, ResnestError) else str(error)


def as_image_error(error: Exception) -> ImageError:
    """Return any exception of one input as the `ImageError` of its row; re-raise what ends the whole job.

    Errors are translated where they arise; this is for unexpected ones, which must not cost other inputs their rows.
    """
    if isinstance(error, ImageError):
        return error
    if isinstance(error, ResnestError):
        raise error
    if isinstance(error, MemoryError):
        return ImageTooLarge("not enough memory to read it.")
    reason = "".join(str(error).splitlines()[:1])[:200]
    return UnreadableInput(f"a bug of this program, please report it: {type(error).__name__}: {reason}.")
