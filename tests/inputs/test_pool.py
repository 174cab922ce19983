"""Worker processes: what one of them suffers costs one image at most, and none outlives the command."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import SAMPLES
from loads import ByName, Frail, Hungry

from resnest_cli import FakeEngine
from resnest_cli.errors import ResnestError
from resnest_cli.inputs.loading import Check, Loader
from resnest_cli.inputs.pool import MAX_STARTS, Pool
from resnest_cli.pipeline import stream
from resnest_cli.pipeline.stream import Pixels, decode_in_pool, infer
from resnest_cli.system import processes
from resnest_cli.types import DataConfig, Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from conftest import Shell

    from resnest_cli.pipeline.stream import Decoded

LONG_S = 50.0


def started(workers: int = 2, timeout: float = LONG_S) -> Pool:
    return Pool(ByName(), workers, timeout=timeout, large=ByName(lenient=True))


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    """Start one pool for the tests that leave its workers as they are: a worker takes 0.3 CPU seconds to start."""
    with started() as pool:
        yield pool


def through(pool: Pool, names: Iterable[str], ahead: int = 8) -> list[Decoded]:
    return list(decode_in_pool(pool, map(Source, names), ByName(), ahead))


def run(names: Iterable[str], workers: int = 2, timeout: float = LONG_S) -> list[Decoded]:
    """Load in a pool of its own."""
    with started(workers, timeout) as pool:
        return through(pool, names)


def outcomes(decoded: Iterable[Decoded]) -> list[str]:
    return [item.type if isinstance(item, Failure) else str(item.values.flat[0] // 26) for item in decoded]


@pytest.mark.parametrize("workers", [1, 3])
def test_order_and_place_are_kept_for_any_number_of_workers(workers: int) -> None:
    names = [*"0123456789", "bad", *"42", "bad", *"7"] * 5
    with started(workers) as pool:
        for ahead in (1, 7):
            decoded = through(pool, names, ahead)
            assert [item.path for item in decoded] == names
            rows = infer(decoded, FakeEngine(), 4)
            assert ["bad" if isinstance(row, Failure) else str(row.values.argmax()) for row in rows] == names


def test_a_worker_that_dies_costs_the_image_it_was_at() -> None:
    decoded = run([*"123", "killed", *"456", "crash", *"78"])
    assert outcomes(decoded) == ["1", "2", "3", "WorkerDied", "4", "5", "6", "WorkerDied", "7", "8"]
    for place, name, signal_number in ((3, "killed", 9), (7, "crash", 11)):
        message = f"it crashed the process that decoded it, 2 times (signal {signal_number})."
        assert decoded[place] == Failure(name, "WorkerDied", message)


def test_an_image_whose_worker_was_killed_for_no_fault_of_its_own_gets_another(tmp_path: Path) -> None:
    assert outcomes(run([*"12", f"unlucky:{tmp_path}/mark", *"34"])) == ["1", "2", "9", "3", "4"]
    assert (tmp_path / "mark").exists()


def test_a_worker_that_is_killed_before_it_is_ready_costs_no_image(tmp_path: Path) -> None:
    with Pool(Frail(place=str(tmp_path), times=MAX_STARTS - 1), 1, timeout=LONG_S) as pool:
        assert outcomes(decode_in_pool(pool, map(Source, "12"), ByName(), 2)) == ["1", "2"]
    with (
        Pool(Frail(place=str(tmp_path), times=100), 1, timeout=LONG_S) as pool,
        pytest.raises(
            ResnestError, match=r"^the processes that decode images do not start \(signal 9\): use workers=0"
        ),
    ):
        list(decode_in_pool(pool, map(Source, "12"), ByName(), 2))


@pytest.mark.slow
def test_killed_again_and_again_the_workers_lose_nothing(tmp_path: Path) -> None:
    names = [name for i in range(25) for name in (str(i % 10), f"pid:{tmp_path}/{i % 2}")]
    seen = []
    with Pool(ByName(), 2, timeout=LONG_S) as decoders:
        for i, item in enumerate(decode_in_pool(decoders, map(Source, names), ByName(), 8)):
            seen.append(item)
            if i % 10 == 5:  # whatever it is at: reading, writing, waiting
                os.kill(int((tmp_path / str(i // 10 % 2)).read_text()), signal.SIGKILL)
                (tmp_path / str(i // 10 % 2)).write_text("")
    assert [item.path for item in seen] == names
    assert all(isinstance(item, Pixels) for item in seen)


@pytest.mark.slow
def test_what_takes_too_long_is_given_up_and_its_worker_replaced() -> None:
    decoded = run([*"12", "slow", *"34"], timeout=1.0)
    assert outcomes(decoded) == ["1", "2", "DecodeTimeout", "3", "4"]
    assert decoded[2] == Failure("slow", "DecodeTimeout", "not decoded within 1 s; --timeout sets the limit.")


@pytest.mark.slow
def test_a_worker_that_reads_no_more_is_given_up_too_though_images_are_on_their_way_to_it() -> None:
    names = [*"12", "stopped", *"3456"]
    with started(workers=1, timeout=1.0) as pool:
        decoded = list(decode_in_pool(pool, (Source(name, content=bytes(4 << 20)) for name in names), ByName(), 8))
    assert outcomes(decoded) == ["1", "2", "DecodeTimeout", "3", "4", "5", "6"]


@pytest.mark.parametrize("load", [Loader(DataConfig(), exif=True, max_pixels=1000), Check(max_pixels=1000)])
def test_what_takes_too_much_memory_costs_its_own_row(load: Loader | Check) -> None:
    with Pool(Hungry(load), 1, timeout=LONG_S) as decoders:
        decoded = list(decode_in_pool(decoders, map(Source, ("1", "hungry", "2")), ByName(), 8))
    assert outcomes(decoded) == ["1", "ImageTooLarge", "2"]
    assert decoded[1] == Failure("hungry", "ImageTooLarge", "not enough memory to read it.")


def test_large_images_are_decoded_alone_and_keep_their_place(shared: Pool) -> None:
    assert outcomes(through(shared, ["1", "large", "large", "2", "bad", "large", "3"])) == [
        *("1", "9", "9", "2", "BrokenImage", "9", "3")
    ]
    with Pool(ByName(), 1, timeout=LONG_S) as decoders:
        assert outcomes(decode_in_pool(decoders, [Source("large"), Source("1")], ByName(), 2)) == ["ImageTooLarge", "1"]


def test_what_decoders_print_confuses_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    assert outcomes(run(["1", "chatty", "2"], 1)) == ["1", "9", "2"]
    assert capfd.readouterr() == ("", "")


def test_look_ahead_is_bounded() -> None:
    taken = count()
    with started(1) as pool:
        stream = decode_in_pool(pool, (Source("1") for _ in taken), ByName(), 6)
        next(stream)
        assert next(taken) == 6


def test_look_ahead_is_bounded_in_bytes_of_images_that_sources_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BYTES_AHEAD", 100)
    taken = count()
    with started(1) as pool:
        found = decode_in_pool(pool, (Source("1", content=bytes(40)) for _ in taken), ByName(), 6)
        next(found)
        assert next(taken) == 3
    with started(1) as pool:
        large = [Source(name, content=bytes(200)) for name in "123"]
        assert outcomes(decode_in_pool(pool, large, ByName(), 6)) == ["1", "2", "3"]


def test_an_error_that_nobody_foresaw_is_its_images_own_and_not_hidden(shared: Pool) -> None:
    found = through(shared, ["1", "bug", "2"])
    assert outcomes(found) == ["1", "UnreadableInput", "2"]
    assert isinstance(found[1], Failure)
    assert found[1].message == "a bug of this program, please report it: ZeroDivisionError: bug."


def test_workers_load_no_framework_and_no_script(shared: Pool, tmp_path: Path) -> None:
    through(shared, [f"modules:{tmp_path}/names"])
    loaded = set((tmp_path / "names").read_text().splitlines())
    assert not loaded & {"torch", "timm", "openvino", "click", "rich", "requests", "pytest", "resnest_cli.engines"}


def test_where_no_process_starts_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ResnestError, match=r"^no process can be started .*: use workers=0 to decode in this process\."):
        run(["1"])
    monkeypatch.undo()
    monkeypatch.setattr(processes, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ResnestError, match=r"do not start \(exit code 3\): use workers=0 to decode in this process\.$"):
        run(["1"])


PARENT = """
import sys
from loads import ByName, Hungry
from resnest_cli.inputs.pool import Pool
from resnest_cli.pipeline.stream import decode_in_pool
from resnest_cli.types import Source
pids = sys.argv[1]
def found():
    yield Source(f"pid:{pids}")
    yield Source("slow")
