"""The epochs of a run as TensorBoard shows them, while it trains.

In: events. Out: scalars by epoch in the folder `tensorboard` of the run, where the package `tensorboard` is installed;
nothing elsewhere. The folder is of use to people only: a run whose scalars cannot be written goes on.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from resnest_cli.system import files
from resnest_cli.training.events import Epoch, Solved

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.training.events import Event

FOLDER = "tensorboard"
_log = logging.getLogger(__name__)


class Board:
    """The scalars of a run; `close` it.

    Args:
        out: the folder of the run.
        wanted: whether this process is the one that writes.
    """

    def __init__(self, out: Path, *, wanted: bool) -> None:
        self.folder = out / FOLDER
        self.wanted = wanted and find_spec("tensorboard") is not None
        self._writer: Any = None  # with the first epoch, so that a run that fails before leaves no folder

    def add(self, event: Event) -> None:
        """Write an epoch, which can be seen at once; other events have no scalars. The head is epoch 0."""
        if not self.wanted or not isinstance(event, Epoch | Solved):
            return
        losses = {"loss/train": event.train_loss, "loss/validation": event.val_loss, "top1/validation": event.val_top1}
        scalars, epoch = (losses | {"lr": event.lr}, event.epoch) if isinstance(event, Epoch) else (losses, 0)
        try:
            self._writer = self._writer or self._open()
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except Exception as error:  # noqa: BLE001 - a full disk, or whatever a package that does not fit torch raises
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer:
            try:
                writer.close()
            except OSError as error:
                self._give_up(error)

    def _open(self) -> Any:  # noqa: ANN401 - torch's class, which is untyped
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only where tensorboard is installed

        files.make_folder(self.folder)
        return SummaryWriter(str(self.folder))

    def _give_up(self, error: Exception) -> None:
        self.wanted, self._writer = False, None
        why = f"{type(error).__name__}: {error}"
        _log.warning("%s: TensorBoard's scalars are left out from here on (%s)", self.folder, why)
