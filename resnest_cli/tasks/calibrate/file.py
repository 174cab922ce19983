"""A `Calibration`: what `resnest calibrate` found, as a value and as a file.

In: what was fitted, and what made it. Out: JSON, and the value again; a refusal of another model's file. The file is
`calibration.json`; in a model folder, it is the folder's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import UsageError
from resnest_cli.outputs import plots, saving
from resnest_cli.system import files
from resnest_cli.tasks.calibrate import FILENAME
from resnest_cli.tasks.calibrate.scale import MOST, Scale
from resnest_cli.tasks.calibrate.sets import Regularization
from resnest_cli.tasks.calibrate.temperature import COLDEST, HOTTEST
from resnest_cli.text.json_input import Entries, parse, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

FORMAT = "resnest calibration 1"
COMPARED = ("model", "weights", "precision", "model_args")  # the same network in another engine gives the same answers
MAX_BYTES, MOST_CLASSES, MOST_IMAGES = 64 << 20, 1_000_000, 1 << 53
LARGEST = 1e30  # of an energy: differences are float32
PROMISE = (
    "A set holds the true class at least as often as its coverage says, on average over images that come as these did. "
    "It promises nothing for another camera, place or season, for a mix of classes that differs, or for one class or "
    "one image: where images shift, calibrate again with labeled images from there."
)


@dataclass(frozen=True)
class Fit:
    """What is fitted to logits; see the modules of the parts.

    Attributes:
        temperature: of the probabilities.
        rule: of the scores of sets.
        scores: of the true classes.
        centers: the mean energy of each class.
        energies: above the centers.
    """

    temperature: float
    rule: Regularization
    scores: Scale
    centers: tuple[float, ...]
    energies: Scale


@dataclass(frozen=True, repr=False)
class Calibration:
    """A fit, and what made it.

    Attributes:
        fit: what is applied to logits.
        made_with: model, weights (their sha256), preprocessing, engine, precision: see `provenance.identity`.
        images: how many were read: all, fitting (that chose temperature, rule and centers), scoring (that gave scores
            and energies) and failed.
        seed: of the halves.
        figures: how good the answers are, see `judging.figures`.
        notes: what must be known of the images, such as that they also chose an epoch.
        versions: of the libraries.
    """

    fit: Fit
    made_with: Mapping[str, Any]
    images: Mapping[str, int]
    seed: int
    figures: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        """Return the model, the images and the temperature."""
        made = f"{self.made_with['model']!r}, images={self.images['all']}"
        return f"Calibration({made}, temperature={self.fit.temperature:.4f})"

    def save(
        self, path: str | PathLike[str], *, plot: str | PathLike[str] | None = None, overwrite: bool = False
    ) -> None:
        """Write the file, and, if `plot` names one, a picture of the figures, as PNG.

        Raises:
            UsageError: matplotlib is not installed.
            OutputError: a file exists, or cannot be written.
        """
        claim(Path(path), Path(plot) if plot else None, overwrite=overwrite)
        saving.save(Path(path), self.text())
        if plot:
            saving.save(Path(plot), plots.calibration_png(self.figures))

    def text(self) -> str:
        """Return the file's content: JSON, an entry per line."""
        fit = self.fit
        entries = {
            "format": FORMAT,
            **self.made_with,
            "classes": len(fit.centers),
            "images": dict(self.images),
            "seed": self.seed,
            "figures": dict(self.figures),
            "promise": PROMISE,
            "notes": list(self.notes),
            "versions": dict(self.versions or {}),
            "temperature": fit.temperature,
            "rule": asdict(fit.rule),
            "scores": asdict(fit.scores),
            "centers": list(fit.centers),
            "energies": asdict(fit.energies),
        }
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def sha256(self) -> str:
        """Return the sha256 of the file's content."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def require(self, now: Mapping[str, Any], name: str | PathLike[str]) -> None:
        """Check that the file `name` is of what runs now.

        Args:
            now: see `made_with`.
            name: for the message.

        Raises:
            UsageError: it is of another model, weights, preprocessing or precision.
        """
        then, here = _flat(self.made_with), _flat(now)
        differ = [key for key in then | here if then.get(key) != here.get(key)]
        if "weights" not in differ:  # the same network by another name
            differ = [key for key in differ if key != "model"]
        if differ:
            changes = "; ".join(f"{key} {shorten(then.get(key))}, now {shorten(here.get(key))}" for key in differ)
            raise UsageError(
                f"--calibration {name} was made with another network or preparation: {changes}. Run the model as it "
                "was calibrated, or `resnest calibrate` it as it runs now, or use --calibration none."
            )


def claim(path: Path | None, plot: Path | None, *, overwrite: bool) -> None:
    """Check, before the work, that the file and the picture can be written.

    Raises:
        UsageError: matplotlib is not installed, or the picture is no PNG.
        OutputError: a file exists, or cannot be written.
    """
    if plot and plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}: give a name that ends in .png.")
    if plot:
        plots.require()
    for file in filter(None, (path, plot)):
        saving.claim(file, overwrite=overwrite)


def read(path: str | PathLike[str]) -> Calibration:
    """Return the calibration in a file.

    Raises:
        UsageError: the file cannot be read, or `Calibration.save` cannot have written it.
    """
    try:
        return _of(Entries(parse(files.read(Path(path), MAX_BYTES))))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--calibration {path} cannot be used ({why}): make it with `resnest calibrate MODEL DIR -o {FILENAME}`."
        ) from error


def _of(given: Entries) -> Calibration:
    """Return a calibration from its entries, checked: anyone may have written them.

    Raises:
        ValueError: an entry does not fit.
    """
    if given.text("format") != FORMAT:
        message = f"its format is {shorten(given.values['format'])}, and not {FORMAT!r}"
        raise ValueError(message)
    classes, rule = given.integer("classes", 1, MOST_CLASSES), given.inside("rule")
    centers = given.numbers("centers", classes, LARGEST)
    if len(centers) != classes:
        message = f"it has {len(centers)} centers for {classes} classes"
        raise ValueError(message)
    fit = Fit(
        given.number("temperature", COLDEST / 2, HOTTEST * 2),
        Regularization(rule.integer("free", 1, MOST_CLASSES), rule.number("weight", 0, 1)),
        _scale(given, "scores"),
        centers,
        _scale(given, "energies"),
    )
    images = given.inside("images")
    return Calibration(
        fit,
        {
            "model": given.text("model"),
            "weights": given.text("weights"),
            "preprocessing": given.inside("preprocessing").values,
            "engine": given.text("engine"),
            "precision": given.text("precision"),
            "model_args": given.inside("model_args").values,
        },
        {name: images.integer(name, 0, MOST_IMAGES) for name in ("all", "fitting", "scoring", "failed")},
        given.integer("seed", 0, MOST_IMAGES),
        given.inside("figures").values,
        given.texts("notes"),
        given.inside("versions").values,
    )


def _scale(given: Entries, key: str) -> Scale:
    inside = given.inside(key)
    found = Scale(inside.integer("count", 1, MOST_IMAGES), inside.numbers("values", MOST, LARGEST))
    if len(found.values) != min(found.count, MOST) or list(found.values) != sorted(found.values):
        message = f"{key} has no {min(found.count, MOST)} numbers in ascending order"
        raise ValueError(message)
    return found


def _flat(made_with: Mapping[str, Any]) -> dict[str, str]:
    """Return what is compared, as text: each part of the preprocessing by its own name."""
    compared = {name: made_with.get(name) for name in COMPARED}
    parts = compared | dict(made_with.get("preprocessing") or {})
    return {name: json.dumps(value, sort_keys=True).strip('"') for name, value in parts.items()}
