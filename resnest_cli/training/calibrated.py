"""The calibration of a model that was finetuned, from its validation images: `calibration.json` in its folder.

In: a `Setup` whose model is written, and the `Judgement` of its validation side. Out: the file, if there are images
enough. It is of the model as `predict` runs it, in fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import resnest_cli
from resnest_cli.models import catalog, provenance
from resnest_cli.system import atomic, files
from resnest_cli.tasks.calibrate import FILENAME, calibration, judging

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.training.judgement import Judgement
    from resnest_cli.training.setup import Setup

NOTE = "The images are the validation images of the run"
CHOSE = f"{NOTE}, which also chose its epoch: the figures flatter the model. For figures that hold, use other images."
CHOSE_NOTHING = f"{NOTE}, which chose nothing of the model."


def remove(folder: Path) -> None:
    """Remove the calibration of weights that are about to be replaced.

    Raises:
        OutputError: it cannot be removed.
    """
    with files.as_output_error(folder):
        (folder / FILENAME).unlink(missing_ok=True)


def write(setup: Setup, judgement: Judgement, sha256: str, *, chose: bool) -> None:
    """Write the calibration of the model in the run's folder, unless its validation images are too few.

    Args:
        setup: of the run.
        judgement: of the validation side by the weights that are kept.
        sha256: of these weights.
        chose: whether the validation side also chose the epoch.

    Raises:
        OutputError: the folder cannot be written.
    """
    images = judging.Logits(judgement.logits.numpy(), judgement.targets.numpy())
    if len(images) < judging.LEAST:
        return
    spec = catalog.find_model(str(setup.out))
    facts = {
        "weights": sha256,
        "preprocessing": provenance.preprocessing(spec, setup.job.options()),
        "engine": "torch",
        "precision": "fp32",
    }
    found = calibration.of(
        images,
        provenance.identity(spec, facts),
        seed=setup.recipe.seed,
        notes=(CHOSE if chose else CHOSE_NOTHING,),
        versions={"resnest-cli": resnest_cli.__version__},
    )
    with files.as_output_error(setup.out):
        atomic.write(setup.out / FILENAME, found.text().encode())
