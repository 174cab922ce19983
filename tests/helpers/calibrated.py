"""A calibration of the digits under which some answers are unsure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resnest_cli import calibrate
from resnest_cli.tasks.calibrate.scale import Scale
from resnest_cli.tasks.calibrate.sets import Regularization

if TYPE_CHECKING:
    from pathlib import Path


def doubting(held_out_digits: list[Any], folder: Path) -> Path:
    """Calibrate with the held-out digits, but for a temperature and a limit under which answers are unsure."""
    for digit in held_out_digits:
        place = folder / "data" / str(digit.label) / f"{digit.row:04d}.png"
        place.parent.mkdir(exist_ok=True, parents=True)
        digit.image.save(place)
    found = calibrate("digits", folder / "data", workers=0)
    scores = Scale.of(np.concatenate([np.zeros(60), np.linspace(0.1, 0.95, 120)]))
    fit = replace(found.fit, temperature=0.8, rule=Regularization(1, 0.01), scores=scores)
    replace(found, fit=fit).save(folder / "calibration.json")
    return folder / "calibration.json"
