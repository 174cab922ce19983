"""The end of a run: the weights to keep are judged, and its folder becomes a model folder.

In: a `Setup` and the last stage's `Loop`. Out: the folder's model, history, pictures and metrics.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

import resnest_cli
from resnest_cli.errors import OutputError
from resnest_cli.inputs import splits
from resnest_cli.training import folder, report
from resnest_cli.training.events import HEAD

if TYPE_CHECKING:
    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.loop import Loop
    from resnest_cli.training.setup import Setup

_log = logging.getLogger(__name__)


def finish(setup: Setup, loop: Loop) -> dict[str, Any]:
    """Judge the weights and write the folder; return the metrics, in processes but the first nothing.

    Raises:
        OutputError: the folder cannot be written.
    """
    judgement = loop.validate()
    if not setup.rank.first:
        return {}
    description = f"{setup.job.command} of {setup.start.name} on {len(setup.data.classes)} classes"
    sha256 = folder.write(setup.out, setup.result, _weights(setup, loop), description)
    history = [*loop.earlier, *loop.history]
    metrics = _metrics(setup, loop, judgement, epochs=len(history), sha256=sha256)
    report.write_history(setup.out, history)
    if report.can_draw():
        _draw(setup, judgement, history)
    report.write_metrics(setup.out, metrics)
    return metrics


def _weights(setup: Setup, loop: Loop) -> dict[str, torch.Tensor]:
    """Return the weights of the whole network on the CPU; after the stage "head", with the pretrained layers."""
    state = {name: value.cpu() for name, value in loop.network.state_dict().items()}
    if loop.stage != HEAD:
        return state
    made = setup.pretrained(setup.start)
    made.load_state_dict({f"fc.{name}": value for name, value in state.items()}, strict=False)
    return made.state_dict()


def _metrics(setup: Setup, loop: Loop, judgement: Judgement, *, epochs: int, sha256: str) -> dict[str, Any]:
    true, predicted = judgement.targets.numpy(), judgement.predicted.numpy()
    train_targets = np.array([label for _, label in setup.data.side(splits.TRAIN)])
    return {
        "model": setup.start.name,
        "command": setup.job.command,
        **report.figures(setup.data.classes, train_targets, true, predicted),
        "val_loss": judgement.loss,
        "left_out": len(setup.data.examples) - len(train_targets) - len(true),
        "weights": "of the best epoch on the validation images" if setup.recipe.patience else "of the last epoch",
        "epochs": epochs,
        "trained_parameters": sum(value.numel() for value in loop.network.parameters()),
        "recipe": asdict(loop.recipe),
        "sha256": sha256,
        "versions": {
            "resnest-cli": resnest_cli.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "python": platform.python_version(),
        },
    }


def _draw(setup: Setup, judgement: Judgement, history: list[dict[str, Any]]) -> None:
    """Draw the pictures; a folder without pictures is complete too."""
    try:
        report.draw(setup.out, history, setup.data.classes, judgement.targets.numpy(), judgement.predicted.numpy())
    except OutputError as error:
        _log.warning("%s", error)
