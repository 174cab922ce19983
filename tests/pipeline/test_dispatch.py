"""One future per image: settled once, soon, whatever becomes of the others, of the model and of its processes."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import SAMPLES
from PIL import Image

from resnest_cli import Classifier, FakeEngine
from resnest_cli.errors import DeviceError, OutOfMemory, QueueFull, ResnestError, UsageError
from resnest_cli.inputs import pool
from resnest_cli.pipeline import dispatch
from resnest_cli.pipeline.requests import Request
from resnest_cli.types import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from resnest_cli.types import Record

LIMIT_S = 60
GOOD = sorted(SAMPLES.iterdir())


class Gated(FakeEngine):
    """Answers when it is let; `begun` counts the batches that have come."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Wait, and answer."""
        self.begun.release()
        assert self.gate.wait(LIMIT_S)
        return super().answer(batch)


class Fails(FakeEngine):
    """Raises what it was made with."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raise."""
        del batch
        raise self.error


def gray(level: int) -> NDArray[np.uint8]:
    return np.full((32, 32), level, np.uint8)


def array(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture)


@contextmanager
def gated(**changes: Any) -> Iterator[tuple[Classifier, Gated]]:  # noqa: ANN401 - fields of Options
    """Open a model whose network is busy with a first image."""
    engine = Gated()
    with Classifier("digits", engine=engine, **{"workers": 0, "batch": 1, **changes}) as model:
        model.submit(gray(0))
        assert engine.begun.acquire(timeout=LIMIT_S)
        try:
            yield model, engine
        finally:
            engine.gate.set()


def filled(model: Classifier, image: NDArray[np.uint8]) -> tuple[list[Future[Record]], QueueFull]:
    """Submit the image until there is no room."""
    accepted: list[Future[Record]] = []
    try:
        while True:
            accepted.append(model.submit(image, block=False))
    except QueueFull as error:
        return accepted, error


def requests_in_memory() -> int:
    gc.collect()
    return sum(type(one) is Request for one in gc.get_objects())  # `isinstance` asks odd objects of other libraries


def label(record: Record) -> str:
    return record.top1.label if record.ok else record.type


def test_the_record_is_that_of_predict_for_every_kind_of_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with GOOD[1].open("rb") as file, Image.open(GOOD[2]) as picture, Classifier("digits", workers=2) as model:
        images: list[Any] = [*GOOD, GOOD[0].read_bytes(), file, picture, np.asarray(picture), gray(9) / 255]
        images += [tmp_path / "text.png", tmp_path / "lost.png"]
        futures = [model.submit(image, topk=3, threshold=0.01) for image in images]
        expected = [next(model.predict([image], topk=3, threshold=0.01)) for image in images]
        assert [future.result(LIMIT_S) for future in futures] == expected


def test_what_waits_runs_in_batches() -> None:
    with gated(batch=4) as (model, engine):
        futures = [model.submit(gray(26 * i)) for i in range(7)]
        wait([model.submit(b"no image")], LIMIT_S)  # the one lane has decoded all that came before it
        engine.gate.set()
        assert [future.result(LIMIT_S).top1.index for future in futures] == list(range(7))
    assert engine.batch_sizes == [1, 4, 3]


def test_several_threads_that_wait_for_the_same_batch_all_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One takes what the others have waited for: they wait for the next."""
    monkeypatch.setattr(FakeEngine, "slots", 4)
    monkeypatch.setattr(dispatch, "PATIENCE_S", 0.01)
    with Classifier("digits", engine=FakeEngine(), workers=0, batch=8) as model:
        for _ in range(30):
            futures = [model.submit(gray(100)) for _ in range(3)]
            assert all(future.result(LIMIT_S).ok for future in futures)
        assert sum(thread.name == "resnest dispatch" for thread in threading.enumerate()) == 1 + 4


class Shrinks(FakeEngine):
    """Has room for two images; and meanwhile another thread finds that there is room for more."""

    slots = 1
    model: Classifier

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Answer, or run out of memory."""
        if len(batch) > 2:
            raise MemoryError("bad allocation")
        self.model.trunk._dispatch._batch = 100  # type: ignore[attr-defined] # noqa: SLF001 - as that thread does
        return super().answer(batch)


