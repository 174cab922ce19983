"""The weights in a pickle that torch wrote, as arrays by name.

In: the bytes of a checkpoint. Out: a `State`, not yet compared with a network. Nothing that a checkpoint contains is
executed: `weights_only=True` is always passed, which no environment variable overrides, and there is no second try
without it.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import torch

from resnest_cli.errors import BadCheckpoint
from resnest_cli.models import state

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from resnest_cli.models.state import State

_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64}
# Under these keys training scripts save weights; averaged ones come first: they are better.
_NESTS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model")


def read(content: bytes, path: Path) -> State:
    """Return the weights of a torch checkpoint, bfloat16 as float32; `path` is for messages.

    Raises:
        BadCheckpoint: it is damaged, or holds other things than weights.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # torch's guesses at what a pickle is
            loaded: Any = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"more than weights ({found[1]})" if found else "what is no list of weights, or is damaged"
        message = (
            f"{path} is a pickle that holds {what}, and nothing of it was run. Save the weights alone: "
            "torch.save(model.state_dict(), FILE), or better as .safetensors."
        )
        raise BadCheckpoint(message) from None  # torch's text advises to run it
    except Exception as error:  # a damaged file can make torch raise anything
        message = f"{path} is a checkpoint of torch that is damaged ({type(error).__name__}). Download it again."
        raise BadCheckpoint(message) from error
    named = state.bare(_tensors(loaded).items(), path)
    state.refuse_odd([name for name, tensor in named.items() if not _is_plain(tensor)], path)
    return {name: _array(tensor) for name, tensor in named.items()}


def _tensors(loaded: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401 - whatever was pickled
    """Return the tensors of what a training script saved, without nesting."""
    while isinstance(loaded, dict):
        nested = next((loaded[key] for key in _NESTS if isinstance(loaded.get(key), dict)), None)
        if nested is None:
            return {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
        loaded = nested
    return {}


def _is_plain(value: torch.Tensor) -> bool:
    return value.dtype in _DTYPES and value.layout is torch.strided and not value.is_meta


def _array(value: torch.Tensor) -> NDArray[Any]:
    plain = value.float() if value.dtype == torch.bfloat16 else value
    array: NDArray[Any] = plain.detach().numpy()
    return array
