"""The contract of every trunk, kept by a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import contract
import pytest
from clusters import ray_cluster
from contract import Contract, LittleMemory, Opened

from resnest_cli.cluster import trunk
from resnest_cli.cluster.trunk import RayTrunk
from resnest_cli.models.catalog import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli import Engine, Options

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install 'resnest-cli[ray]'")

WAVE = 40  # inputs
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@dataclass
class Small:
    """What an actor opens an engine with little memory from."""

    spec: Any
    options: Options

    def open(self, cores: int) -> Engine:
        """Open it."""
        del cores
        return LittleMemory(self.spec)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a node."""
    folder = tmp_path_factory.mktemp("cluster")
    env = {"RESNEST_CACHE": str(folder / "cache"), "RAY_AUTH_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    with ray_cluster(folder, 3, **env) as found:
        yield found


@pytest.fixture
def opened(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Open trunks on the cluster, and close them at the end."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(trunk, "WAVE", WAVE)
    trunks: list[RayTrunk] = []

    def open_one(options: Options, *, little_memory: bool = False) -> RayTrunk:
        spec = resolve(options)
        if little_memory:
            for module in (contract, __import__(__name__)):
                ray.cloudpickle.register_pickle_by_value(module)
            monkeypatch.setattr(trunk, "Parcel", SimpleNamespace(of=lambda *_: Small(spec, options)))
        trunks.append(RayTrunk(spec, options, address=address))
        return trunks[-1]

    yield open_one
    for one in trunks:
        one.close()


class TestCluster(Contract):
    """Reads ahead the names of a wave."""

    ahead = WAVE
    takes_images = False
