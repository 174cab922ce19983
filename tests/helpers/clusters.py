"""Ray clusters and an object store on loopback, as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S, PAUSE_S = 60.0, 0.05
STORE_BYTES = 100_000_000
# The head detects a lost node within seconds instead of a quarter of a minute.
WATCHFUL = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


def free_port() -> int:
    """Return a free port outside the range that Ray uses for workers (10002 to 19999)."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if not 10002 <= port <= 19999:
            return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens at `port`.

    Raises:
        TimeoutError: `process` ended, or `START_S` passed.
    """
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
    raise TimeoutError(f"nobody listens at {port}: {process.args!r}")


@contextmanager
def ray_node(where: str, cpus: int, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ray start`: `where` is "--head --port=N" or "--address=HOST:PORT". Kill its process group at the end."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where.split(), f"--num-cpus={cpus}", "--block"]
    if "--head" in where:
        command += ["--include-dashboard=false", f"--system-config={json.dumps(WATCHFUL)}"]
    command.append(f"--object-store-memory={STORE_BYTES}")
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, env=os.environ | QUIET | env, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # all of it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)  # after SIGTERM it takes half a minute


@contextmanager
def ray_cluster(folder: Path, *cpus: int, **env: str) -> Iterator[str]:
    """Run a head with `cpus[0]` CPUs and further nodes, each with its own `ray start`; yield the address."""
    port = free_port()
    with ExitStack() as ends:
        join(ends, f"--head --port={port}", cpus[0], folder / "head.log", **env)
        for number, count in enumerate(cpus[1:]):
            join(ends, f"--address=127.0.0.1:{port}", count, folder / f"node-{number}.log", **env)
        yield f"127.0.0.1:{port}"


def join(ends: ExitStack, where: str, cpus: int, log: Path, **env: str) -> None:
    """Add a node, and wait until it has joined; the head too, since a node gives up where the head is slow."""
    node = ends.enter_context(ray_node(where, cpus, log, **env))
    end = time.monotonic() + START_S
    while b"Ray runtime started" not in log.read_bytes():
        if node.poll() is not None or time.monotonic() > end:
            raise RuntimeError(log.read_text())
        time.sleep(PAUSE_S)


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """Run an S3 server; yield the environment variables that point to it."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            process.kill()
