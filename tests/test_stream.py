"""The stream keeps order and place, reads ahead a little and no more, and survives bad images."""

from __future__ import annotations

import threading
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnest_cli import FakeEngine
from resnest_cli.errors import BrokenImage
from resnest_cli.stream import AHEAD_PER_WORKER, MAX_FAILURES_A_BATCH, Pixels, Row, decode, infer
from resnest_cli.types import Failure, Source

BAD = Failure("bad", "BrokenImage", "it does not decode.")
Image = NDArray[np.uint8]


def grey(source: Source) -> Image:
    """Make the picture that FakeEngine gives the class that `source` is named after."""
    if source.path == "bad":
        raise BrokenImage("it does not decode.")
    return np.full((32, 32, 3), 26 * int(source.path), np.uint8)


def answers(names: list[str], batch: int, workers: int) -> list[str]:
    decoded = decode(map(Source, names), grey, workers)
    rows = list(infer(decoded, FakeEngine(), batch))
    assert [row.path for row in rows] == names
    return ["bad" if isinstance(row, Failure) else str(row.values.argmax()) for row in rows]


@given(
    names=st.lists(st.sampled_from([*"0123456789", "bad"]), max_size=40),
    batch=st.integers(1, 9),
    workers=st.integers(0, 3),
)
def test_every_row_is_that_of_its_own_input(names: list[str], batch: int, workers: int) -> None:
    assert answers(names, batch, workers) == names


def test_batches_are_full_but_for_the_last_and_failures_take_no_room() -> None:
    engine = FakeEngine()
    names = [*"12", "bad", *"34567", "bad"]
    list(infer(decode(map(Source, names), grey, 0), engine, 3))
    assert engine.batch_sizes == [3, 3, 1]


def test_failures_found_with_the_sources_keep_their_place() -> None:
    items: list[Source | Failure] = [Source("1"), BAD, Source("2")]
    assert [item.path for item in infer(decode(items, grey, 2), FakeEngine(), 8)] == ["1", "bad", "2"]


def test_a_folder_of_nothing_but_bad_files_gives_records_as_it_goes() -> None:
    endless = decode((Source("bad") for _ in count()), grey, 0)
    rows = infer(endless, FakeEngine(), 8)
    assert [next(rows) for _ in range(MAX_FAILURES_A_BATCH + 1)] == [BAD] * (MAX_FAILURES_A_BATCH + 1)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_look_ahead_is_bounded(workers: int) -> None:
    taken = count()
    stream = decode((Source("1") for _ in taken), grey, workers)
    assert isinstance(next(stream), Pixels)
    assert next(taken) <= max(1, workers * AHEAD_PER_WORKER)
    stream.close()  # type: ignore[attr-defined]


def test_a_consumer_that_stops_early_leaves_no_threads() -> None:
    stream = decode((Source("1") for _ in count()), grey, 2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("resnest-decode")]


def test_an_error_that_is_no_image_error_is_not_hidden() -> None:
    def broken(source: Source) -> Image:
        raise ZeroDivisionError(source.path)

    with pytest.raises(ZeroDivisionError):
        list(decode([Source("1")], broken, 2))


def test_a_row_carries_the_engines_numbers() -> None:
    (row,) = infer(decode([Source("3")], grey, 0), FakeEngine(), 1)
    assert isinstance(row, Row)
    assert row.values.dtype == np.float32
    assert row.values.tolist() == [0, 0, 0, 20, 0, 0, 0, 0, 0, 0]