def test_halves_of_a_batch_are_whole_whatever_another_thread_has_found() -> None:
    engine = Shrinks()
    with Classifier("digits", engine=engine, workers=0, batch=4) as engine.model:
        futures = [engine.model.submit(gray(26 * (i % 10))) for i in range(12)]
        assert [future.result(LIMIT_S).top1.index for future in futures] == [i % 10 for i in range(12)]


def test_a_hanging_image_delays_no_other(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with (
        Classifier("digits", engine=FakeEngine(), workers=0) as model,
        (tmp_path / "open.png").open("wb"),
    ):
        broken = model.submit(tmp_path / "pipe.png")
        assert model.submit(GOOD[0]).result(LIMIT_S).ok
        assert label(broken.result(LIMIT_S)) == "UnreadableInput"


def test_a_generator_that_waits_gets_each_record_before_it_goes_on() -> None:
    seen: list[Record] = []

    def waits() -> Iterator[Path]:
        for number, path in enumerate(GOOD):
            while len(seen) < number:
                assert came.wait(LIMIT_S)
                came.clear()
            yield path

    came = threading.Event()
    with Classifier("digits", workers=1, live=True) as model:
        for record in model.predict(waits()):
            seen.append(record)
            came.set()
    assert [record.path for record in seen] == list(map(str, GOOD))


def test_what_a_live_input_raises_is_raised_in_its_place() -> None:
    def breaks() -> Iterator[Path]:
        yield GOOD[0]
        raise ZeroDivisionError

    with Classifier("digits", workers=0, live=True) as model:
        records = model.predict(breaks())
        assert next(records).ok
        with pytest.raises(ZeroDivisionError):
            next(records)


# --- the end of a request


def test_a_request_whose_time_is_over_says_so_while_the_network_is_busy() -> None:
    with gated() as (model, engine):
        late = model.submit(gray(100), timeout=0.05)
        assert late.result(LIMIT_S) == Failure("#0", "DeadlineExceeded", "not answered within 0.05 s.")
        in_time = model.submit(gray(100), timeout=LIMIT_S)
        engine.gate.set()
        assert in_time.result(LIMIT_S).ok
    assert engine.batch_sizes == [1, 1]  # the late one did not run


def test_a_request_that_runs_can_miss_its_deadline_too() -> None:
    engine = Gated()
    with Classifier("digits", engine=engine, workers=0) as model:
        late = model.submit(gray(100), timeout=0.05)
        assert engine.begun.acquire(timeout=LIMIT_S)
        assert label(late.result(LIMIT_S)) == "DeadlineExceeded"
        engine.gate.set()


def test_what_has_not_begun_can_be_cancelled_and_does_not_run() -> None:
    with gated() as (model, engine):
        first, second = model.submit(gray(100)), model.submit(gray(200))
        assert first.cancel()
        engine.gate.set()
        assert second.result(LIMIT_S).top1.index == 7
        done, _ = wait([first], LIMIT_S)
        assert done == {first}
        assert first.cancelled()
    assert engine.batch_sizes == [1, 1]


def test_what_has_begun_cannot_be_cancelled() -> None:
    engine = Gated()
    with Classifier("digits", engine=engine, workers=0) as model:
        future = model.submit(gray(100))
        assert engine.begun.acquire(timeout=LIMIT_S)
        assert not future.cancel()
        engine.gate.set()
        assert future.result(LIMIT_S).ok


def test_a_full_queue_is_said_or_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "ROOM", 3)
    with gated() as (model, engine):
        accepted, error = filled(model, gray(100))
        assert str(error) == "3 images wait already: submit this one later."
        assert (
            3 <= len(accepted) <= 3 + 1 + 2 * max(1, engine.slots) + engine.slots
        )  # in the lane, decoded, in the window
        with ThreadPoolExecutor(1) as waiting:
            blocked = waiting.submit(model.submit, gray(100))
            engine.gate.set()
            assert all(future.result(LIMIT_S).ok for future in [*accepted, blocked.result(LIMIT_S)])


