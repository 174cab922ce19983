"""The system's word that something below a folder has changed, by watchdog (the extra `watch`).

In: folders. Out: whether something has changed, or the time that one was ready to wait. Where watchdog is missing, or
the system has no notifications left, the time passes.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from resnest_cli.system.imports import has
from resnest_cli.system.paths import reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

CHANGES = {"created", "modified", "moved", "deleted", "closed"}  # not "opened" and "closed_no_write": we read

_log = logging.getLogger(__name__)


class Notified:
    """Waits for changes; a context manager."""

    def __init__(self, folders: Sequence[str], *, recursive: bool) -> None:
        self._folders, self._recursive = folders, recursive
        self._changed = threading.Event()
        self._observer: Any = None

    def __enter__(self) -> Self:
        """Begin to listen."""
        if not has("watchdog"):
            _log.info("notifications of changes need watchdog: pip install 'resnest-cli[watch]'; looking now and then")
            return self
        from watchdog.observers import Observer  # noqa: PLC0415 - of the extra "watch"

        observer = Observer()
        handler: Any = self  # all that it needs is `dispatch`
        try:
            for folder in self._folders:
                observer.schedule(handler, folder, recursive=self._recursive)
            observer.start()
        except OSError as error:  # inotify's limits, or a drive that has no notifications
            _log.info("no notifications of changes (%s): looking now and then", reason(error).rstrip("."))
            return self
        self._observer = observer
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Listen no longer."""
        if self._observer:
            self._observer.stop()

    def dispatch(self, event: Any) -> None:  # noqa: ANN401 - watchdog is optional
        """Take an event from watchdog."""
        if event.event_type in CHANGES:
            self._changed.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most so long; return whether there was one since the last call."""
        was_changed = self._changed.wait(seconds)
        self._changed.clear()
        return was_changed
