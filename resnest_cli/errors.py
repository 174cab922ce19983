"""What can go wrong, as one tree; every message says what happened, to what, and what to type next.

    ResnestError                 exit 1
    |- UsageError                exit 2   an option or argument that cannot be meant
    |  `- UnknownModel                    no such variant, folder or repository name
    |- ModelError                         a model that exists but cannot be used
    |  |- WeightsUnavailable              nothing cached, and nothing could be downloaded
    |  `- BadCheckpoint                   a weights file that does not fit or cannot be read
    |- DeviceError                        the device asked for is not there
    |  `- OutOfMemory                     not enough memory for a forward pass
    |- LabelsError                        class names that do not fit the model
    |- OutputError                        the result could not be written
    |- TooManyFailures                    more inputs failed than --max-failures allows; finished rows stand
    |- BadDataSet                         labelled images that nothing can be trained on
    |- TrainingStopped                    a run that ended early; its last good checkpoint stands
    `- ImageError                         one input failed; becomes a Failure record, never ends a job
       |- UnreadableInput                 missing, no permission, not a regular file
       |- UrlRefused                      a scheme, an address or a redirect that is not followed
       |- DownloadFailed                  a URL that gives nothing: no answer, no success, too slow, too large
       |- NoImages                        a folder or pattern that names nothing
       |- NotAnImage                      no known image format, with what it looks like instead
       |- BrokenImage                     a known format that does not decode
       |  `- TruncatedImage               ... because the file ends too early
       |- ImageTooLarge                   more pixels or bytes than the limit
       |- DecodeTimeout                   not decoded within the limit
       |- WorkerDied                      the process that decoded it crashed or was killed
       `- NotANumber                      the network's answer for it is NaN or infinite

Knows nothing of the terminal: the command line turns `exit_code` and the text into what a shell sees.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller (signals: 128 + number)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3  # finished, every row is there, and some inputs failed; FAILED: no complete result
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class ResnestError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = ExitCode.FAILED


class UsageError(ResnestError):
    """An option or argument that cannot be meant."""

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
    """Not enough memory for a forward pass; with a smaller batch there may be."""


class LabelsError(ResnestError):
    """Class names that do not fit the model."""


class OutputError(ResnestError):
    """The result could not be written."""


class TooManyFailures(ResnestError):
    """More inputs failed than the job may have; its finished rows stand."""


class BadDataSet(ResnestError):
    """Labelled images that nothing can be trained on."""


class TrainingStopped(ResnestError):
    """A run that ended early: by a signal (then `exit_code` is 128 + its number), or because it cannot go on."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ImageError(ResnestError):
    """One input that failed. In a stream it becomes a `Failure`; alone it can be raised."""


class UnreadableInput(ImageError):
    """The file is missing, not permitted or not a regular file."""


class UrlRefused(ImageError):
    """A URL that is not asked for: its scheme, its address, or where it leads."""


class DownloadFailed(ImageError):
    """A URL that gives nothing: no answer, an answer that is no success, too slow or too large."""


class NoImages(ImageError):
    """A folder or pattern that names no image."""


class NotAnImage(ImageError):
    """The bytes are of no image format that is read here."""


class BrokenImage(ImageError):
    """The format is known, but the image does not decode."""


class TruncatedImage(BrokenImage):
    """The file ends before the image does."""


class ImageTooLarge(ImageError):
    """More pixels or bytes than the limit, before or after resizing."""


class DecodeTimeout(ImageError):
    """The image was not decoded within the time allowed."""


class WorkerDied(ImageError):
    """The process that decoded the image crashed, or was killed."""


class NotANumber(ImageError):
    """The network's answer for the image has NaN or infinity in it: fp16 that overflows, or damaged weights."""


def as_image_error(error: Exception) -> ImageError:
    """Return whatever one input raised as the `ImageError` of its row; what ends the whole job is raised again.

    Errors are translated where they arise. This is for what nobody foresaw: it must not cost other inputs their rows.
    """
    if isinstance(error, ImageError):
        return error
    if isinstance(error, ResnestError):
        raise error
    if isinstance(error, MemoryError):
        return ImageTooLarge("not enough memory to read it.")
    reason = "".join(str(error).splitlines()[:1])[:200]
    return UnreadableInput(f"a fault of this program, which you may report: {type(error).__name__}: {reason}.")
