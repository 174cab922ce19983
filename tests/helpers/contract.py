"""What every trunk owes: one row per input, in order, whatever the inputs are and wherever the rows are computed."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from conftest import SAMPLES
from PIL import Image

from resnest_cli import FakeEngine, Options
from resnest_cli.pipeline.stream import Row
from resnest_cli.types import Failure, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from resnest_cli.pipeline.trunk import Runner

ROOM = 3
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class LittleMemory(FakeEngine):
    """Has room for three images."""

    def answer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Answer, or run out of memory."""
        if len(batch) > ROOM:
            raise MemoryError("bad allocation")
        return super().answer(batch)


class Opened(Protocol):
    """Opens a trunk of the digits model; the test ends it."""

    def __call__(self, options: Options, *, little_memory: bool = False) -> Runner: ...


def gray(path: Path, level: int) -> Source:
    """Write a picture of one gray level; `FakeEngine` answers with the class level / 25.6."""
    Image.new("L", (32, 32), level).save(path)
    return Source(str(path))


class Contract:
    """The tests; a subclass has a fixture `opened`, and says how far its trunk reads ahead."""

    ahead: int
    takes_images: bool  # that are in memory

    def test_each_input_has_its_row_in_its_place(self, opened: Opened, tmp_path: Path) -> None:
        (tmp_path / "cut.png").write_bytes(next(SAMPLES.iterdir()).read_bytes()[:100])
        lost, found_so = Source(str(tmp_path / "lost.png")), Failure("empty/", "NoImages", "no images in this folder.")
        cut = Source(str(tmp_path / "cut.png"))
        good = [Source(str(path)) for path in sorted(SAMPLES.iterdir())]
        carried = [Source("#1", content=Path(good[0].path).read_bytes())]
        carried += [Source("#2", picture=Image.open(good[1].path).convert("RGB"))]
        carried *= self.takes_images
        asked: list[Source | Failure] = [*good[:5], lost, *carried, found_so, *good[5:], cut, *good[:2]] * 3
        rows = list(opened(Options("digits", workers=2)).rows(asked))
        assert [row.path for row in rows] == [item.path for item in asked]
        expected = {path.path: path.path.rsplit("/", 1)[1].partition("_")[0] for path in good}
        expected |= {"#1": expected[good[0].path], "#2": expected[good[1].path]}
        expected |= {lost.path: "UnreadableInput", "empty/": "NoImages", cut.path: "TruncatedImage"}
        answers = [row.type if isinstance(row, Failure) else NAMES[row.values.argmax()] for row in rows]
        assert answers == [expected[row.path] for row in rows]

    def test_an_image_that_takes_too_long_costs_no_other(self, opened: Opened, tmp_path: Path) -> None:
        Image.new("L", (11000, 11000)).save(tmp_path / "large.png")
        large, good = Source(str(tmp_path / "large.png")), Source(str(next(SAMPLES.iterdir())))
        rows = list(opened(Options("digits", workers=2, timeout=0.25)).rows([good, large, good, good]))
        assert [getattr(row, "type", "") for row in rows] == ["", "DecodeTimeout", "", ""]
        assert [row.path for row in rows] == [good.path, large.path, good.path, good.path]

    def test_who_leaves_early_has_read_little_and_the_next_call_is_whole(self, opened: Opened) -> None:
        trunk, taken = opened(Options("digits", workers=2)), count()
        good = [Source(str(path)) for path in sorted(SAMPLES.iterdir())]

        def endless() -> Iterator[Source]:
            for number in taken:
                yield good[number % len(good)]

        rows: Any = trunk.rows(endless())
        assert next(rows).path == good[0].path
        rows.close()
        assert next(taken) <= self.ahead
        assert [row.path for row in trunk.rows(good)] == [item.path for item in good]

    def test_where_memory_is_short_the_batches_get_smaller(self, opened: Opened, tmp_path: Path) -> None:
        trunk = opened(Options("digits", workers=0, batch=8), little_memory=True)
        levels = [0, 30, 60, 90, 120, 150, 180, 210, 240] * 4
        found = [gray(tmp_path / f"{level}.png", level) for level in levels]
        rows = list(trunk.rows(found))
        assert [row.path for row in rows] == [item.path for item in found]
        classes = [row.values.argmax() for row in rows if isinstance(row, Row)]
        assert classes == [int(level / 25.6) for level in levels]
