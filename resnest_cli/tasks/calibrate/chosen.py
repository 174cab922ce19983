"""The calibration that a model runs with: which file, and whether it is of that model.

In: a spec and `Options`. Out: a `Chosen`, once before the model opens, so that a bad file is refused at once; and what
rows depend on, once it is open. Does not know what is done with an image. Every `predict` imports this module, and the
others of its folder only where there is a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.models import provenance
from resnest_cli.options import Options
from resnest_cli.system.paths import look
from resnest_cli.tasks.calibrate import FILENAME

if TYPE_CHECKING:
    from os import PathLike

    from resnest_cli.engines.base import Engine
    from resnest_cli.tasks.calibrate.assessment import Assessment
    from resnest_cli.tasks.calibrate.file import Calibration
    from resnest_cli.types import ModelSpec

NONE = "none"  # in place of a file: no calibration, not even the model folder's own
_NEED_ONE = ("coverage", "max_strangeness")


@dataclass(frozen=True)
class Chosen:
    """A calibration with the coverage and the highest strangeness that are asked for.

    Attributes:
        path: of its file.
        calibration: what the file says.
        assessment: what is applied to an image.
        facts: what rows depend on, as JSON values.
    """

    path: Path
    calibration: Calibration
    assessment: Assessment
    facts: dict[str, Any]

    def require(self, spec: ModelSpec, options: Options, engine: Engine) -> None:
        """Check that the file is of the model that runs.

        Raises:
            UsageError: it is of another model, weights, preprocessing or precision.
        """
        now = provenance.identity(spec, provenance.predictions(spec, options, engine))
        self.calibration.require(now, self.path)


def choose(spec: ModelSpec, options: Options, *, own: bool = True) -> Chosen | None:
    """Return the calibration that the options name, or, if `own`, the model folder's; None if there is none.

    Raises:
        UsageError: the file cannot be used, has too few images for the coverage, or there is none where an option
            needs one.
    """
    path = find(spec if own else None, options.calibration)
    if path is None:
        for name in _NEED_ONE:
            if getattr(options, name) != getattr(Options, name):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} {getattr(options, name):g} needs a calibration: make one with `resnest calibrate MODEL "
                    f"DIR -o {FILENAME}`, and add --calibration {FILENAME}."
                )
        return None
    from resnest_cli.tasks.calibrate import file  # noqa: PLC0415 - most runs have no calibration, and start sooner
    from resnest_cli.tasks.calibrate.assessment import Assessment  # noqa: PLC0415 - as above

    found = file.read(path)
    if len(found.fit.centers) != spec.num_classes:
        raise UsageError(
            f"--calibration {path} is of a model with {len(found.fit.centers)} classes, and {spec.name} has "
            f"{spec.num_classes}: use its own, or --calibration none."
        )
    assessment = Assessment.of(found.fit, options.coverage, options.max_strangeness)
    settings = {"coverage": options.coverage, "max_strangeness": options.max_strangeness}
    return Chosen(path, found, assessment, {"calibration": {"sha256": found.sha256(), **settings}})


def find(spec: ModelSpec | None, chosen: str | PathLike[str] | None) -> Path | None:
    """Return the file that was chosen, or else that of a model's folder; None if there is none, or for `NONE`."""
    if chosen is not None:
        return None if chosen == NONE else Path(chosen)
    own = spec and spec.folder and spec.folder / FILENAME
    return own if own and look(own).is_there else None
