"""Count operations and activation bytes per image. With the rates of a device, the counts limit the throughput.

In: a network. Out: multiply-accumulates, bytes and steps; as a program, one line per variant. Nothing is computed or
measured: the tensors have shapes but no memory. Activations are counted in bf16. Weights are not counted, because a
batch shares them. Bytes are counted in two ways:

* floor: each convolution, each pooling, the classifier and the weighted sum of the splits read their input and write
  their output once; a block reads its shortcut. Every other step is fused into these. A network that keeps its tensors
  in memory between convolutions cannot move fewer bytes.
* steps: the bytes of the eager network, each of whose steps reads and writes all of its tensors.
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

BATCH = 7  # no weight has 7 rows, so a tensor with 7 rows is an activation
BYTES = 2  # per number in bf16
_ONCE = (nn.Conv2d, nn.Linear, nn.AvgPool2d, nn.MaxPool2d, SelectAdaptivePool2d)


@dataclass(frozen=True)
class Counts:
    """Multiply-accumulates and bytes per image, and launched steps per forward pass."""

    macs: int
    floor_bytes: int
    step_bytes: int
    steps: int

    def limit(self, flops: float, bandwidth: float) -> float:
        """Return the most images per second of a device with `flops` FLOP/s and `bandwidth` bytes/s."""
        return min(flops / (2 * self.macs), bandwidth / self.floor_bytes)

    def bound(self, flops: float, bandwidth: float) -> str:
        """Return what limits the device: "matrix" or "memory"."""
        return "matrix" if flops / (2 * self.macs) < bandwidth / self.floor_bytes else "memory"


class Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that are not views, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.count = 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - as torch declares it
        """Run and count one operation."""
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
    """Return a variant in bf16 on the meta device, after `change` (default: fold the norms, as the engine does)."""
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, **args).eval()
    return change(network).to(torch.bfloat16)


def count(network: nn.Module, size: tuple[int, ...]) -> Counts:
    """Return the counts of a network from `make` for images of `size` (channels, height, width)."""
    macs = numbers = 0

    def add(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal macs, numbers
        numbers += _least(module, given[0], output)
        if isinstance(module, nn.Conv2d | nn.Linear):
            macs += output.numel() * module.weight[0].numel()

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    images = torch.empty(BATCH, *size, device="meta", dtype=torch.bfloat16)
    with torch.inference_mode(), Steps() as steps:
        network(images)
    for hook in hooks:
        hook.remove()
    return Counts(macs // BATCH, BYTES * numbers // BATCH, steps.bytes // BATCH, steps.count)


def _least(module: nn.Module, given: torch.Tensor, output: torch.Tensor) -> int:
    """Return how many numbers a module itself must read and write, without its submodules."""
    if isinstance(module, _ONCE):
        return given.numel() + output.numel()
    if isinstance(module, SplitAttn):
        return (module.radix + 1) * output.numel()
    return output.numel() if isinstance(module, ResNestBottleneck) else 0


def main() -> None:
    """Print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--tflops", type=float, default=790.0, help="matrix rate in bf16, TFLOP/s, default: %(default)s"
    )
    parser.add_argument("--tbytes", type=float, default=4.0, help="memory bandwidth, TB/s, default: %(default)s")
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
