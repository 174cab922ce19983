"""The stream keeps order and place, reads ahead a little and no more, and survives bad images and a lack of memory."""

from __future__ import annotations

import pickle
import threading
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES
from hypothesis import given
from hypothesis import strategies as st
from loads import DECODE_S, READ_S, ByName

from resnest_cli import Classifier, FakeEngine
from resnest_cli.errors import ExitCode, OutOfMemory, ResnestError
from resnest_cli.inputs.loading import Loaded, Loader
from resnest_cli.pipeline.stream import MAX_FAILURES_PER_BATCH, Decoded, Pixels, Row, decode, infer
from resnest_cli.types import Failure, Source, Stages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

BAD = Failure("bad", "BrokenImage", "it does not decode.")
NAMES = st.lists(st.sampled_from([*"0123456789", "bad"]), max_size=40)


def decoded(names: Iterable[str]) -> Iterator[Decoded]:
    return decode(map(Source, names), ByName())


def answers(rows: Iterable[Row | Failure]) -> list[str]:
    """Return the class of each row, which is its name if no row has moved."""
    return ["bad" if isinstance(row, Failure) else str(row.values.argmax()) for row in rows]


@given(names=NAMES, batch=st.integers(1, 9))
def test_every_row_is_that_of_its_own_input(names: list[str], batch: int) -> None:
    rows = list(infer(decoded(names), FakeEngine(), batch))
    assert [row.path for row in rows] == names
    assert answers(rows) == names


def test_batches_are_full_but_for_the_last_and_failures_take_no_room() -> None:
    engine = FakeEngine()
    list(infer(decoded([*"12", "bad", *"34567", "bad"]), engine, 3))
    assert engine.batch_sizes == [3, 3, 1]


def test_failures_found_with_the_sources_keep_their_place() -> None:
    items: list[Source | Failure] = [Source("1"), BAD, Source("2")]
    assert [item.path for item in infer(decode(items, ByName()), FakeEngine(), 8)] == ["1", "bad", "2"]


def test_a_folder_of_nothing_but_bad_files_gives_records_as_it_goes() -> None:
    rows = infer(decoded("bad" for _ in count()), FakeEngine(), 8)
    assert [next(rows) for _ in range(MAX_FAILURES_PER_BATCH + 1)] == [BAD] * (MAX_FAILURES_PER_BATCH + 1)


def test_in_this_process_nothing_is_read_ahead() -> None:
    taken = count()
    stream = decode((Source("1") for _ in taken), ByName())
    assert isinstance(next(stream), Pixels)
    assert next(taken) == 1


def test_an_error_that_nobody_foresaw_is_its_images_own_and_not_hidden() -> None:
    before, bug, after = decoded(["1", "bug", "2"])
    assert not isinstance(before, Failure)
    assert isinstance(bug, Failure)
    assert (bug.path, bug.type) == ("bug", "UnreadableInput")
    assert bug.message.startswith("a bug of this program, please report it: ZeroDivisionError: ")
    assert not isinstance(after, Failure)


def test_a_row_carries_the_engines_numbers() -> None:
    (row,) = infer(decoded(["3"]), FakeEngine(), 1)
    assert isinstance(row, Row)
    assert row.values.dtype == np.float32
    assert row.values.tolist() == [0, 0, 0, 20, 0, 0, 0, 0, 0, 0]


# --- time


def test_the_time_of_each_stage_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("resnest_cli.pipeline.stream.time.perf_counter", lambda: now[0])

    class Takes(FakeEngine):
        def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            now[0] += 10
            return super().answer(batch)

    def found() -> Iterator[Source]:
        for name in [*"12345", "bad"]:
            now[0] += 1  # not the engine's
            yield Source(name)

    stages = Stages()
    for _ in infer(decode(found(), ByName(), stages=stages), Takes(), 2, stages):
        now[0] += 100  # nor is what becomes of a row
    assert stages == Stages(read=5 * READ_S, decode=5 * DECODE_S, forward=3 * 10)


class Waits(ByName):
    """Loads "slow" when it is let."""

    go_on = threading.Event()

    def __call__(self, source: Source) -> Loaded:
        """Load one."""
        if source.path == "slow":
            self.go_on.wait()
        return super().__call__(Source("1"))


