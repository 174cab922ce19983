"""Load images in worker processes that can be killed and replaced. Standard library only.

In: sources, and a `Load` that is applied to each. Out: per source, in the order of submission, what `Load` returned,
or the `ImageError` that it raised. An image that crashes its worker twice, or takes longer than the timeout, costs no
other image: what else the worker had to do goes to its successor.

A worker is a fresh interpreter: not a fork, which threads do not survive, and it does not import the caller's script,
which so needs no `if __name__ == "__main__"`. It exits when its standard input ends: with the pool, or with this
process, however that ended. Each worker has its own pipes, so a worker that dies in mid-message disturbs no other;
pools with one pipe for all (pebble, concurrent.futures) break or hang when a worker is killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
import weakref
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

START_LIMIT_S = 60.0  # for an interpreter and its imports, on a busy machine
PIPE_BYTES = 1 << 20  # a larger pipe, where allowed, holds some images, so the worker continues
MAX_DEATHS = 2  # per image: a worker may be killed by chance
MAX_STARTS = 5  # in a row that are killed before the worker is ready
_HINT = "use -j 0 to decode in this process."
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def limit_memory(limit: int) -> None:
    """Limit the data of this process to `limit` bytes, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Load(Protocol):
    """A function of a source, that pickles as its results do."""

    def prepare(self) -> None:
        """Prepare the worker process, once."""

    def __call__(self, source: Any, /) -> Any:  # noqa: ANN401 - what is loaded does not matter here
        """Return what is loaded from one source.

        Raises:
            ImageError: the source cannot be loaded.
        """


