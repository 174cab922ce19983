"""The end of a run: its folder becomes a model folder.

In: a `Setup` and the `Outcome` of its stages. Out: the folder's model, history, pictures and metrics.
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

if TYPE_CHECKING:
    from resnest_cli.training.setup import Setup
    from resnest_cli.training.stages import Outcome

_log = logging.getLogger(__name__)


def finish(setup: Setup, outcome: Outcome) -> dict[str, Any]:
    """Write the folder; return the metrics, in processes but the first nothing.

    Raises:
        OutputError: the folder cannot be written.
    """
    if not setup.rank.first:
        return {}
    description = f"{setup.job.command} of {setup.start.name} on {len(setup.data.classes)} classes"
    sha256 = folder.write(setup.out, setup.result, outcome.state, description)
    metrics = _metrics(setup, outcome, sha256=sha256)
    report.write_history(setup.out, outcome.history)
    if report.can_draw():
        _draw(setup, outcome)
    report.write_metrics(setup.out, metrics)
    return metrics


def _metrics(setup: Setup, outcome: Outcome, *, sha256: str) -> dict[str, Any]:
    judgement = outcome.judgement
    true, predicted = judgement.targets.numpy(), judgement.predicted.numpy()
    train_targets = np.array([label for _, label in setup.data.side(splits.TRAIN)])
    return {
        "model": setup.start.name,
        "command": setup.job.command,
        **report.figures(setup.data.classes, train_targets, true, predicted),
        "val_loss": judgement.loss,
        "left_out": len(setup.data.examples) - len(train_targets) - len(true),
        "weights": "of the best epoch on the validation images" if setup.recipe.patience else "of the last epoch",
        "epochs": sum(row["epoch"] > 0 for row in outcome.history),
        "trained_parameters": outcome.parameters,
        "recipe": asdict(outcome.recipe),
        "sha256": sha256,
        "versions": {
            "resnest-cli": resnest_cli.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "python": platform.python_version(),
        },
    }


def _draw(setup: Setup, outcome: Outcome) -> None:
    """Draw the pictures; a folder without pictures is complete too."""
    try:
        true, predicted = outcome.judgement.targets.numpy(), outcome.judgement.predicted.numpy()
        report.draw(setup.out, outcome.history, setup.data.classes, true, predicted)
    except OutputError as error:
        _log.warning("%s", error)
