"""The end of a run: its folder becomes a model folder.

In: a `Setup` and the `Outcome` of its stages. Out: the folder's model, its calibration, answers, history, pictures,
mistakes and metrics.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

import resnest_cli
from resnest_cli.errors import OutputError
from resnest_cli.inputs import splits
from resnest_cli.training import answers, calibrated, folder, job, mistakes, report, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from resnest_cli.training.answers import Answer
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
    calibrated.remove(setup.out)
    sha256 = folder.write(setup.out, setup.result, outcome.state, description)
    metrics = _metrics(setup, outcome, sha256=sha256)
    found = answers.of(setup, outcome.judgement)
    answers.write(setup.out, found)
    report.write_history(setup.out, outcome.history)
    if setup.job.command == job.FINETUNE:
        chose = setup.recipe.patience > 0 and bool(setup.job.full)
        calibrated.write(setup, outcome.judgement, sha256, chose=chose)
    write_extras(_extras(setup, outcome, found, metrics["verdict"]["kept_epoch"]))
    report.write_metrics(setup.out, metrics)
    return metrics


def _metrics(setup: Setup, outcome: Outcome, *, sha256: str) -> dict[str, Any]:
    judgement, keeps_best = outcome.judgement, setup.recipe.patience > 0
    true, predicted, losses = judgement.targets.numpy(), judgement.predicted.numpy(), judgement.losses.numpy()
    train_targets = np.array([label for _, label in setup.data.side(splits.TRAIN)])
    found = verdict.of(train_targets, true, predicted, losses, outcome.history, keeps_best=keeps_best)
    return {
        "model": setup.start.name,
        "command": setup.job.command,
        **report.figures(setup.data.classes, train_targets, true, predicted),
        "val_loss": judgement.loss,
        "left_out": len(setup.data.examples) - len(train_targets) - len(true),
        "verdict": asdict(found),
        "weights": _which(found.kept_epoch, keeps_best=keeps_best),
        "epochs": sum(row["epoch"] > 0 for row in outcome.history),
        "trained_parameters": outcome.parameters,
        "recipe": outcome.recipe,
        "sha256": sha256,
        "versions": {
            "resnest-cli": resnest_cli.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "python": platform.python_version(),
        },
    }


def _which(kept: int, *, keeps_best: bool) -> str:
    """Return whose weights are kept."""
    if not kept:
        return "of the head alone"
    return f"of epoch {kept}, the best on the validation images" if keeps_best else "of the last epoch"


def _extras(setup: Setup, outcome: Outcome, found: list[Answer], kept: int) -> Iterator[Callable[[], None]]:
    classes, judgement = setup.data.classes, outcome.judgement
    yield partial(mistakes.write, setup, found)
    if report.can_draw():
        true, predicted = judgement.targets.numpy(), judgement.predicted.numpy()
        yield partial(report.draw_confusion, setup.out, classes, true, predicted)
        yield partial(report.draw_curves, setup.out, outcome.history, kept)


def write_extras(extras: Iterable[Callable[[], None]]) -> None:
    """Write pictures and the page of mistakes; a folder without them is complete too."""
    for write in extras:
        try:
            write()
        except OutputError as error:  # noqa: PERF203 - a few files
            _log.warning("%s", error.message)