def test_images_that_wait_are_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "ROOM_BYTES", 3_000_000)
    large = np.zeros((1000, 1000), np.uint8)
    with gated() as (model, engine):
        accepted, _ = filled(model, large)
        assert len(accepted) <= 3 + 1 + 2 * max(1, engine.slots) + engine.slots


@pytest.mark.parametrize("error", [DeviceError("cpu fails: burnt."), RuntimeError("unforeseen")])
def test_what_the_device_raises_is_raised_where_the_answer_is_asked_for(error: Exception) -> None:
    with Classifier("digits", engine=Fails(error), workers=0) as model:
        for future in [model.submit(gray(1)), model.submit(gray(2))]:
            with pytest.raises(type(error), match=str(error)):
                future.result(LIMIT_S)


def test_an_image_that_does_not_fit_alone_is_told() -> None:
    told = pytest.raises(OutOfMemory, match=r"^there is not enough memory on cpu for one image \(bad allocation\)")
    with Classifier("digits", engine=Fails(MemoryError("bad allocation")), workers=0) as model, told:
        model.submit(gray(1)).result(LIMIT_S)


@pytest.mark.skipif(os.name != "posix", reason="decodes in one process there")
def test_where_no_process_can_be_started_each_image_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    with Classifier("digits", engine=FakeEngine(), workers=2) as model:
        monkeypatch.setattr(os, "pipe", no_more)
        futures = [model.submit(path) for path in GOOD[:3]]
        for future in futures:
            with pytest.raises(ResnestError, match=r"^no process can be started .*Too many open files.*workers=0"):
                future.result(LIMIT_S)


def test_wrong_arguments_are_told_at_once() -> None:
    with Classifier("digits", engine=FakeEngine(), workers=0) as model:
        with pytest.raises(UsageError, match="it names more than one image"):
            model.submit(SAMPLES)
        with pytest.raises(UsageError, match="topk"):
            model.submit(GOOD[0], topk=0)


# --- the end of a model


def test_close_answers_what_was_submitted_and_takes_no_more() -> None:
    with Classifier("digits", workers=1) as model:
        futures = [model.submit(path) for path in GOOD]
    assert all(future.done() and future.result().ok for future in futures)
    with pytest.raises(ResnestError, match=r"^the model is closed\.$"):
        model.submit(GOOD[0])


def test_after_an_exception_what_has_not_begun_is_cancelled() -> None:
    futures: list[Future[Record]] = []

    def fail() -> None:
        with gated() as (model, engine):
            futures.extend(model.submit(gray(100)) for _ in range(10))
            engine.gate.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(future.running() for future in futures)
    with pytest.raises(CancelledError):
        futures[-1].result(LIMIT_S)


def test_a_callback_may_submit_and_close() -> None:
    model, ended = Classifier("digits", engine=FakeEngine(), workers=0), threading.Event()

    def again(_: Future[Record]) -> None:
        model.submit(gray(200)).add_done_callback(end)

    def end(_: Future[Record]) -> None:
        model.close()
        ended.set()

    model.submit(gray(100)).add_done_callback(again)
    assert ended.wait(LIMIT_S)


def test_nobody_closes_it() -> None:
    model = Classifier("digits", engine=FakeEngine(), workers=1)
    assert model.submit(GOOD[0]).result(LIMIT_S).ok
    threads = [thread for thread in threading.enumerate() if thread.name == "resnest dispatch"]
    assert threads
    del model
    gc.collect()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


PROGRAM = """
import os, sys
from resnest_cli import Classifier
model = Classifier("digits", {options})
futures = [model.submit(name) for name in sys.argv[1:] * 20]
print(futures[0].result().top1.label)
"""


