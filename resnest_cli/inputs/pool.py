"""Images loaded in worker processes that can be stopped and replaced. Standard library only.

In: sources, and a `Load` that turns one into what is wanted. Out: in the order they were given, what it returned, or
the `ImageError` it raised. A worker that crashes twice on an image, or is at it for longer than the deadline, costs
this image and no other: what else it had been given goes to its successor.

A worker is a fresh interpreter: not a fork of this one, whose threads would not survive it, and it does not import the
caller's script, which so needs no `if __name__ == "__main__"`. It leaves when its standard input ends: with the pool,
or with this process, however that ended. Each has pipes of its own, so one that dies in mid-sentence confuses no other;
pools with one pipe for all (pebble, concurrent.futures) break or hang when a worker is killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections import deque
from multiprocessing.connection import Connection
from queue import SimpleQueue
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any, Protocol

from resnest_cli.errors import DecodeTimeout, ImageTooLarge, ResnestError, WorkerDied, as_image_error
from resnest_cli.system import processes

if TYPE_CHECKING:
    from typing_extensions import Self

    from resnest_cli.types import Source

START_LIMIT_S = 60.0  # for an interpreter and its imports, on a machine that does much else
PIPE_BYTES = 1 << 20  # where the system lets a pipe hold so much, some images wait in it and the worker goes on
LIVES = 2  # a worker may be killed for no fault of the image it was at
_INSTEAD = "use -j 0 to do without."
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def limit_memory(limit: int) -> None:
    """Let this process have no more than so many bytes for its data, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Load(Protocol):
    """Turns a source into something that pickles, as it does itself."""

    def prepare(self) -> None:
        """Set up the worker, once."""

    def __call__(self, source: Any, /) -> Any:  # noqa: ANN401 - what is loaded does not matter here
        """Load one.

        Raises:
            ImageError: it cannot be loaded.
        """


class Pool:
    """Worker processes that load images in turn; use it as a context manager.

    Args:
        load: what they do.
        workers: how many, at least 1.
        timeout: seconds an image may take.
        large: tried, for one image at a time and in a process of its own, on what is too large for `load`.

    Raises:
        ResnestError: a process cannot be started.
    """

    def __init__(self, load: Load, workers: int, *, timeout: float, large: Load | None = None) -> None:
        self._timeout = timeout
        self._large = large
        self._alone: Worker | None = None
        self._next = 0
        self._workers: list[Worker] = []
        try:
            self._workers.extend(Worker(load, timeout) for _ in range(workers))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Stop the workers, whatever they do."""
        for worker in [*self._workers, *([self._alone] if self._alone else [])]:
            worker.stop()

    def give(self, source: Source) -> Worker:
        """Hand a source to the next worker; `take` its answer in the order in which sources were given."""
        worker = self._workers[self._next]
        self._next = (self._next + 1) % len(self._workers)
        worker.give(source)
        return worker

    def take(self, worker: Worker) -> Any:  # noqa: ANN401 - as Load
        """Wait for the oldest answer of `worker`.

        Raises:
            DecodeTimeout: the image took too long.
            WorkerDied: it has ended two workers.
            ImageError: what `load` raised.
        """
        source = worker.given[0]
        try:
            return worker.take()
        except ImageTooLarge:
            if self._large is None:
                raise
        self._alone = self._alone or Worker(self._large, self._timeout)
        self._alone.give(source)
        return self._alone.take()


class Worker:
    """One process, and its successors. `given` is what it has not answered, in order: sources, or what `load` takes."""

    def __init__(self, load: Load, timeout: float) -> None:
        self.given: deque[Any] = deque()
        self._load = load
        self._timeout = timeout
        self._start()

    def give(self, source: Any) -> None:  # noqa: ANN401 - as above
        """Send a source."""
        self.given.append(source)
        self._send(source)

    def take(self) -> Any:  # noqa: ANN401 - as Load
        """Wait for the answer to the first of `given`; see `Pool.take`."""
        for life in range(1, LIVES + 1):
            try:
                answer = self._receive()
            except TimeoutError:  # noqa: PERF203 - it is entered twice at most
                self.given.popleft()
                self._replace()
                raise DecodeTimeout(f"not decoded within {self._timeout:g} s; --timeout sets the limit.") from None
            except (EOFError, OSError):
                if life == LIVES:
                    self.given.popleft()
                status = self._replace()
            else:
                self.given.popleft()
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise WorkerDied(f"it ended the process that decoded it, {LIVES} times ({_in_words(status)}).")

    def stop(self) -> int:
        """End the process at once, and give its exit status."""
        self._process.kill()
        self._requests.close()
        self._answers.close()
        return self._process.wait()

    def _start(self) -> None:
        requests, ours = os.pipe()
        theirs, answers = os.pipe()
        self._requests, self._answers = Connection(ours, readable=False), Connection(theirs, writable=False)
        self._ready = False
        _widen(theirs)
        try:
            self._process = processes.start(
                __name__,
                work.__name__,
                stdin=requests,
                stdout=answers,
                stderr=DEVNULL,  # decoders in C print there
                env=_ENVIRONMENT,
                start_new_session=True,  # a signal from the keyboard is for this process, which then stops them
            )
        except OSError as error:
            self._requests.close()
            self._answers.close()
            message = f"no process can be started to decode images in ({error}): {_INSTEAD}"
            raise ResnestError(message) from error
        finally:
            os.close(requests)
            os.close(answers)
        self._send(self._load)

    def _replace(self) -> int:
        """Put a new process in place of this one, with all of `given` to do; give the exit status."""
        status = self.stop()
        if not self._ready and status > 0:
            message = f"the processes that decode images do not start ({_in_words(status)}): {_INSTEAD}"
            raise ResnestError(message)
        self._start()
        for source in self.given:
            self._send(source)
        return status

    def _send(self, what: object) -> None:
        with contextlib.suppress(OSError):  # it has died: `take` will see that
            self._requests.send_bytes(pickle.dumps(what))

    def _receive(self) -> Any:  # noqa: ANN401 - as Load
        if not self._ready:
            if not self._answers.poll(START_LIMIT_S):
                raise ResnestError(f"no process that decodes images has started within {START_LIMIT_S:g} s: {_INSTEAD}")
            self._answers.recv()
            self._ready = True
        if not self._answers.poll(self._timeout):
            raise TimeoutError
        return self._answers.recv()


def work() -> None:
    """Be a worker: load what comes in on standard input, answer on standard output."""
    answers = Connection(os.dup(1), readable=False)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for decoders in C that print
    requests: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    load = requests.get()
    load.prepare()
    with contextlib.suppress(BrokenPipeError):
        answers.send(None)
        while True:
            answers.send(_answer(load, requests.get()))


def _listen(requests: SimpleQueue[Any]) -> None:
    """Pass on what comes in. A thread, so that a worker that is busy also leaves when nobody waits for it any more."""
    incoming = Connection(os.dup(0), writable=False)
    with contextlib.suppress(EOFError, OSError):
        while True:
            requests.put(incoming.recv())
    os._exit(0)


def _answer(load: Load, source: Source) -> Any:  # noqa: ANN401 - as Load
    try:
        return load(source)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error if _travels(error) else as_image_error(error)


def _travels(error: Exception) -> bool:
    """Return whether an exception can be sent to another process, which those of some libraries cannot."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever its class makes of it
        return False
    return True


def _widen(pipe: int) -> None:
    """Let a pipe hold more, on Linux and within the user's limits."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _in_words(status: int) -> str:
    return f"exit code {status}" if status >= 0 else f"signal {-status}"
