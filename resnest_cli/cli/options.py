"""The options that commands share, and how a command gets them: as `Options`, and as a `View` of stderr.

Each default is that of the `Options` field with the same name.
"""

from __future__ import annotations

import functools
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from resnest_cli.cli.parameters import AnyName, ModelName, OrAuto, OutputFolder, Several
from resnest_cli.cli.view import VERBOSE, View
from resnest_cli.options import ALL, ENGINES, INTERPOLATIONS, PRECISIONS, Options
from resnest_cli.outputs.limits import LEAST_ROWS, MaxFailures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resnest_cli.pipeline.trunk import RunnerFactory

    Decorator: TypeAlias = Callable[[Any], Any]


def _option(*names: str, **settings: Any) -> Decorator:  # noqa: ANN401 - passed on to click
    """Declare an option of `Options`; its field is named like the long option."""
    field = next(name for name in names if name.startswith("--")).split("/")[0].lstrip("-").replace("-", "_")
    default = settings.pop("default", getattr(Options, field))
    return click.option(*names, field, default=default, show_default=default is not None, **settings)


MODEL = _option(
    "-m", "--model", type=ModelName(), metavar="MODEL", help="Variant, digits, folder or hf-hub:OWNER/REPO."
)
WEIGHTS_FILE = _option("--weights", type=AnyName, metavar="FILE", help="Local checkpoint for the variant.")
WEIGHTS = (WEIGHTS_FILE, _option("--random-weights", is_flag=True, help="Random, untrained weights, for trials."))
LABELS = _option("--labels", type=AnyName, metavar="FILE", help="One class name per line, instead of the model's.")
DEVICE = _option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, mps or xpu.")
ENGINE = _option("--engine", type=click.Choice(ENGINES), help="What runs the network.")
PRECISION = _option(
    "--precision", type=click.Choice(PRECISIONS), help="auto is fp32, timm's numbers; int8 in int8 folders."
)
BATCH = _option("-b", "--batch", "--batch-size", type=OrAuto(int), metavar="N|auto", help="Images per forward pass.")
IMG_SIZE = _option("--img-size", type=int, metavar="N", help="Edge of the network's input, in pixels.")
RUN = (DEVICE, ENGINE, PRECISION, BATCH, IMG_SIZE)
# A benchmark takes several values of each.
SWEPT = (
    _option(
        *("-m", "--model"),
        type=Several(ModelName()),
        metavar="MODEL,...",
        help="Variants, or all of them; digits, folder, hf-hub:OWNER/REPO.",
    ),
    _option(
        "--engine",
        type=Several(click.Choice([*ENGINES, ALL])),
        metavar="ENGINE,...",
        help=f"{', '.join(ENGINES)}; all is openvino,torch.",
    ),
    _option(
        "--precision",
        type=Several(click.Choice(PRECISIONS)),
        metavar="PRECISION,...",
        help=f"{', '.join(PRECISIONS)}.",
    ),
    _option(
        *("-b", "--batch", "--batch-size"),
        type=Several(OrAuto(int)),
        metavar="N,...|auto",
        help="Images per forward pass, as 1,8,32.",
    ),
)
WORKERS = _option("-j", "--workers", type=OrAuto(int), metavar="N|auto", help="Decoding processes; 0 uses none.")
PREPROCESSING = (
    _option("--crop-pct", type=float, metavar="P", help="Share of the resized edge that the center crop keeps."),
    _option("--interpolation", type=click.Choice(INTERPOLATIONS), help="How images are resized."),
    _option("--mean", type=float, nargs=3, metavar="R G B", help="Subtracted from each channel (scale 0..1)."),
    _option("--std", type=float, nargs=3, metavar="R G B", help="Each channel is divided by it (scale 0..1)."),
)


def _images(exif_default: str) -> tuple[Decorator, ...]:
    """Declare how images are read and decoded."""
    turn = f"Turn images upright by their EXIF orientation.  [default: {exif_default}]"
    return (
        WORKERS,
        *PREPROCESSING,
        _option("--exif/--no-exif", help=turn),
        _option("--timeout", type=float, metavar="S", help="Seconds for reading and decoding an image."),
        _option("--max-pixels", type=int, metavar="N", help="Refuse images with more pixels."),
        _option("--allow-private-urls", is_flag=True, help="Fetch from this machine and private networks."),
    )