for _ in decode_in_pool(Pool(ByName(), 1, timeout=100), found(), ByName(), 2):
    print("decoded", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no way to wait for a process that is no child")
def test_workers_leave_with_a_parent_that_was_killed_also_when_they_are_busy(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, pids], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"decoded\n"  # so the worker is at the next
        worker = os.pidfd_open(int(pids.read_text()))
        parent.kill()
    ended = select.poll()
    ended.register(worker, select.POLLIN)
    assert ended.poll(LONG_S * 1000), "the worker lives on"
    os.close(worker)


SCRIPT = f"""
from resnest_cli import Classifier, FakeEngine
print("run")
for record in Classifier("digits", engine=FakeEngine(), workers=2).predict({str(SAMPLES)!r}):
    print(record.status)
"""


def test_a_script_without_a_main_guard_is_run_once(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = shell(sys.executable, tmp_path / "script.py")
    assert done.stdout.decode().split() == ["run"] + ["ok"] * len(list(SAMPLES.iterdir()))
    assert done.stderr == b""


def test_pixels_are_the_same_from_worker_and_from_here(shared: Pool) -> None:
    (far,) = through(shared, ["7"])
    assert isinstance(far, Pixels)
    np.testing.assert_array_equal(far.values, ByName()(Source("7")).values)
