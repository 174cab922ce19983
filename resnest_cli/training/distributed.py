"""One process among several: which one it is, and how the processes agree.

In: the environment that torchrun or Slurm sets (timm reads it). Out: a `Rank`, and sums and values shared over all
processes. With one process nothing is started, and every function here returns what it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from timm.utils.distributed import init_distributed_device_so, is_distributed_env
from torch import distributed, nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args
from torch.distributed.run import run as run_elastic

from resnest_cli.engines.pytorch.engine import choose_device
from resnest_cli.errors import DeviceError, ExitCode, TrainingStopped
from resnest_cli.system.processes import command
from resnest_cli.text.json_input import shorten
from resnest_cli.text.numbers import parse_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Rank:
    """This process: its device, its number, and how many processes there are."""

    device: torch.device
    number: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.number == 0

    def alone(self) -> Rank:
        """Return the rank for work that every process does by itself."""
        return Rank(self.device, self.number)


def join(device: str) -> Rank:
    """Join the other processes, if the environment names any, and take the device of this one.

    Raises:
        DeviceError: `device` is missing.
    """
    chosen, _ = choose_device(device)
    if not is_distributed_env():
        return Rank(chosen)
    joined = init_distributed_device_so(device=chosen.type)
    return Rank(torch.device(joined["device"]), joined["global_rank"], joined["world_size"])


def leave() -> None:
    """End the group, if there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def summed(rank: Rank, values: torch.Tensor) -> torch.Tensor:
    """Return the sum of `values` over all processes; the same shape and dtype, on the CPU."""
    if rank.processes == 1:
        return values.cpu()
    total = values.to(rank.device)
    distributed.all_reduce(total)
    return total.cpu()


def shared(rank: Rank, value: _Value) -> _Value:
    """Return the `value` of the first process, in every process."""
    if rank.processes == 1:
        return value
    box: list[_Value] = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_first(rank: Rank, compute: Callable[[], _Value]) -> _Value:
    """Return what the first process computes, in every process; the others wait."""
    if rank.processes == 1:
        return compute()
    found: Any = shared(rank, compute() if rank.first else None)
    value: _Value = found
    return value


def wrap(network: nn.Module, rank: Rank) -> nn.Module:
    """Return the network with gradients that are averaged over all processes."""
    if rank.processes == 1:
        return network
    own = [rank.device.index] if rank.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=own)


def gpus(wanted: str) -> int:
    """Return the count of GPUs that `wanted` ("all", or a number) names.

    Raises:
        DeviceError: there are fewer, or `wanted` is no number.
    """
    have = torch.cuda.device_count()
    count = have if wanted == "all" else parse_integer(wanted) or 0
    if not 0 < count <= have:
        message = (
            f"--gpus {shorten(wanted)}: torch finds {have} CUDA devices here: use all, a number of them, or no --gpus."
        )
        raise DeviceError(message)
    return count


def launch(count: int, words: Sequence[str]) -> None:
    """Run `resnest` with `words` as so many processes of this machine, through torch.distributed.run.

    Raises:
        TrainingStopped: a process failed; it has printed why.
    """
    own = ["--standalone", "--nproc-per-node", str(count), "--no-python", *command("resnest_cli.cli", "main"), *words]
    try:
        run_elastic(parse_args(own))
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        message = f"process {number} of {count} ended with {failure.exitcode}; its error stands above."
        known = failure.exitcode in set(ExitCode)
        raise TrainingStopped(message, ExitCode(failure.exitcode) if known else ExitCode.FAILED) from error