IMAGES = _images("exif")
VIEW = (
    click.option("-q", "--quiet", is_flag=True, help="Write only errors on stderr."),
    click.option("-v", "--verbose", is_flag=True, help="Write more: sources, times per stage, tracebacks."),
    click.option("--no-progress", is_flag=True, help="Show no progress bar."),
)
EXCLUDE = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out of folders the names and paths that match; may be repeated.",
)
OUTPUT_FOLDER = click.option(
    "-o", "--output", required=True, type=OutputFolder(), metavar="DIR", help="The folder to make."
)
OVERWRITE_FOLDER = click.option("--overwrite", is_flag=True, help="Replace the folder if there is one.")


def format_option(formats: Iterable[str], default: str) -> Decorator:
    """Declare `-f/--format`."""
    kind = click.Choice([*formats])
    return click.option("-f", "--format", default=default, show_default=True, type=kind, help="Output format.")


OVERWRITE_FILE = click.option("--overwrite", is_flag=True, help="Replace an output file that exists.")
RESUME = click.option("--resume", is_flag=True, help="Continue the job that was stopped while it wrote that file.")
max_failures_option = click.option(
    "--max-failures",
    type=MaxFailures.of,
    metavar="N|P%",
    help=f"Stop, with code 1, when more inputs have failed; P% from {LEAST_ROWS} rows on, and at the end.",
)


def ray_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare where rows are computed; the command gets `runner`, None for this machine."""

    @functools.wraps(command)
    def collect(*, ray: bool, ray_address: str | None, **values: Any) -> None:  # noqa: ANN401 - as declared
        command(runner=_runner(ray_address) if ray or ray_address else None, **values)

    where = "Run on Ray Data: a cluster (see --ray-address), or a private one here."
    address = "The cluster; RAY_ADDRESS names it too, with --ray."
    ray = click.option("--ray", is_flag=True, help=where)
    return declare(collect, (ray, click.option("--ray-address", metavar="auto|HOST:PORT", help=address)))


def _runner(address: str | None) -> RunnerFactory:
    from resnest_cli.cluster.trunk import RayTrunk

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    return functools.partial(RayTrunk, address=None if address == "local" else address)


def collected(
    *declared: Decorator, apart: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare options, and those of `View`; the command gets `view`, `options` if any is declared, the rest by name.

    `apart` are options that are named like a field of `Options`, but go to the command by name.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collect(*, quiet: bool, verbose: bool, no_progress: bool, **values: Any) -> None:  # noqa: ANN401 - as declared
            click.get_current_context().meta[VERBOSE] = verbose
            names = [field.name for field in fields(Options) if field.name in values and field.name not in apart]
            if names:
                values["options"] = Options(**{name: values.pop(name) for name in names})
            command(view=View(quiet=quiet, progress=not (quiet or no_progress), verbose=verbose), **values)

        return declare(collect, (*declared, *VIEW))

    return decorate


def declare(command: Callable[..., None], declared: Iterable[Decorator]) -> Callable[..., None]:
    """Add arguments and options to a command, in the order of its help."""
    for add in reversed([*declared]):
        command = add(command)
    return command


_ANY_MODEL = (MODEL, *WEIGHTS)
_MOVED = click.option(
    *("-m", "--model"),
    default="",
    type=ModelName(),
    metavar="MODEL",
    help="Where the index's model is now, if it moved.",
)
model_options = collected(*_ANY_MODEL, LABELS, *RUN, *IMAGES)
feature_options = collected(*_ANY_MODEL, *RUN, *IMAGES)  # no classes
explain_options = collected(*_ANY_MODEL, LABELS, DEVICE, IMG_SIZE, *IMAGES)  # one image at a time, on torch
validate_options = collected(
    *_ANY_MODEL, LABELS, *RUN, *_images("exif, but no-exif for models with a published number")
)
export_options = collected(*WEIGHTS, LABELS, IMG_SIZE, *PREPROCESSING)  # the model is an argument
query_options = collected(_MOVED, WEIGHTS_FILE, DEVICE, ENGINE, BATCH, WORKERS)  # the index has precision and size
sweep_options = collected(*SWEPT, DEVICE, IMG_SIZE, apart=("model", "engine", "precision", "batch"))
