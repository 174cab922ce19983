"""One process among several: who it is, and how they agree.

In: the environment that torchrun or Slurm sets (read by timm). Out: a `Place`, and sums and values shared over all.
With one process nothing is started and everything here is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from timm.utils.distributed import init_distributed_device_so, is_distributed_env
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_elastic

from resnest_cli.engines.pytorch.engine import choose_device
from resnest_cli.errors import DeviceError, ExitCode, TrainingStopped
from resnest_cli.system.processes import command

if TYPE_CHECKING:
    from collections.abc import Sequence

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Place:
    """Where this process stands: its device, its number, and how many there are."""

    device: torch.device
    rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Tell whether this is the process that writes and speaks."""
        return self.rank == 0

    def alone(self) -> Place:
        """Return the place for work that every process does by itself."""
        return Place(self.device, self.rank)


def join(device: str) -> Place:
    """Join the other processes, if the environment names any, and take the device of this one.

    Raises:
        DeviceError: `device` is not there.
    """
    chosen, _ = choose_device(device)
    if not is_distributed_env():
        return Place(chosen)
    joined = init_distributed_device_so(device=chosen.type)
    return Place(torch.device(joined["device"]), joined["global_rank"], joined["world_size"])


def leave() -> None:
    """End the group, if there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def summed(place: Place, values: torch.Tensor) -> torch.Tensor:
    """Add up `values` over all processes; the same shape and dtype, on the CPU."""
    if place.processes == 1:
        return values.cpu()
    total = values.to(place.device)
    distributed.all_reduce(total)
    return total.cpu()


def shared(place: Place, value: _Value) -> _Value:
    """Return the `value` of the first process, in every process."""
    if place.processes == 1:
        return value
    box: list[_Value] = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gpus(wanted: str) -> int:
    """Count the GPUs that `wanted` ("all", or a number) names.

    Raises:
        DeviceError: there are not so many, or it is no number.
    """
    have = torch.cuda.device_count()
    count = have if wanted == "all" else int(wanted) if wanted.isdecimal() else 0
    if not 0 < count <= have:
        message = f"--gpus {wanted}: torch finds {have} CUDA devices here: all, a number of them, or no --gpus at all."
        raise DeviceError(message)
    return count


def launch(count: int, words: Sequence[str]) -> None:
    """Run `resnest` with `words` as so many processes of this machine, through torch.distributed.run.

    Raises:
        TrainingStopped: one of them failed; it has said why.
    """
    own = ["--standalone", "--nproc-per-node", str(count), "--no-python", *command("resnest_cli.cli", "main"), *words]
    try:
        run_elastic(parse_args(own))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message = f"process {rank} of {count} ended with {failure.exitcode}; what it said stands above."
        known = failure.exitcode in set(ExitCode)
        raise TrainingStopped(message, ExitCode(failure.exitcode) if known else ExitCode.FAILED) from error
