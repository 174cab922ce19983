"""Watched folders, in a world whose time passes only while it is waited: no test here waits itself."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_cli.errors import UsageError
from resnest_cli.inputs import watching
from resnest_cli.inputs.notified import Notified
from resnest_cli.inputs.watching import PATIENCE_S, SETTLE_S, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD = 1_700_000_000


class Over(Exception):
    """The world has ended."""


@dataclass
class World:
    """A clock, what happens at which time, and whether the system tells of it."""

    now: float = 1000.0
    happens: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    tells: bool = True
    end: float = 0.0

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self.happens.append((1000.0 + seconds, action))

    def wait(self, seconds: float) -> bool:
        """Let time pass, up to the next event."""
        until = self.now + seconds
        if self.happens and self.happens[0][0] <= until:
            self.now, action = self.happens.pop(0)
            action()
            return self.tells
        if not self.happens and until > self.end:
            raise Over
        self.now = until
        return False

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def watch(self, folder: Path, patch: pytest.MonkeyPatch, after: float = 200.0) -> tuple[Watch, Iterator[str]]:
        """Return a watch in this world, which ends some seconds after the last event, and the names that it yields."""
        self.happens.sort(key=lambda event: event[0])
        self.end = max([self.now, *(at for at, _ in self.happens)]) + after
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep, time_ns=time.time_ns)
        patch.setattr(watching, "time", clock)
        patch.setattr(Notified, "__enter__", lambda notified: notified)
        patch.setattr(Notified, "wait", lambda _, seconds: self.wait(seconds))
        watch = Watch([str(folder)])
        return watch, (os.path.basename(source.path) for source in watch.sources())  # noqa: PTH119 - as found


def names(found: Iterator[str]) -> list[str]:
    """Return all names up to the end of the world."""
    got: list[str] = []
    with pytest.raises(Over):
        got.extend(found)
    return got


def put(path: Path, content: str, changed: int | None = None) -> None:
    path.write_text(content)
    if changed:
        os.utime(path, (changed, changed))


def test_what_is_there_comes_at_once_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for name in ("a.png", "b.png", "not.txt"):
        put(tmp_path / name, "x", OLD)
    _, found = world.watch(tmp_path, monkeypatch)
    assert (next(found), next(found), world.now) == ("a.png", "b.png", 1000.0)
    assert names(found) == []


@pytest.mark.parametrize("tells", [True, False], ids=["notified", "looking"])
def test_a_file_comes_when_it_is_at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tells: bool) -> None:
    world = World(tells=tells)
    for piece in range(10):
        world.at(5 + 0.6 * piece, lambda piece=piece: put(tmp_path / "a.png", "x" * (piece + 1)))  # type: ignore[misc] # its own
    _, found = world.watch(tmp_path, monkeypatch)
    assert next(found) == "a.png"
    assert (tmp_path / "a.png").read_text() == "x" * 10
    assert SETTLE_S <= world.now - 1010.4 < SETTLE_S + 3 * watching.LOOK_S
    assert names(found) == []


def test_a_file_that_changes_comes_again_and_one_that_goes_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    put(tmp_path / "a.png", "x", OLD)
    world.at(10, lambda: put(tmp_path / "a.png", "xy"))
    world.at(20, lambda: put(tmp_path / "b.png", "x"))
    world.at(20.5, (tmp_path / "b.png").unlink)
    world.at(30, lambda: (tmp_path / "a.png").rename(tmp_path / "c.png"))
    _, found = world.watch(tmp_path, monkeypatch)
    assert names(found) == ["a.png", "a.png", "c.png"]


def test_a_file_that_cannot_be_read_comes_again_after_some_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    put(tmp_path / "a.png", "x", OLD)
    watch, found = world.watch(tmp_path, monkeypatch)
    path = str(tmp_path / next(found))
    assert watch.hold(path)
    assert (next(found), world.now >= 1000 + PATIENCE_S) == ("a.png", True)
    assert not watch.hold(path)  # it is as it was: that is its last word
    assert names(found) == []


def test_a_file_that_went_before_it_was_read_has_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    put(tmp_path / "a.png", "x", OLD)
    put(tmp_path / "b.png", "x", OLD)
    watch, found = world.watch(tmp_path, monkeypatch)
    assert (next(found), next(found)) == ("a.png", "b.png")
    (tmp_path / "a.png").unlink()
    assert watch.hold(str(tmp_path / "a.png"))
    world.happens.append((1100.0, lambda: put(tmp_path / "a.png", "again")))
    assert names(found) == ["a.png"]
    assert watch.hold(str(tmp_path / "a.png"))


def test_idle_looks_take_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, looks = World(), []

    def slow(_: Watch, *, is_first: bool) -> None:  # noqa: ARG001 - as the method
        looks.append(world.now)
        world.now += 0.1

    monkeypatch.setattr(Watch, "_look", slow)
    _, found = world.watch(tmp_path, monkeypatch, after=1000)
    assert names(found) == []
    assert len(looks) * 0.1 / 1000 < 0.006


gap = st.floats(0.05, 40.0)


@settings(deadline=None, max_examples=80)
@given(
    pieces=st.lists(st.lists(gap, min_size=1, max_size=4), min_size=1, max_size=5),
    renamed=st.booleans(),
    tells=st.booleans(),
)
def test_whatever_the_pauses_of_a_copy_no_part_of_it_counts(
    tmp_path_factory: pytest.TempPathFactory, *, pieces: list[list[float]], renamed: bool, tells: bool
) -> None:
    folder, world = tmp_path_factory.mktemp("watched"), World(tells=tells)
    whole = {}
    for number, gaps in enumerate(pieces):
        path = folder / f"{number}.png"
        writes = folder / f"{number}.png.part" if renamed else path
        at = 0.0
        for size, seconds in enumerate(gaps, 1):
            at += seconds
            world.at(at, lambda writes=writes, size=size: put(writes, "x" * size))  # type: ignore[misc] # its own
        if renamed:
            world.at(at, lambda writes=writes, path=path: writes.rename(path))  # type: ignore[misc] # its own
        whole[path.name] = len(gaps)
    with pytest.MonkeyPatch.context() as patch:
        watch, found = world.watch(folder, patch)
        good, bad = [], []
        with suppress(Over):
            for name in found:
                if len((folder / name).read_text()) == whole[name]:
                    good.append(name)
                elif not watch.hold(str(folder / name)):
                    bad.append(name)
    assert (sorted(good), bad) == (sorted(whole), [])


def test_only_folders_are_watched(tmp_path: Path) -> None:
    put(tmp_path / "a.png", "x")
    for name in ("a.png", "missing"):
        with pytest.raises(UsageError, match="is no folder that is there"):
            Watch([str(tmp_path / name)])


def test_the_system_tells_of_a_new_file(tmp_path: Path) -> None:
    pytest.importorskip("watchdog")
    with Notified([str(tmp_path)], recursive=True) as notified:
        put(tmp_path / "a.png", "x")
        assert notified.wait(30)
