"""What a ResNeSt is: the names and shapes of its weights, its strides and splits. Knows no framework and no file.

In: a `ModelSpec`. Out: an `Architecture`, or the reason why only timm knows such a network. The variants are those of
timm's `resnest.py`; the names of weights are those of its checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ModelError
from resnest_cli.options import CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resnest_cli.types import ModelSpec

    Shape = tuple[int, ...]

EXPANSION = 4  # a block's outputs over its stage's channels
_ATTENTION_SHARE, _ATTENTION_LEAST, _ATTENTION_STEP = 4, 32, 8  # timm's SplitAttn: rd_ratio, min_value, rd_divisor
_KEPT = 0.9  # timm's make_divisible rounds down by a tenth at most
COUNTER = "num_batches_tracked"  # of a norm; used in training only, and missing in files older than torch 0.4.1
_STATISTICS = ("running_mean", "running_var", COUNTER)
# Arguments of timm's network that decide nothing when it runs; and those with the only values that are known here.
_NOT_OF_THE_SHAPE = {"drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"}
_FIXED: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "in_chans": (CHANNELS,),
    "output_stride": (32,),
    "block_reduce_first": (1,),
    "down_kernel_size": (1,),
    "replace_stem_pool": (False,),
    "avg_down": (True,),
    "stem_type": ("deep",),
    "global_pool": ("avg",),
    "act_layer": ("relu",),
    "norm_layer": ("batchnorm2d",),
    "aa_layer": (None, ""),
})  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One residual block.

    Attributes:
        name: "layer1.0", the prefix of its weights.
        inputs: channels in.
        width: channels of its split attention, per split.
        outputs: channels out.
        stride: 2 where it halves the edges, else 1.
        hidden: channels between the two layers of the attention.
        projected: whether the shortcut has a convolution.
    """

    name: str
    inputs: int
    width: int
    outputs: int
    stride: int
    hidden: int
    projected: bool


