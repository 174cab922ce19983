"""The one maker of `nn.Module`: a spec and a weights file become a timm network.

In: a `ModelSpec` and the path of a checkpoint (or None for seeded random weights). Out: the network in eval mode, on
the CPU, in float32; and a network becomes a program, for conversion. Nothing that a checkpoint contains is executed:
`weights_only=True` is always passed, which no environment variable overrides, and there is no second try without it.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from functools import cache, reduce
from io import BytesIO
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors.torch import load
from timm.layers import SplitAttn
from torch import nn

from resnest_cli.errors import BadCheckpoint, ModelError
from resnest_cli.models import catalog, checkpoint
from resnest_cli.models.weights import MAX_BYTES
from resnest_cli.models.weights import read as read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resnest_cli.types import ModelSpec

SEED = 0
_ORIGIN = "resnest_origin"
_LEAST_BYTES = 2  # of a weight: fp16
_FREELY = 1 << 27  # weights, 0.5 GB: more than the largest variant has
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}
# Under these keys training scripts save weights; averaged ones come first: they are better.
_NESTS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # prefixes that DDP, torch.compile and Lightning put before each name
_NOT_WEIGHTS = {"n_averaged"}  # torch's AveragedModel counts
_COUNTER = ".num_batches_tracked"  # used in training only; files older than torch 0.4.1 have none


def build(spec: ModelSpec, weights: Path | None, want: str = "logits", *, sha256: str = "") -> nn.Module:
    """Build the network of `spec`: float32 [N, 3, H, W] in, float32 [N, F] out.

    F is the number of classes if `want` is "logits", that of pooled features (timm's `num_classes=0`) if "features".
    `sha256` is the hash that the weights must have, "" for any; `origin` returns the one that they have.

    Raises:
        BadCheckpoint: the file cannot be read, does not fit, or holds values that are not finite.
        ModelError: timm makes no such network as the model's config names.
    """
    content = None if weights is None else read_weights(weights, sha256)
    if not spec.facts:
        _check_size(spec, weights, len(content.data) if content else MAX_BYTES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = _create(spec)
    if content and weights:
        _load(network, content.data, weights, spec)
        vars(network)[_ORIGIN] = content.sha256
    if want == "features":
        network.reset_classifier(0)  # type: ignore[operator] # timm's models have it
    return network.eval()


def origin(network: nn.Module) -> str:
    """Return the sha256 of the file that a network's weights were read from; "" for seeded random weights."""
    return str(vars(network).get(_ORIGIN, ""))


def _check_size(spec: ModelSpec, path: Path | None, most: int) -> None:
    """Refuse a large network with more parameters than its file has bytes for, before memory is taken for it.

    A small network that does not fit is refused later, with a message that names the variant of the weights.

    Raises:
        BadCheckpoint: the file at `path` is too small.
        ModelError: there are no weights, and no machine has so much memory.
    """
    with torch.device("meta"):  # no memory
        count = sum(parameter.numel() for parameter in _create(spec).parameters())
    if count <= max(most // _LEAST_BYTES, _FREELY):
        return
    network = f"{spec.name}, as its config.json has it, has {count / 1e6:,.0f} million numbers"
    if path is None:
        message = f"{network}: more than any machine is for. Correct the file."
        raise ModelError(message)
    message = f"{path} has {most / 1e6:.1f} MB, and {network}: correct the config.json."
    raise BadCheckpoint(message)


def _create(spec: ModelSpec) -> nn.Module:
    args = {"num_classes": spec.num_classes, **spec.model_args}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without any channels: the sizes of the weights will not fit
            network: nn.Module = timm.create_model(spec.architecture, pretrained=False, **args)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, AssertionError) as error:
        why = str(error) or type(error).__name__
        message = f"{spec.name}: timm makes no {spec.architecture} of {args} ({why}); correct its config.json."
        raise ModelError(message) from error
    return network


class FromPixels(nn.Module):
    """A network with ToTensor and Normalize before it: uint8 [N, H, W, 3] in."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Buffer(torch.tensor(spec.data.mean).view(1, -1, 1, 1))
        self.std = nn.Buffer(torch.tensor(spec.data.std).view(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalize and run."""
        images = pixels.permute(0, 3, 1, 2).float().div(255).sub(self.mean).div(self.std)
        rows: torch.Tensor = self.network(images)
        return rows


class _Splits(nn.Module):
    """A split attention with one convolution and one tensor per split; the numbers are the same.

    Args:
        of: what it replaces. Its convolution has radix x cardinality groups, the radix outermost.
    """

    def __init__(self, of: SplitAttn) -> None:
        super().__init__()
        self.radix = of.radix
        self.convs = nn.ModuleList(_conv(of.conv, index, of.radix) for index in range(of.radix))
        self.norms = nn.ModuleList(_norm(of.bn0, index, of.radix) for index in range(of.radix))
        self.act, self.rsoftmax = of.act0, of.rsoftmax
        self.attention = nn.Sequential(of.fc1, of.bn1, of.act1, of.fc2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute what `SplitAttn.forward` computes."""
        parts = zip(self.norms, self.convs, x.chunk(self.radix, dim=1), strict=True)
        splits = [self.act(norm(conv(share))) for norm, conv, share in parts]
        pooled = reduce(torch.add, splits).mean((2, 3), keepdim=True)
        weights = self.rsoftmax(self.attention(pooled)).view(x.shape[0], -1, 1, 1).chunk(self.radix, dim=1)
        return reduce(torch.add, map(torch.mul, splits, weights))


def _conv(conv: nn.Conv2d, index: int, of: int) -> nn.Conv2d:
    """Return the convolution of a share of the channels."""
    same: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    ends = (conv.in_channels // of, conv.out_channels // of)
    made = nn.Conv2d(*ends, groups=conv.groups // of, bias=conv.bias is not None, **same)
    made.load_state_dict({name: value.chunk(of)[index] for name, value in conv.state_dict().items()})
    return made


def _norm(norm: Any, index: int, of: int) -> nn.BatchNorm2d:  # noqa: ANN401 - timm declares a Module
    """Return the norm of a share of the channels."""
    made = nn.BatchNorm2d(norm.num_features // of, eps=norm.eps)
    state = {name: value.chunk(of)[index] if value.ndim else value for name, value in norm.state_dict().items()}
    made.load_state_dict(state)
    return made


def ungroup(network: nn.Module) -> nn.Module:
    """Give every split of every block its own convolution, in `network` itself; the numbers stay the same.

    On a CPU the one grouped convolution is slower than a dense convolution per split, and NNCF does not quantize it.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, SplitAttn) and module.radix > 1:
            network.set_submodule(name, _Splits(module))
    return network.eval()


def to_program(network: nn.Module, spec: ModelSpec, *, raw: bool) -> torch.export.ExportedProgram:
    """Trace the network for any batch: pixels uint8 [N, H, W, 3] in if `raw`, else normalized float32 [N, 3, H, W]."""
    channels, height, width = spec.data.input_size
    two = torch.zeros(2, channels, height, width)  # traced with a batch of 1, it would take batches of 1 only
    if raw:
        network, two = FromPixels(network, spec), two.permute(0, 2, 3, 1).contiguous().byte()
    return torch.export.export(network.eval(), (two,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


def _load(network: nn.Module, content: bytes, path: Path, spec: ModelSpec) -> None:
    state = _read(content, path)
    _check_names(network.state_dict(), state, path, spec)
    odd = [name for name, value in state.items() if not _is_plain(value)]
    if odd:
        message = f"{path}: {len(odd)} tensors are no plain numbers, first {odd[0]}: save them as float32."
        raise BadCheckpoint(message)
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        message = f"{path}: {len(broken)} tensors hold NaN or infinite values, first {broken[0]}; the file is damaged."
        raise BadCheckpoint(message)
    network.load_state_dict(state, strict=False)  # the names were checked above, except for the counters


def _read(content: bytes, path: Path) -> dict[str, torch.Tensor]:
    """Return the weights of .safetensors or of any torch checkpoint, told apart by content; `path` is for messages."""
    layout = checkpoint.examine(content, path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # torch's guesses at what a pickle is
            loaded: Any = load(content) if layout == "safetensors" else _unpickled(content)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"more than weights ({found[1]})" if found else "what is no list of weights, or is damaged"
        message = (
            f"{path} is a pickle that holds {what}, and nothing of it was run. Save the weights alone: "
            "torch.save(model.state_dict(), FILE), or better as .safetensors."
        )
        raise BadCheckpoint(message) from None  # torch's text advises to run it
    except Exception as error:  # a damaged file can make torch raise anything
        message = f"{path} is a {layout} checkpoint that is damaged ({type(error).__name__}). Download it again."
        raise BadCheckpoint(message) from error
    return _weights(loaded, path)


def _unpickled(content: bytes) -> Any:  # noqa: ANN401 - whatever was pickled, of the few types that are let through
    return torch.load(BytesIO(content), map_location="cpu", weights_only=True)


def _weights(loaded: Any, path: Path) -> dict[str, torch.Tensor]:  # noqa: ANN401 - whatever was pickled
    """Return the tensors of what a training script saved, without nesting and without the prefixes of wrappers."""
    while isinstance(loaded, dict):
        nested = next((loaded[key] for key in _NESTS if isinstance(loaded.get(key), dict)), None)
        if nested is None:
            break
        loaded = nested
    tensors = loaded if isinstance(loaded, dict) else {}
    named = [(_bare(str(name)), value) for name, value in tensors.items() if isinstance(value, torch.Tensor)]
    state = {name: value for name, value in named if name not in _NOT_WEIGHTS}
    if not state or len(dict(named)) < len(named):
        what = "the same names twice" if state else f"a {type(loaded).__name__} without any tensors"
        message = f"{path} holds {what}, not a model's weights: expected is a state dict."
        raise BadCheckpoint(message)
    return state


def _bare(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


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
            f"{_advice(state)}"
        )
        raise BadCheckpoint(message)


def _advice(state: Mapping[str, torch.Tensor]) -> str:
    """Return which variant a checkpoint is of, by its names and shapes, and what to type."""
    head = state.get("fc.weight")
    classes = len(head) if head is not None and head.ndim else 0
    names = [row.name for row in catalog.list_models()] if classes else []
    name = next((name for name in names if _shapes(state) == _shapes_of(name, classes)), None)
    if name is None:
        return "Name the variant it was made for with --model."
    if classes == catalog.find_model(name).num_classes:
        return f"It is a {name}: use --model {name}."
    return (
        f"It is a {name} with {classes} classes: make a folder of it, as model.safetensors or pytorch_model.bin, "
        f'with a config.json {{"architecture": "{name}", "num_classes": {classes}}} beside it, and use --model FOLDER.'
    )


@cache
def _shapes_of(architecture: str, classes: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):  # no memory
        return _shapes(timm.create_model(architecture, pretrained=False, num_classes=classes).state_dict())


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith(_COUNTER)}
