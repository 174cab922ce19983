"""How a server listens and what it accepts, as one frozen value: the only place where its defaults are declared.

In: options of the command line. Out: checked values. Standard library only, so that the help is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from resnest_cli.errors import UsageError
from resnest_cli.options import LEAST, MAX_TIMEOUT, Options

if TYPE_CHECKING:
    from pathlib import Path

LOGS = ("text", "json")
MAX_PORT = 65_535
MAX_WAIT_MS = 10_000


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, and the limits of requests.

    Attributes:
        model: Variant, digits, folder or hf-hub:OWNER/REPO; repeatable.
            The first answers requests that name no model.
        host: Address to listen on; all but loopback need --token-file.
        port: Port to listen on; 0 takes a free one.
        unix: Listen on this Unix socket instead.
        token_file: File with the token that requests must carry.
        max_batch: Most images per forward pass.
            From 1 to 4096, or "auto".
        max_wait_ms: Longest wait for a fuller batch, in ms.
            A batch waits only while other images are being decoded.
        queue: Most images that wait; more are refused (503).
        timeout: Seconds for a request to arrive, and for its answer.
        max_bytes: Most bytes of a request.
        log: Format of the line per request.

    Raises:
        UsageError: an invalid value, or an address that others reach without a token.
    """

    model: tuple[str, ...] = (Options.model,)
    host: str = "127.0.0.1"
    port: int = 8000
    unix: Path | None = None
    token_file: Path | None = None
    max_batch: int | str = Options.batch
    max_wait_ms: float = 2.0
    queue: int = 256
    timeout: float = 30.0
    max_bytes: int = 32 << 20
    log: str = LOGS[0]

    def __post_init__(self) -> None:
        """Check all values; `max_batch` is checked by `Options`."""
        _within("--port", self.port, 0, MAX_PORT)
        _within("--max-wait-ms", self.max_wait_ms, 0, MAX_WAIT_MS)
        _within("--queue", self.queue, 1, 1_000_000)
        _within("--timeout", self.timeout, LEAST, MAX_TIMEOUT)
        _within("--max-bytes", self.max_bytes, 1, 1 << 40)
        if not (self.unix or self.token_file or is_loopback(self.host)):
            message = (
                f"--host {self.host}: others reach this address: add --token-file FILE (openssl rand -hex 32 > FILE)."
            )
            raise UsageError(message)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # NaN is in no range
        message = f"{name} {value}: use a number from {least:g} to {most:g}."
        raise UsageError(message)
