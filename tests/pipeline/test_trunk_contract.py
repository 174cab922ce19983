"""The contract of every trunk, kept by this machine's: for jobs, and for sources that come slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from contract import Contract, LittleMemory, Opened

from resnest_cli.models.catalog import resolve
from resnest_cli.pipeline import dispatch, trunk
from resnest_cli.pipeline.trunk import Trunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli import Options


@pytest.fixture(params=[False, True], ids=["job", "live"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Open trunks, and close them at the end."""
    trunks: list[Trunk] = []

    def open_one(options: Options, *, little_memory: bool = False) -> Trunk:
        engine = LittleMemory() if little_memory else None
        trunks.append(Trunk(resolve(options), options, engine=engine, live=request.param))
        return trunks[-1]

    yield open_one
    for one in trunks:
        one.close()


class TestThisMachine(Contract):
    """Reads ahead what waits for the workers, for the network and for the reader."""

    ahead = dispatch.ROOM + trunk.AHEAD
    takes_images = True
