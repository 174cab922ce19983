"""The weights in a checkpoint, and whether they fit a network.

In: the bytes of .safetensors or of any torch checkpoint. Out: tensors by name, in the network. Nothing that a
checkpoint contains is executed: `weights_only=True` is always passed, which no environment variable overrides, and
there is no second try without it.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import timm
import torch
from safetensors.torch import load

from resnest_cli.errors import BadCheckpoint
from resnest_cli.models import catalog, checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from resnest_cli.types import ModelSpec

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}
# Under these keys training scripts save weights; averaged ones come first: they are better.
_NESTS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # prefixes that DDP, torch.compile and Lightning put before each name
_NOT_WEIGHTS = {"n_averaged"}  # torch's AveragedModel counts
_COUNTER = ".num_batches_tracked"  # used in training only; files older than torch 0.4.1 have none


def load_state(network: nn.Module, content: bytes, path: Path, spec: ModelSpec) -> None:
    """Load the weights of a checkpoint into the network of `spec`; `path` is for messages.

    Raises:
        BadCheckpoint: it is damaged, does not fit, or holds values that are not finite.
    """
    state = read_state(content, path)
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


def read_state(content: bytes, path: Path) -> dict[str, torch.Tensor]:
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
            f"{advice(state)}"
        )
        raise BadCheckpoint(message)


def advice(state: Mapping[str, torch.Tensor]) -> str:
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
