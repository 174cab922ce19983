"""`finetune` and `train` as one call each.

In: a folder or table of labeled images, and keywords named like the options of the commands. Out: a `Finished` run.
Imports neither torch nor yaml: a program without the extra "torch" is told how to install it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.options import Options, check_names
from resnest_cli.system.imports import require_torch
from resnest_cli.training import recipe
from resnest_cli.training.events import Done
from resnest_cli.training.recipe import Items

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from typing_extensions import Unpack

    from resnest_cli.training.events import Event


class Common(Items, total=False):
    """What both commands take beside the items of the recipe."""

    exclude: Sequence[str]
    val: float
    groups: str | None
    model: str
    img_size: int | None
    crop_pct: float | None
    interpolation: str | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    device: str
    workers: int | str


class Finetuning(Common, total=False):
    """The keywords of `finetune`."""

    weights: str | PathLike[str] | None
    random_weights: bool
    full: bool | None
    folds: int


class Training(Common, total=False):
    """The keywords of `train`."""

    arch: Mapping[str, Any]


@dataclass(frozen=True)
class Finished:
    """A run that is complete.

    Attributes:
        folder: the model folder; of folds, the folder with a model folder for each.
        metrics: what `metrics.json` in it holds: accuracy ("top1", a share), "per_class", "verdict" and others. Of
            several processes (torchrun) only the first has them.
    """

    folder: Path
    metrics: dict[str, Any] = field(repr=False)


def finetune(
    data: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    resume: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
    **asked: Unpack[Finetuning],
) -> Finished:
    """Adapt a pretrained model to your own classes, as `resnest finetune` does.

    >>> run = finetune("flowers/", out="flowers-model", model="resnest50d", epochs=10)
    >>> print(run.metrics["top1"])

    Args:
        data: a folder of class folders, or of train and val with such folders; or a table with path and label.
        out: the folder to make, outside `data`; None: one in the working folder, named after data and model.
        resume: continue the run in that folder, as it was begun or with more epochs. The command does it too.
        on_event: is called with each event of `training.events`, for progress.
        **asked: any option of the command: `model`, `epochs`, `full`, `folds`, `val`, `lr`, `batch`, `device` ...

    Raises:
        TypeError: a keyword that is no option of the command.
        BadDataSet, UsageError, DeviceError, WeightsUnavailable: before anything is trained.
        TrainingStopped, OutputError: during training; the last good checkpoint stands, and `resume=True` continues.
    """
    check_names(asked, [*Finetuning.__annotations__])
    return _run("finetune", recipe.FINETUNE, data, out, resume, on_event, dict(asked))


def train(
    data: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    resume: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
    **asked: Unpack[Training],
) -> Finished:
    """Train a network from scratch with the published recipe, as `resnest train` does.

    >>> run = train("flowers/", out="flowers-model", model="resnest14d", arch={"stem_width": 8})

    Args:
        data: as for `finetune`.
        out: as for `finetune`.
        resume: as for `finetune`.
        on_event: as for `finetune`.
        **asked: any option of the command; `arch` has arguments of the network.

    Raises:
        TypeError, BadDataSet, UsageError, DeviceError, TrainingStopped, OutputError: as `finetune` does.
    """
    check_names(asked, [*Training.__annotations__])
    return _run("train", recipe.RESNEST, data, out, resume, on_event, dict(asked))


def _run(  # noqa: PLR0913, PLR0917 - what both take
    command: str,
    defaults: recipe.Recipe,
    data: str | PathLike[str],
    out: str | PathLike[str] | None,
    resume: bool,  # noqa: FBT001 - passed on
    on_event: Callable[[Event], None],
    asked: dict[str, Any],
) -> Finished:
    require_torch(command)
    from resnest_cli.training.request import Request  # noqa: PLC0415 - yaml is of the extra

    given = set(asked)
    how = replace(defaults, **_taken(asked, recipe.Recipe))
    options = Options(**_taken(asked, Options))
    output = Path(out) if out is not None else None
    exclude = tuple(asked.pop("exclude", ()))
    request = Request(command, Path(data), how, options, output, resume=resume, exclude=exclude, **asked)
    plan = request.settle(given)
    metrics: dict[str, Any] = {}
    for event in plan.start():
        on_event(event)
        if isinstance(event, Done):
            metrics = event.metrics
    return Finished(plan.out, metrics)


def _taken(asked: dict[str, Any], kind: type[recipe.Recipe | Options]) -> dict[str, Any]:
    """Take the fields of a dataclass out of what is asked for."""
    return {item.name: asked.pop(item.name) for item in fields(kind) if item.name in asked}