@pytest.mark.parametrize("options", ["workers=2", "workers=0"])
def test_a_program_that_ends_without_a_word_ends(options: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(options=options), *map(str, GOOD)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{GOOD[0].name.partition('_')[0]}\n", "")


FORK = """
import os, sys
from resnest_cli import Classifier
model = Classifier("digits", workers=1, engine={engine!r})
def answers():
    names = sys.argv[1:]
    records = [model(names[0]), model.submit(names[1]).result(), *model.predict(names)]
    return [record.top1.label for record in records]
expected, child = answers(), os.fork()
if not child:
    try:
        assert answers() == expected
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert answers() == expected
"""
NO_FORK = "torch does not survive a fork: open the model in the process that uses it.\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks there")
@pytest.mark.parametrize(("engine", "said"), [("openvino", ""), ("torch", NO_FORK)])
def test_a_fork_of_the_process_has_answers_or_is_told_why_not(engine: str, said: str) -> None:
    command = [sys.executable, "-c", FORK.format(engine=engine), *map(str, GOOD)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")


def test_asyncio_waits_for_futures() -> None:
    async def labels(model: Classifier) -> list[str]:
        records = await asyncio.gather(*(asyncio.wrap_future(model.submit(path)) for path in GOOD))
        return [label(record) for record in records]

    with Classifier("digits", workers=1) as model:
        assert asyncio.run(labels(model)) == [path.name.partition("_")[0] for path in GOOD]


# --- many threads


ANSWERS = 300


@pytest.mark.slow
def test_thirty_two_threads_ten_thousand_images_and_workers_that_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mixed images, one in ten broken, while workers are killed again and again: all settle, with right answers.

    A worker is killed after `ANSWERS` since its start: an image that is lost twice would be taken for a deadly one.
    """
    before, answered, kills = requests_in_memory(), dict[pool.Worker, int](), list[int]()
    begin, result = pool.Worker._start, pool.Worker.result  # noqa: SLF001 - to know the processes

    def noted(worker: pool.Worker) -> None:
        answered[worker] = 0
        begin(worker)

    def counted(worker: pool.Worker) -> Any:  # noqa: ANN401 - as it returns
        try:
            return result(worker)
        finally:
            answered[worker] += 1

    monkeypatch.setattr(pool.Worker, "_start", noted)
    monkeypatch.setattr(pool.Worker, "result", counted)
    (tmp_path / "broken.png").write_bytes(GOOD[0].read_bytes()[:100])
    kinds: list[tuple[str, Any]] = [("TruncatedImage", tmp_path / "broken.png")]
    for kind in (Path, Path.read_bytes, array):
        kinds += [(path.name.partition("_")[0], kind(path)) for path in GOOD]
    with Classifier("digits", workers=2) as model:
        expected = {name: label(next(model.predict([image]))) for name, image in kinds}
        assert all(name == answer for name, answer in expected.items())
        over, wrong = threading.Event(), list[tuple[str, "Record"]]()

        def kill() -> None:
            while not over.wait(0.01):
                for worker in [worker for worker, count in list(answered.items()) if count >= ANSWERS]:
                    answered[worker] = 0
                    worker._process.kill()  # noqa: SLF001 - as above
                    kills.append(worker._process.pid)  # noqa: SLF001 - as above

        def ask(seed: int) -> None:
            draw = random.Random(seed)  # noqa: S311 - which image is asked about
            asked = [draw.choice(kinds[1:]) if draw.random() > 0.1 else kinds[0] for _ in range(313)]
            futures = [(name, model.submit(image)) for name, image in asked]
            wrong.extend((name, record) for name, future in futures if label(record := future.result(LIMIT_S)) != name)

        killing = threading.Thread(target=kill)
        killing.start()
        try:
            with ThreadPoolExecutor(32) as threads:
                list(threads.map(ask, range(32)))
        finally:
            over.set()
            killing.join()
        assert wrong == []
        assert len(set(kills)) > 4
        assert requests_in_memory() == before  # nothing of ten thousand is kept
    assert not [thread for thread in threading.enumerate() if thread.name == "resnest dispatch"]
