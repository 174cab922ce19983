"""A Ray cluster: joined or started, asked what it has, and divided; without a word of Ray's own on the screen.

In: an address, or none for a private cluster on this machine. Out: nodes, and a `Plan` of who gets what. What Ray
raises becomes an error in words. Does not know what runs there.
"""

from __future__ import annotations

import logging
import math
import re
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from resnest_cli.cluster import surroundings
from resnest_cli.cluster.surroundings import HERE
from resnest_cli.errors import ResnestError, UsageError, message_of
from resnest_cli.system import machine
from resnest_cli.text.numbers import parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

ANSWER_S = 5.0  # for a cluster to take a connection
ASK_S = 60.0  # for a node to start a process and answer
STALL_S = 60.0  # without a row, after which it is said what the cluster does
STORE_BYTES = 1 << 30  # for a private cluster: a few hundred blocks of pixels, in memory
NEARLY = 0.9  # of the CPUs that could be used: fewer and larger actors hold fewer copies of the weights
_INSTALL = "pip install 'resnest-cli[ray]'"
_ENDED = (
    "error: --ray: the command was ended from outside, by a kill, or by Ray, which does so when the node of this "
    "machine is lost. The rows that were written are whole; with -o, --resume continues."
)
_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, and what Ray may give away of it."""

    id: str
    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Plan:
    """Who gets what: each of the `actors` is given `cpus` and `gpus`, and keeps `cores` busy."""

    nodes: int
    actors: int
    cpus: int
    gpus: int
    cores: int


def require() -> None:
    """Refuse to go on without Ray.

    Raises:
        UsageError: it is not installed; the message says how to.
    """
    if not all(map(find_spec, ("ray", "pyarrow", "pandas"))):
        raise UsageError(f"--ray needs Ray Data, which is not here: {_INSTALL}")


@contextmanager
def joined(address: str | None) -> Iterator[list[Node]]:
    """Join the cluster at "auto" or HOST:PORT, or start a private one here; give its nodes; leave it, or end it.

    Until it is, the working folder of this process is an empty one: a private Ray begins its processes in the working
    folder, and whatever runs for this job, on any node, looks for modules there first.

    Raises:
        UsageError: there is no cluster, or it does not let us in.
    """
    surroundings.settle(address)
    _log.info("%s", f"joining the cluster at {address}" if address else "starting Ray on this machine")
    import ray  # noqa: PLC0415 - of the extra "ray"
    import ray.data  # noqa: PLC0415

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if address:
        _knock(address)
    with surroundings.own_folder(_ENDED) as folder:
        try:
            with surroundings.own_signals(), surroundings.hushed(), surroundings.empty_working_folder(folder / "w"):
                _start(address, folder)
        except Exception as error:
            raise _why_not_joined(address, error) from error
        try:
            yield nodes()
        finally:
            ray.shutdown()


def _start(address: str | None, folder: Path) -> None:
    import ray  # noqa: PLC0415

    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": False}
    if address:
        ray.init(address=address, **common)
        return
    common |= {"_temp_dir": str(folder / "s"), "_node_ip_address": HERE}
    cpus = max(2, machine.usable_cores())  # see `plan`
    with surroundings.handed_search_path():
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **common)
    if others := [node.name for node in nodes() if node.name != HERE]:
        ray.shutdown()
        message = f"Ray would listen at {others[0]}, not at {HERE} alone. Use a version that does: {_INSTALL}"
        raise RuntimeError(message)


def nodes() -> list[Node]:
    """List the nodes that are alive and have a CPU to give."""
    import ray  # noqa: PLC0415

    found = [(node, node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [
        Node(node["NodeID"], node["NodeManagerAddress"], int(has.get("CPU", 0)), int(has.get("GPU", 0)))
        for node, has in found
        if has.get("CPU", 0) >= 1
    ]


def plan(nodes: list[Node], *, on_gpu: bool) -> Plan:
    """Divide the cluster among actors that read, decode and compute: one for each GPU, or on each node.

    One CPU of every node is given to none: where actors take every CPU, Ray's own tasks (which carry blocks and write
    files) wait for ever, and it says nothing. They take little of it, so an actor that is alone on its node uses it.

    Raises:
        UsageError: there are too few CPUs, or no GPU.
    """
    total = sum(node.cpus for node in nodes)
    if on_gpu:
        with_gpus = [node for node in nodes if node.gpus]
        each = min(((node.cpus - 1) // node.gpus for node in with_gpus), default=0)
        gpus = sum(node.gpus for node in with_gpus)
        if not each:
            raise UsageError(
                f"--ray: the cluster has {gpus} GPUs and {total} CPUs; a node needs a CPU for each GPU, and one more."
            )
        return Plan(len(nodes), gpus, each, 1, each)
    free = [node.cpus - 1 for node in nodes]
    sizes = {size: sum(room // size for room in free) for size in free if size > 0}
    if not sizes:
        most = max((node.cpus for node in nodes), default=0)
        raise UsageError(
            f"--ray: too few CPUs: no node of {len(nodes)} has more than {most}, and one needs 2: for the network, "
            "and for Ray's own tasks. Start one with more, or leave out --ray."
        )
    most = max(size * count for size, count in sizes.items())
    size = max(size for size, count in sizes.items() if size * count >= NEARLY * most)
    return Plan(len(nodes), sizes[size], size, 0, size + (sizes[size] == len(nodes)))


def ask(nodes: Iterable[Node], question: Callable[..., Any], *args: object) -> Iterator[tuple[Node, Any]]:
    """Yield the answer of every node to a question, asked at the same time; nodes that have left are skipped.

    A function that was defined inside another travels by value: the node need not have this package.

    Raises:
        ResnestError: a node does not answer.
    """
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    remote = ray.remote(num_cpus=0)(question)  # again if its worker ends
    asked = {
        node: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(*args)
        for node in nodes
    }
    for node, answer in asked.items():
        try:
            yield node, ray.get(answer, timeout=ASK_S)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):  # noqa: PERF203 - a few nodes
            continue
        except Exception as error:
            raise ResnestError(f"--ray: node {node.name} does not answer: {_last_line(error)}") from error


@contextmanager
def translated() -> Iterator[None]:
    """Turn what Ray raises into words; an error of our own that was raised on a node comes back as it was."""
    try:
        yield
    except ResnestError:
        raise
    except Exception as error:
        raise _own_error(error) or ResnestError(f"Ray has given up: {_last_line(error)}") from error


def watched(items: Iterable[_Item]) -> Iterator[_Item]:
    """Pass items on, and say what the cluster does whenever the next one is waited for too long."""
    iterator, ended = iter(items), threading.Event()
    asked = math.inf  # when the next was asked for; what its consumer takes does not count

    def watch() -> None:
        nonlocal asked
        while not ended.wait(STALL_S / 2):
            if time.monotonic() - asked >= STALL_S:
                asked = time.monotonic()
                _log.warning("nothing has come back for %g s: %s", STALL_S, _state())

    threading.Thread(target=watch, daemon=True).start()
    try:
        while True:
            asked = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            asked = math.inf
            yield item
    finally:
        ended.set()


def _state() -> str:
    """Return a sentence on the nodes and the free CPUs, for a user who waits."""
    import ray  # noqa: PLC0415

    try:
        has, free = ray.cluster_resources(), ray.available_resources()
        count = len(nodes())
    except Exception as error:  # noqa: BLE001 - this is where Ray may be out of reach
        return f"the cluster does not answer ({_last_line(error)})"
    cpus = f"{free.get('CPU', 0):g} of {has.get('CPU', 0):g} CPUs"
    return f"{count} nodes are there, {cpus} are free; still waiting (`ray status` tells more, Ctrl-C ends the job)"


def _knock(address: str) -> None:
    """Check that a cluster listens at `address`: Ray itself waits for half a minute, then ends the process.

    Raises:
        UsageError: the address is invalid, or no server answers.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    number = parse_integer(port)
    if not (colon and host) or number is None:
        raise UsageError(f"--ray-address {address}: use auto, or HOST:PORT as `ray start --head` prints it.")
    try:
        socket.create_connection((host.strip("[]"), number), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray-address {address}: nobody answers there ({error}). Is the cluster up?") from error


def _why_not_joined(address: str | None, error: Exception) -> UsageError:
    words = _last_line(error)
    where = f"--ray-address {address}" if address else "--ray"
    if any("Authentication" in f"{type(cause).__name__} {cause}" for cause in _causes(error)):
        return UsageError(
            f"{where}: the cluster does not let us in. It was started with a token: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) here as it was there; or without one: RAY_AUTH_MODE=disabled."
        )
    return UsageError(f"{where}: no cluster can be {'joined' if address else 'started'}: {words}")


def _own_error(error: BaseException) -> ResnestError | None:
    """Find what was raised by us, under what Ray has put around it."""
    return next((cause for cause in _causes(error) if isinstance(cause, ResnestError)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that led to it; Ray keeps what was raised elsewhere in an attribute."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        there = getattr(error, "cause", None)
        error = there if isinstance(there, BaseException) else error.__cause__ or error.__context__


def _last_line(error: BaseException) -> str:
    """Return the end of what Ray says, which may be a whole traceback, without the names of classes."""
    lines = [line.strip() for line in message_of(_own_error(error) or error).splitlines() if line.strip()]
    return re.sub(r"^[\w.]+: ", "", lines[-1]) if lines else type(error).__name__
