"""Batches on an engine, in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from resnest_cli.engines import window
from resnest_cli.engines.base import Fetched
from resnest_cli.engines.fake import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray


class Noted(FakeEngine):
    """Notes what happens; a batch is known by its length."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots, self.done = slots, list[str]()

    def prepare(self, *, single: bool) -> None:
        self.done.append("single" if single else "several")

    def submit(self, batch: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        self.done.append(f"begin {len(batch)}")
        return Fetched(partial(self.answer, batch))

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.done.append(f"wait {len(batch)}")
        return super().answer(batch)


def batches(count: int) -> Iterator[NDArray[np.uint8]]:
    for size in range(1, count + 1):
        yield np.zeros((size, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("slots", "done"),
    [
        (1, ["begin 1", "wait 1", "begin 2", "wait 2", "begin 3", "wait 3"]),
        (2, ["begin 1", "begin 2", "wait 1", "begin 3", "wait 2", "wait 3"]),
        (3, ["begin 1", "begin 2", "begin 3", "wait 1", "wait 2", "wait 3"]),
    ],
)
def test_as_many_batches_are_under_way_as_the_engine_has_slots(slots: int, done: list[str]) -> None:
    engine = Noted(slots)
    assert [len(rows) for rows in window.rows(engine, batches(3))] == [1, 2, 3]
    assert engine.done == ["several", *done]


def test_one_batch_is_no_long_job() -> None:
    engine = Noted(2)
    assert [len(rows) for rows in window.rows(engine, batches(1))] == [1]
    assert list(window.rows(engine, [])) == []
    assert engine.done == ["single", "begin 1", "wait 1", "single"]


def test_an_answer_is_fetched_once_and_an_error_is_raised_as_often_as_it_is_asked_for() -> None:
    asked: list[int] = []

    def fetch() -> Any:  # noqa: ANN401 - any
        asked.append(1)
        raise MemoryError("no room")

    future = Fetched(fetch)
    assert not future.done()
    for _ in range(2):
        with pytest.raises(MemoryError, match="no room"):
            future.result()
    assert (asked, future.done()) == ([1], True)
