"""Count what an image costs: operations, and bytes of activations. With a device's rates they are a limit of speed.

In: a network. Out: multiply-accumulates, bytes and steps; as a program, a line for each variant. Nothing is computed
and nothing measured: the tensors have a shape and no memory. Activations are counted in bf16, and weights are left out,
which a batch shares. There are two numbers of bytes:

* floor: each convolution, each pooling and the classifier read their input and write their output once, so does the
  weighted sum of the splits, and a block reads its shortcut. All else rides along. A network that keeps its tensors in
  memory between convolutions does not do with less.
* steps: what the eager network moves, each of its steps reading and writing all of its tensors.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.layers import SelectAdaptivePool2d, SplitAttn
from timm.models.resnest import ResNestBottleneck
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnest_cli.engines.pytorch import gpu
from resnest_cli.models.catalog import list_models

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 7  # no weight has so many rows: what has is an activation
BYTES = 2  # of a number in bf16
_ONCE = (nn.Conv2d, nn.Linear, nn.AvgPool2d, nn.MaxPool2d, SelectAdaptivePool2d)


@dataclass(frozen=True)
class Counts:
    """For one image: multiply-accumulates and bytes; for a forward pass: steps that are launched one by one."""

    macs: int
    floor_bytes: int
    step_bytes: int
    steps: int

    def limit(self, flops: float, bandwidth: float) -> float:
        """Return the images per second at which a device is busy that does `flops` or moves `bandwidth` bytes/s."""
        return min(flops / (2 * self.macs), bandwidth / self.floor_bytes)

    def bound(self, flops: float, bandwidth: float) -> str:
        """Tell which of the two it is."""
        return "matrix" if flops / (2 * self.macs) < bandwidth / self.floor_bytes else "memory"


class Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that are more than another view of a tensor, and the bytes of what they read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.count = 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - as torch declares it
        """Do it and count it."""
        output = func(*args, **(kwargs or {}))
        if not func.is_view:
            outputs = output if isinstance(output, tuple) else (output,)
            moved = [value for value in (*args, *outputs) if isinstance(value, torch.Tensor) and len(value) == BATCH]
            self.bytes += sum(value.numel() * value.element_size() for value in moved)
            self.count += 1
        return output


def make(
    name: str,
    change: Callable[[nn.Module], nn.Module] = gpu.fold,
    **args: Any,  # noqa: ANN401 - as timm takes them
) -> nn.Module:
    """Make a variant in bf16 and without memory, changed as the engine does it."""
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, **args).eval()
    return change(network).to(torch.bfloat16)


def count(network: nn.Module, size: tuple[int, ...]) -> Counts:
    """Count for images of `size` (channels, height, width); the network is one of `make`."""
    macs = numbers = 0

    def see(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal macs, numbers
        numbers += _least(module, given[0], output)
        if isinstance(module, nn.Conv2d | nn.Linear):
            macs += output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(see) for module in network.modules()]
    images = torch.empty(BATCH, *size, device="meta", dtype=torch.bfloat16)
    with torch.inference_mode(), Steps() as steps:
        network(images)
    for hook in hooks:
        hook.remove()
    return Counts(macs // BATCH, BYTES * numbers // BATCH, steps.bytes // BATCH, steps.count)


def _least(module: nn.Module, given: torch.Tensor, output: torch.Tensor) -> int:
    """Return how many numbers a module must read and write, but for those of the modules in it."""
    if isinstance(module, _ONCE):
        return given.numel() + output.numel()
    if isinstance(module, SplitAttn):
        return (module.radix + 1) * output.numel()
    return output.numel() if isinstance(module, ResNestBottleneck) else 0


def main() -> None:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tflops", type=float, default=790.0, help="of bf16, default: %(default)s")
    parser.add_argument("--tbytes", type=float, default=4.0, help="a second, default: %(default)s")
    args = parser.parse_args()
    print("variant               GMACs  floor MB  folded MB  plain MB  folded steps  plain steps  limit images/s")
    for spec in list_models():
        size = spec.data.input_size
        folded, plain = count(make(spec.name), size), count(make(spec.name, lambda network: network), size)
        rates = args.tflops * 1e12, args.tbytes * 1e12
        print(
            f"{spec.name:20} {folded.macs / 1e9:6.2f} {folded.floor_bytes / 1e6:9.1f} {folded.step_bytes / 1e6:10.1f} "
            f"{plain.step_bytes / 1e6:9.1f} {folded.steps:13} {plain.steps:12} "
            f"{folded.limit(*rates):8.0f} ({folded.bound(*rates)})"
        )


if __name__ == "__main__":
    main()
