"""The one maker of `nn.Module`: a spec and a weights file become a timm network.

In: a `ModelSpec` and the path of a checkpoint (or None for seeded random weights). Out: the network in eval mode, on
the CPU, in float32; and a network becomes a program, for those who convert it. Nothing that a checkpoint contains is
ever executed: `weights_only=True` is passed each time.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.models import load_state_dict
from torch import nn

from resnest_cli.errors import BadCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.types import ModelSpec

SEED = 0
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}
_COUNTER = ".num_batches_tracked"  # used in training only; files older than torch 0.4.1 have none


def build(spec: ModelSpec, weights: Path | None, want: str = "logits") -> nn.Module:
    """Make the network of `spec`: float32 [N, 3, H, W] in, float32 [N, F] out.

    F is the number of classes if `want` is "logits", that of pooled features (timm's `num_classes=0`) if "features".

    Raises:
        BadCheckpoint: the file cannot be read, does not fit, or holds values that are not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        args = {"num_classes": spec.num_classes, **spec.model_args}
        network: nn.Module = timm.create_model(spec.architecture, pretrained=False, **args)
    if weights is not None:
        _load(network, weights, spec)
    if want == "features":
        network.reset_classifier(0)  # type: ignore[operator] # timm's models have it
    return network.eval()


class _FromPixels(nn.Module):
    """A network with ToTensor and Normalize before it: uint8 [N, H, W, 3] in."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Buffer(torch.tensor(spec.data.mean).view(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(spec.data.std).view(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise and run."""
        images = pixels.permute(0, 3, 1, 2).float().div(255).sub(self.mean).div(self.std)
        rows: torch.Tensor = self.network(images)
        return rows


def to_program(network: nn.Module, spec: ModelSpec, *, raw: bool) -> torch.export.ExportedProgram:
    """Trace the network for any batch: pixels uint8 [N, H, W, 3] in if `raw`, else normalised float32 [N, 3, H, W]."""
    channels, height, width = spec.data.input_size
    two = torch.zeros(2, channels, height, width)  # of a batch of 1 it would be made for 1 only
    if raw:
        network, two = _FromPixels(network, spec), two.permute(0, 2, 3, 1).contiguous().byte()
    return torch.export.export(network.eval(), (two,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


def _load(network: nn.Module, path: Path, spec: ModelSpec) -> None:
    state = _read(path)
    _check_names(network.state_dict(), state, path, spec)
    strange = [name for name, value in state.items() if not _is_plain(value)]
    if strange:
        message = f"{path}: {len(strange)} tensors are no plain numbers, first {strange[0]}: save them as float32."
        raise BadCheckpoint(message)
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        message = f"{path}: {len(broken)} tensors hold NaN or infinite values, first {broken[0]}; the file is damaged."
        raise BadCheckpoint(message)
    network.load_state_dict(state, strict=False)  # strict is what was just checked, but for the counters


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Read .safetensors or any torch checkpoint; EMA weights, nesting and `module.` prefixes are timm's to undo."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses at what a pickle is
            state: Any = load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can make torch raise anything
        kind = type(error).__name__
        message = (
            f"{path} is not a checkpoint that can be read safely ({kind}): expected .safetensors or a torch state dict."
        )
        raise BadCheckpoint(message) from error
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _is_plain(value: torch.Tensor) -> bool:
    return value.dtype in _DTYPES and value.layout is torch.strided and not value.is_meta


def _check_names(
    expected: dict[str, torch.Tensor], state: dict[str, torch.Tensor], path: Path, spec: ModelSpec
) -> None:
    missing = sorted(name for name in expected.keys() - state.keys() if not name.endswith(_COUNTER))
    surplus = sorted(state.keys() - expected.keys())
    shapes = sorted(name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape)
    problems = [
        f"{len(names)} {what} (first: {names[0]})"
        for what, names in (("missing", missing), ("unexpected", surplus), ("of another shape", shapes))
        if names
    ]
    if problems:
        message = (
            f"{path} does not fit {spec.name} with {spec.num_classes} classes: tensors {', '.join(problems)}. "
            "Name the variant it was made for with --model."
        )
        raise BadCheckpoint(message)