class Pool:
    """Worker processes that load images in turn; use it as a context manager.

    They start with the first source, or with `start`.

    Args:
        load: what each worker applies to a source.
        workers: number of processes, at least 1.
        timeout: seconds per image.
        large: applied, one image at a time in a process of its own, where `load` raises `ImageTooLarge`.
    """

    def __init__(self, load: Load, workers: int, *, timeout: float, large: Load | None = None) -> None:
        self._load = load
        self._count = workers
        self._timeout = timeout
        self._large = large
        self._large_worker: Worker | None = None
        self._next = 0
        self._workers: list[Worker] = []
        self._started: list[Worker] = []
        self._process = os.getpid()
        self._end = weakref.finalize(self, _stop, self._started, self._process)  # where nobody closes it

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def start(self) -> Self:
        """Start the workers, and return the pool.

        Raises:
            ResnestError: a process cannot be started.
        """
        try:
            while len(self._workers) < self._count:
                self._workers.append(self._worker(self._load))
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Kill all workers."""
        self._end()

    @property
    def replaced(self) -> int:
        """How many processes have been killed or have crashed, and have a successor."""
        return sum(worker.replaced for worker in self._started)

    def is_ours(self) -> bool:
        """Return whether this process has started the workers: a fork of it must leave them alone."""
        return self._process == os.getpid()

    def submit(self, source: Source) -> Worker:
        """Send a source to the next worker, and return the worker; get each `result` in the order of submission.

        Raises:
            ResnestError: a process cannot be started.
        """
        self.start()
        worker = self._workers[self._next]
        self._next = (self._next + 1) % self._count
        worker.submit(source)
        return worker

    def result(self, worker: Worker) -> Any:  # noqa: ANN401 - as Load
        """Wait for the oldest result of `worker`, and return it.

        Raises:
            DecodeTimeout: the image took too long.
            WorkerDied: the image crashed two workers.
            ImageError: what `load` raised.
        """
        source = worker.pending[0]
        try:
            return worker.result()
        except ImageTooLarge:
            if self._large is None:
                raise
        self._large_worker = self._large_worker or self._worker(self._large)
        self._large_worker.submit(source)
        return self._large_worker.result()

    def _worker(self, load: Load) -> Worker:
        self._started.append(Worker(load, self._timeout))
        return self._started[-1]


def _stop(workers: list[Worker], process: int) -> None:
    if process == os.getpid():
        for worker in workers:
            worker.stop()


class Worker:
    """One process, and its successors.

    Attributes:
        pending: the sources without a result, in order of submission.
        replaced: the number of successors.
    """

    def __init__(self, load: Load, timeout: float) -> None:
        self.pending: deque[Any] = deque()
        self.replaced = 0
        self._load = load
        self._timeout = timeout
        self._failed_starts = 0
        self._start()

    def submit(self, source: Any) -> None:  # noqa: ANN401 - as above
        """Send a source to the process."""
        self.pending.append(source)
        self._send(source)

    def result(self) -> Any:  # noqa: ANN401 - as Load
        """Wait for the result of the first of `pending`; see `Pool.result`."""
        deaths = 0
        while deaths < MAX_DEATHS:
            try:
                answer = self._receive()
            except TimeoutError:  # noqa: PERF203 - it is entered twice, or by chance some times more
                self.pending.popleft()
                self._replace()
                raise DecodeTimeout(f"not decoded within {self._timeout:g} s; --timeout sets the limit.") from None
            except (EOFError, OSError):
                deaths += self._ready  # before, it has not seen the image
                if deaths == MAX_DEATHS:
                    self.pending.popleft()
                status = self._replace()
            else:
                self.pending.popleft()
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise WorkerDied(f"it crashed the process that decoded it, {MAX_DEATHS} times ({_in_words(status)}).")

    def stop(self) -> int:
        """Kill the process, and return its exit status."""
        self._process.kill()
        self._outbox.put(None)
        self._answers.close()
        return self._process.wait()

    def _start(self) -> None:
        try:
            self._begin()
        except OSError as error:
            message = f"no process can be started to decode images in ({error}): {_HINT}"
            raise ResnestError(message) from error

    def _begin(self) -> None:
        requests, ours = os.pipe()
        theirs, answers = os.pipe()
        questions, self._answers = Connection(ours, readable=False), Connection(theirs, writable=False)
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
        except OSError:
            questions.close()
            self._answers.close()
            raise
        finally:
            os.close(requests)
            os.close(answers)
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        threading.Thread(target=_post, args=(questions, self._outbox), daemon=True).start()
        self._send(self._load)

    def _replace(self) -> int:
        """Start a new process with all of `pending` to do; return the exit status of the old process."""
        status = self.stop()
        self._failed_starts = 0 if self._ready else self._failed_starts + 1
        if self._failed_starts == MAX_STARTS or (self._failed_starts and status > 0):
            message = f"the processes that decode images do not start ({_in_words(status)}): {_HINT}"
            raise ResnestError(message)
        self._start()
        self.replaced += 1
        for source in self.pending:
            self._send(source)
        return status

    def _send(self, what: object) -> None:
        self._outbox.put(pickle.dumps(what))

    def _receive(self) -> Any:  # noqa: ANN401 - as Load
        if not self._ready:
            if not self._answers.poll(START_LIMIT_S):
                raise ResnestError(f"no process that decodes images has started within {START_LIMIT_S:g} s: {_HINT}")
            self._answers.recv()
            self._ready = True
        if not self._answers.poll(self._timeout):
            raise TimeoutError
        return self._answers.recv()


def _post(requests: Connection, outbox: SimpleQueue[bytes | None]) -> None:
    """Send what is put into `outbox`, up to a None.

    In a thread: a worker that hangs may read no more, and an image that its source carries does not fit into the pipe.
    """
    with requests, contextlib.suppress(OSError):  # it died: `result` finds out
        while (message := outbox.get()) is not None:
            requests.send_bytes(message)


def work() -> None:
    """Run a worker: load the sources of standard input, write results to standard output."""
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
    """Queue incoming sources; in a thread, so that a busy worker also exits when its pool is gone."""
    incoming = Connection(os.dup(0), writable=False)
    with contextlib.suppress(EOFError, OSError, MemoryError):  # for an image that its source carries
        while True:
            requests.put(incoming.recv())
    os._exit(0)


def _answer(load: Load, source: Source) -> Any:  # noqa: ANN401 - as Load
    try:
        return load(source)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error if _pickles(error) else as_image_error(error)


def _pickles(error: Exception) -> bool:
    """Return whether an exception can be sent to another process; exceptions of some libraries cannot."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever its class makes of it
        return False
    return True


def _widen(pipe: int) -> None:
    """Enlarge the buffer of a pipe, on Linux and within the user's limits."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _in_words(status: int) -> str:
    return f"exit code {status}" if status >= 0 else f"signal {-status}"
