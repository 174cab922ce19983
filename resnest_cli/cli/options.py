"""The options that commands share. Each default is that of the `Options` field with the same name."""

from __future__ import annotations

import functools
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli.parameters import ModelName, OrAuto, Several
from resnest_cli.cli.view import VERBOSE, View
from resnest_cli.options import ENGINES, INTERPOLATIONS, PRECISIONS, Options
from resnest_cli.outputs.limits import LEAST_ROWS, MaxFailures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resnest_cli.pipeline.trunk import Opener

ALL = "all"


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - passed on to click
    """Declare an option of `Options`; its field is named like the long option."""
    field = next(name for name in names if name.startswith("--")).split("/")[0].lstrip("-").replace("-", "_")
    default = settings.pop("default", getattr(Options, field))
    return click.option(*names, field, default=default, show_default=default is not None, **settings)


_MODEL = _option(
    "-m", "--model", type=ModelName(), metavar="MODEL", help="Variant, digits, folder or hf-hub:OWNER/REPO."
)
_DEVICE = _option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, mps or xpu.")
_IMG_SIZE = _option("--img-size", type=int, metavar="N", help="Edge of the network's input, in pixels.")
_RUN = (
    _DEVICE,
    _option("--engine", type=click.Choice(ENGINES), help="What runs the network."),
    _option("--precision", type=click.Choice(PRECISIONS), help="auto is fp32, timm's numbers; int8 in int8 folders."),
    _option("-b", "--batch", "--batch-size", type=OrAuto(int), metavar="N|auto", help="Images per forward pass."),
    _IMG_SIZE,
)
# What a benchmark takes several of.
_SWEPT = (
    _option(
        *("-m", "--model"),
        type=Several(ModelName()),
        metavar="MODEL,...",
        help="Variants, or all of them; digits, folder, hf-hub:OWNER/REPO.",
    ),
    _option(
        *("--engine",),
        type=Several(click.Choice([*ENGINES, ALL])),
        metavar="ENGINE,...",
        help=f"{', '.join(ENGINES)}; all is openvino,torch.",
    ),
    _option(
        *("--precision",),
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
_WEIGHTS = (
    _option("--weights", type=click.Path(), metavar="FILE", help="Local checkpoint for the variant."),
    _option("--random-weights", is_flag=True, help="Untrained weights: the answers mean nothing."),
)
_LABELS = (
    _option("--labels", type=click.Path(), metavar="FILE", help="One class name per line, instead of the model's."),
)
_TURN = "Turn images upright by their EXIF orientation."
_EXIF = _option("--exif/--no-exif", help=f"{_TURN}  [default: exif]")
_EXIF_OR_AS_PUBLISHED = _option(
    "--exif/--no-exif", help=f"{_TURN}  [default: exif, but no-exif for models with a published number]"
)
_WORKERS = _option("-j", "--workers", type=OrAuto(int), metavar="N|auto", help="Decoding processes; 0 uses none.")
_PREPROCESSING = (
    _option("--crop-pct", type=float, metavar="P", help="Share of the resized edge that the centre crop keeps."),
    _option("--interpolation", type=click.Choice(INTERPOLATIONS), help="How images are resized."),
    _option("--mean", type=float, nargs=3, metavar="R G B", help="Subtracted from each channel (scale 0..1)."),
    _option("--std", type=float, nargs=3, metavar="R G B", help="Each channel is divided by it (scale 0..1)."),
)
_IMAGES = (
    _WORKERS,
    *_PREPROCESSING,
    _EXIF,
    _option("--timeout", type=float, metavar="S", help="Seconds that reading and decoding an image may take."),
    _option("--max-pixels", type=int, metavar="N", help="Refuse images with more pixels."),
    _option("--allow-private-urls", is_flag=True, help="Fetch from this machine and private networks."),
)
_MOVED = "Where the index's model is now, if it moved."
_MAX_FAILURES = click.option(
    "--max-failures",
    metavar="N|P%",
    help=f"Stop, with code 1, when more inputs have failed; P% from {LEAST_ROWS} rows on, and at the end.",
)
_RAY = (
    click.option("--ray", is_flag=True, help="Run on Ray Data: a cluster (see --ray-address), or a private one here."),
    click.option("--ray-address", metavar="auto|HOST:PORT", help="The cluster; RAY_ADDRESS names it too, with --ray."),
)
_VIEW = (
    click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
    click.option("-v", "--verbose", is_flag=True, help="Say more: sources, times by stage, tracebacks."),
    click.option("--no-progress", is_flag=True, help="Show no progress bar."),
)


def view_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare how much is said on stderr; the command gets what a `View` is made of."""
    return declare(command, _VIEW)


def format_option(formats: Iterable[str], default: str) -> Callable[[Any], Any]:
    """Declare `-f/--format`."""
    kind = click.Choice([*formats])
    return click.option("-f", "--format", default=default, show_default=True, type=kind, help="Output format.")


def max_failures_option(command: Callable[..., None]) -> Callable[..., None]:
    """Declare how many inputs may fail; the command gets `most`."""

    @functools.wraps(command)
    def collect(*, max_failures: str | None, **values: Any) -> None:  # noqa: ANN401 - as declared
        command(most=MaxFailures() if max_failures is None else MaxFailures.of(max_failures), **values)

    return declare(collect, (_MAX_FAILURES,))


def ray_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare where rows are computed; the command gets `elsewhere`, None for here."""

    @functools.wraps(command)
    def collect(*, ray: bool, ray_address: str | None, **values: Any) -> None:  # noqa: ANN401 - as declared
        command(elsewhere=_elsewhere(ray_address) if ray or ray_address else None, **values)

    return declare(collect, _RAY)


def _elsewhere(address: str | None) -> Opener:
    from resnest_cli.cluster import RayTrunk

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    return functools.partial(RayTrunk, address=None if address == "local" else address)


def refuse_lost(options: Options) -> None:
    """Refuse a model, class names or weights that cannot be meant: before torch is loaded, which takes seconds."""
    from resnest_cli.models import catalog, labels, weights

    spec = catalog.resolve(options)
    labels.load(spec, options.labels)
    if options.weights is not None:
        weights.locate(spec, options.weights)


def sweep_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what a benchmark needs; the command gets `options`, `view`, and a tuple for each option of `_SWEPT`."""
    return _collected(command, (*_SWEPT, _DEVICE, _IMG_SIZE, *_VIEW), apart=("model", "engine", "precision", "batch"))


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add every option of `Options`; the command gets `options` and `view`."""
    return _collected(command, (_MODEL, *_WEIGHTS, *_LABELS, *_RUN, *_IMAGES, *_VIEW))


def feature_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what a task needs that knows no classes; the command gets `options` and `view`."""
    return _collected(command, (_MODEL, *_WEIGHTS, *_RUN, *_IMAGES, *_VIEW))


def validate_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add every option of `Options`; whether images are turned depends on the model."""
    images = [_EXIF_OR_AS_PUBLISHED if option is _EXIF else option for option in _IMAGES]
    return _collected(command, (_MODEL, *_WEIGHTS, *_LABELS, *_RUN, *images, *_VIEW))


def export_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what is fixed in an export; the command, whose argument is the model, gets `options` and `view`."""
    return _collected(command, (*_WEIGHTS, *_LABELS, _RUN[-1], *_PREPROCESSING, *_VIEW))


def explain_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what a task needs that runs on torch, one image at a time; the command gets `options` and `view`."""
    device, size = _RUN[0], _RUN[-1]
    return _collected(command, (_MODEL, *_WEIGHTS, *_LABELS, device, size, *_IMAGES, *_VIEW))


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add where a model is that something else names, and how it runs; the command gets `options` and `view`."""
    moved = click.option("-m", "--model", default="", type=ModelName(), metavar="MODEL", help=_MOVED)
    place, run = (moved, _WEIGHTS[0]), (*_RUN[:2], _RUN[3], _WORKERS)  # precision and size are the index's
    return _collected(command, (*place, *run, *_VIEW))


def _collected(
    command: Callable[..., None], declared: tuple[Callable[[Any], Any], ...], *, apart: tuple[str, ...] = ()
) -> Callable[..., None]:
    @functools.wraps(command)
    def collect(*, quiet: bool, verbose: bool, no_progress: bool, **values: Any) -> None:  # noqa: ANN401 - as declared
        click.get_current_context().meta[VERBOSE] = verbose
        names = [field.name for field in fields(Options) if field.name in values and field.name not in apart]
        given = {name: values.pop(name) for name in names}
        view = View(quiet=quiet, progress=not (quiet or no_progress), verbose=verbose)
        command(options=Options(**given), view=view, **values)

    return declare(collect, declared)


def declare(command: Callable[..., None], declared: Iterable[Callable[[Any], Any]]) -> Callable[..., None]:
    """Add arguments and options to a command, in the order in which its help is to show them."""
    for add in reversed([*declared]):
        command = add(command)
    return command
