"""The processes that decode live as long as the model, serve one call at a time, and end with it."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES

from resnest_cli import Classifier, FakeEngine, Options
from resnest_cli.inputs import pool
from resnest_cli.inputs.find import find_sources
from resnest_cli.models.catalog import DIGITS, find_model
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.pipeline.stream import Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEC = find_model(DIGITS.name)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="decodes in one process there")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ids of the processes that decode, as they are started."""
    pids: list[int] = []
    begin = pool.Worker._start  # noqa: SLF001 - to know them

    def noted(worker: pool.Worker) -> None:
        begin(worker)
        pids.append(worker._process.pid)  # noqa: SLF001 - as above

    monkeypatch.setattr(pool.Worker, "_start", noted)
    return pids


def opened(workers: int = 2) -> Decoders:
    return Decoders.of(SPEC.data, Options("digits", workers=workers))


def pixels(decoders: Decoders, *, backwards: bool = False) -> list[NDArray[np.uint8]]:
    found = list(find_sources([SAMPLES]))
    images = decoders.images(found[::-1] if backwards else found)
    return [image.values for image in images if isinstance(image, Pixels)]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_calls_after_the_first_start_no_processes(started: list[int]) -> None:
    with Classifier("digits", engine=FakeEngine(), workers=2) as model:
        first = [record.top1.label for record in model.predict([SAMPLES])]
        assert len(started) == 2
        for _ in range(3):
            assert [record.top1.label for record in model.predict([SAMPLES])] == first
        assert len(started) == 2
        assert all(map(is_running, started))
    assert not any(map(is_running, started))


def test_a_lone_image_starts_none(started: list[int]) -> None:
    with Classifier("digits", engine=FakeEngine(), workers=2) as model:
        assert next(model.predict(next(SAMPLES.iterdir()))).ok
    assert started == []


def test_a_call_that_is_left_does_not_disturb_the_next(started: list[int]) -> None:
    with opened() as decoders:
        expected = pixels(decoders)
        left = decoders.images(find_sources([SAMPLES]))
        next(left)
        del left
        np.testing.assert_array_equal(pixels(decoders, backwards=True), expected[::-1])
    assert len(started) == 4
    assert not any(map(is_running, started))


def test_calls_from_several_threads_do_not_mix() -> None:
    with opened(1) as decoders:
        expected = pixels(decoders)
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda at: pixels(decoders, backwards=at % 2 == 0), range(12)))
    for at, images in enumerate(found):
        np.testing.assert_array_equal(images, expected[::-1] if at % 2 == 0 else expected)


def test_processes_end_with_what_nobody_closes(started: list[int]) -> None:
    decoders = opened()
    pixels(decoders)
    assert all(map(is_running, started))
    del decoders
    gc.collect()
    assert not any(map(is_running, started))


def test_a_fork_leaves_the_processes_alone_and_has_its_own(started: list[int]) -> None:
    decoders = opened(1)
    expected = pixels(decoders)
    child = os.fork()
    if not child:
        try:
            np.testing.assert_array_equal(pixels(decoders), expected)
            decoders.close()
            assert len(started) == 2
        except BaseException:  # noqa: BLE001 - it must not go on as the test
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_running(started[0])
    np.testing.assert_array_equal(pixels(decoders), expected)
    assert len(started) == 1
    decoders.close()
