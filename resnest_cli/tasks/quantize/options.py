"""How a model is quantized, as one frozen value: the one place where these defaults are declared.

In: what a user asks for. Out: a `QuantizeOptions`, or a refusal. Standard library only: the command line takes its
defaults from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnest_cli.errors import UsageError


@dataclass(frozen=True)
class QuantizeOptions:
    """Which images a model is calibrated on, and how near to fp32 it must stay.

    The first line of a value is its help on the command line.

    Attributes:
        samples: Images to calibrate on.
            At least 1; see `calibration.draw`.
        seed: Random seed for the choice of images.
        min_agreement: Least share of other images with fp32's first class.
            From 0, which keeps any graph, to 1.
        exclude: patterns of what to leave out of the folder of images, see `selection.Rule`.

    Raises:
        UsageError: a value out of range.
    """

    samples: int = 300
    seed: int = 0
    min_agreement: float = 0.98
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.samples < 1:
            message = f"--samples {self.samples}: use a whole number from 1."
            raise UsageError(message)
        if not 0 <= self.min_agreement <= 1:
            message = f"--min-agreement {self.min_agreement}: use a number from 0 to 1."
            raise UsageError(message)