def test_the_deadline_holds_in_this_process_too() -> None:
    first, slow, last = decode(map(Source, ["1", "slow", "1"]), Waits(), timeout=0.2)
    Waits.go_on.set()
    assert isinstance(first, Pixels)
    assert slow == Failure("slow", "DecodeTimeout", "not decoded within 0.2 s; --timeout sets the limit.")
    assert isinstance(last, Pixels)


# --- answers


class Overflows(FakeEngine):
    """Has no number for pictures of class 3, and an infinite one for those of class 5."""

    precision = "fp16"

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Answer as fp16 does where it overflows."""
        rows = super().answer(batch)
        rows[rows[:, 3] > 0] = np.nan
        rows[rows[:, 5] > 0, 0] = -np.inf
        return rows


def test_an_answer_that_is_no_number_is_a_failure_and_its_neighbours_stay() -> None:
    rows = list(infer(decoded(["2", "3", "bad", "5", "4"]), Overflows(), 8))
    assert [row.path for row in rows] == ["2", "3", "bad", "5", "4"]
    assert answers(rows) == ["2", "bad", "bad", "bad", "4"]
    message = "the model answers NaN or infinity in fp16: try --precision fp32."
    assert rows[1] == Failure("3", "NotANumber", message)
    assert rows[3] == Failure("5", "NotANumber", message)


# --- memory


class Small(FakeEngine):
    """Has memory for so many images at once, and tells as its kind of engine would."""

    def __init__(self, room: int, *, slots: int, at_once: bool = False, error: type[Exception] = OutOfMemory) -> None:
        super().__init__()
        self.room, self.slots, self.at_once, self.error = room, slots, at_once, error

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Fail at once where a batch is too large, or when its rows are asked for."""
        if self.at_once:
            self.check(batch)
        return super().submit(batch)

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run one batch."""
        self.check(batch)
        return super().answer(batch)

    def check(self, batch: NDArray[np.uint8]) -> None:
        """Fail if there is no room for a batch."""
        if len(batch) > self.room:
            raise self.error("no more")


@given(names=NAMES, batch=st.integers(1, 20), room=st.integers(1, 9), slots=st.integers(1, 4), at_once=st.booleans())
def test_out_of_memory_the_batch_shrinks_and_every_row_still_comes(
    names: list[str], batch: int, room: int, slots: int, *, at_once: bool
) -> None:
    engine = Small(room, slots=slots, at_once=at_once)
    rows = list(infer(decoded(names), engine, batch))
    assert [row.path for row in rows] == names
    assert answers(rows) == names
    assert max(engine.batch_sizes, default=0) <= room


def test_a_batch_that_was_too_large_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "resnest_cli")
    engine = Small(3, slots=2, error=MemoryError)
    assert answers(infer(decoded("123456789012"), engine, 8)) == [*"123456789012"]
    assert engine.batch_sizes == [2, 2, 2, 2, 2, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory: continuing with batches of 4",
        "out of memory: continuing with batches of 2",
    ]


def test_where_not_even_one_image_fits_the_job_ends_in_words() -> None:
    rows = infer(decoded(["bad", "1"]), Small(0, slots=1), 8)
    with pytest.raises(
        OutOfMemory, match=r"not enough memory on cpu for one image \(no more\): try a smaller img_size"
    ):
        list(rows)
    assert OutOfMemory.exit_code == ExitCode.FAILED


def test_a_lack_of_memory_elsewhere_loses_no_row_in_silence() -> None:
    def found() -> Iterator[Source]:
        yield Source("1")
        raise MemoryError("names")

    with pytest.raises(ResnestError, match=r"not enough memory to find and decode images \(names\)"):
        list(infer(decode(found(), ByName()), FakeEngine(), 8))


def test_the_batch_shrinks_below_the_command_too() -> None:
    engine = Small(3, slots=3)
    records = list(Classifier("digits", engine=engine, batch=8, workers=0).predict([SAMPLES]))
    assert [record.status for record in records] == ["ok"] * len(list(SAMPLES.iterdir()))


def test_a_loader_travels_to_a_worker() -> None:
    load = Loader(FakeEngine().spec.data, exif=True, max_pixels=1000)
    assert pickle.loads(pickle.dumps(load)) == load  # noqa: S301 - our own