@dataclass(frozen=True)
class Architecture:
    """A ResNeSt: its stem, four stages and head (Zhang et al., arXiv:2004.08955).

    Attributes:
        layers: blocks per stage.
        channels: channels per stage; a block has `EXPANSION` times as many outputs.
        stem_width: channels of the first two convolutions; the third has twice as many.
        base_width: channels of a group, where a stage has 64.
        cardinality: groups per split.
        radix: splits per block.
        avd: whether a block pools where it halves the edges, instead of a convolution of stride 2.
        avd_first: whether it pools before the split attention, not after.
        num_classes: classes of the head.
    """

    layers: tuple[int, ...] = (3, 4, 6, 3)
    channels: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 32
    base_width: int = 64
    cardinality: int = 1
    radix: int = 2
    avd: bool = True
    avd_first: bool = False
    num_classes: int = 1000

    @property
    def num_features(self) -> int:
        """F of the pooled features."""
        return self.channels[-1] * EXPANSION

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in order."""
        return tuple(self._blocks())

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of each tensor of a checkpoint, in timm's order."""
        return MappingProxyType(dict(self._shapes()))

    @cached_property
    def param_count(self) -> int:
        """The count of the numbers that training changes: no statistics of norms."""
        return sum(prod(shape) for name, shape in self.shapes.items() if not name.endswith(_STATISTICS))

    def _blocks(self) -> Iterator[Block]:
        inputs = 2 * self.stem_width
        for stage, (count, channels) in enumerate(zip(self.layers, self.channels, strict=True), 1):
            width = int(channels * (self.base_width / 64)) * self.cardinality
            outputs = channels * EXPANSION
            for number in range(count):
                stride = 2 if stage > 1 and not number else 1
                projected = not number and (stride > 1 or inputs != outputs)
                name, hidden = f"layer{stage}.{number}", _hidden(width * self.radix)
                yield Block(name, inputs, width, outputs, stride, hidden, projected)
                inputs = outputs

    def _shapes(self) -> Iterator[tuple[str, Shape]]:
        stem = self.stem_width
        for index, inputs, outputs in ((0, CHANNELS, stem), (3, stem, stem), (6, stem, 2 * stem)):
            yield f"conv1.{index}.weight", (outputs, inputs, 3, 3)
            yield from _norm("bn1" if index == 6 else f"conv1.{index + 1}", outputs)  # noqa: PLR2004 - the last
        for block in self.blocks:
            yield from self._block_shapes(block)
        yield "fc.weight", (self.num_classes, self.num_features)
        yield "fc.bias", (self.num_classes,)

    def _block_shapes(self, block: Block) -> Iterator[tuple[str, Shape]]:
        name, width, splits, groups = block.name, block.width, block.width * self.radix, self.cardinality
        yield f"{name}.conv1.weight", (width, block.inputs, 1, 1)
        yield from _norm(f"{name}.bn1", width)
        yield f"{name}.conv2.conv.weight", (splits, width // (groups * self.radix), 3, 3)
        yield from _norm(f"{name}.conv2.bn0", splits)
        yield f"{name}.conv2.fc1.weight", (block.hidden, width // groups, 1, 1)
        yield f"{name}.conv2.fc1.bias", (block.hidden,)
        yield from _norm(f"{name}.conv2.bn1", block.hidden)
        yield f"{name}.conv2.fc2.weight", (splits, block.hidden // groups, 1, 1)
        yield f"{name}.conv2.fc2.bias", (splits,)
        yield f"{name}.conv3.weight", (block.outputs, width, 1, 1)
        yield from _norm(f"{name}.bn3", block.outputs)
        if block.projected:
            yield f"{name}.downsample.1.weight", (block.outputs, block.inputs, 1, 1)
            yield from _norm(f"{name}.downsample.2", block.outputs)


def _norm(name: str, channels: int) -> Iterator[tuple[str, Shape]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.{COUNTER}", ()


def _hidden(channels: int) -> int:
    """Return the hidden channels of an attention over so many channels, as timm rounds them."""
    share = channels / _ATTENTION_SHARE
    found = max(_ATTENTION_LEAST, int(share + _ATTENTION_STEP / 2) // _ATTENTION_STEP * _ATTENTION_STEP)
    return found + _ATTENTION_STEP if found < _KEPT * share else found


VARIANTS: Mapping[str, Architecture] = MappingProxyType({
    "resnest14d": Architecture((1, 1, 1, 1)),
    "resnest26d": Architecture((2, 2, 2, 2)),
    "resnest50d": Architecture(),
    "resnest50d_1s4x24d": Architecture(base_width=24, cardinality=4, radix=1, avd_first=True),
    "resnest50d_4s2x40d": Architecture(base_width=40, cardinality=2, radix=4, avd_first=True),
    "resnest101e": Architecture((3, 4, 23, 3), stem_width=64),
    "resnest200e": Architecture((3, 24, 36, 3), stem_width=64),
    "resnest269e": Architecture((3, 30, 48, 8), stem_width=64),
})  # fmt: skip
_OF_BLOCKS = MappingProxyType({"radix": 1, "avd": False, "avd_first": False})  # timm's defaults of `block_args`


def variant(name: str, num_classes: int) -> Architecture:
    """Return a variant with another number of classes."""
    return replace(VARIANTS[name], num_classes=num_classes)


def of(spec: ModelSpec) -> Architecture:
    """Return the architecture of a model for which `why_timm` is "".

    Raises:
        ModelError: its `model_args` make no network.
    """
    shaping = dict(_shaping(spec.model_args)) | {"num_classes": spec.num_classes}
    found = replace(VARIANTS[spec.architecture], **shaping)
    groups = found.cardinality * found.radix
    for block in found.blocks:
        if not block.width or block.width % groups or block.hidden % found.cardinality:
            message = f"{spec.name}: the {block.width} channels of {block.name} do not make {groups} groups"
            raise ModelError(f"{message}; correct its config.json.")
    return found


def num_features(spec: ModelSpec) -> int:
    """Return F of the pooled features of a model, also of one that only timm knows."""
    channels = spec.model_args.get("channels") or VARIANTS[spec.architecture].channels
    return int(channels[-1]) * EXPANSION


def why_timm(spec: ModelSpec) -> str:
    """Return why only timm knows the network of a model, or ""."""
    shaping = {item.name for item in fields(Architecture)} | {"block_args"}
    for name, value in spec.model_args.items():
        is_known = value is not None if name in shaping else value in _FIXED.get(name, ())
        if not is_known and name not in _NOT_OF_THE_SHAPE:
            return f"only timm knows {name}={value!r}"
    return ""


def _shaping(args: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of `Architecture` that arguments of timm's network set."""
    known = {item.name for item in fields(Architecture)}
    for name, value in args.items():
        if name in known:
            yield name, tuple(value) if isinstance(value, list) else value
        if name == "block_args":
            yield from (_OF_BLOCKS | value).items()
