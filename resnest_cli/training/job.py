"""What a run was asked for, as one value that `run.yaml` keeps, so that the run can be resumed without options.

In: a command's options. Out: a `Job`, and the model's spec with its new classes. Knows no framework.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from resnest_cli.errors import UsageError
from resnest_cli.inputs.labelled import training_set
from resnest_cli.models import catalog, config
from resnest_cli.options import Options
from resnest_cli.system import atomic, files
from resnest_cli.system.paths import look
from resnest_cli.text.json_input import LONGEST_PATH, Entries, shorten
from resnest_cli.training.recipe import VAL, Recipe
from resnest_cli.training.recipe import taken as recipe_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from resnest_cli.inputs.labelled.training_set import Found
    from resnest_cli.types import ModelSpec

FILENAME = "run.yaml"
MAX_BYTES = 1 << 18
MOST_FOLDS = 50
FINETUNE, TRAIN = "finetune", "train"
_DONE = {FINETUNE: "finetuned", TRAIN: "trained"}
# The options of a model that belong to a job; the others say where it runs, which may change when it is resumed.
OF_MODEL = ("model", "weights", "random_weights", "img_size", "crop_pct", "interpolation", "mean", "std")


@dataclass(frozen=True)
class Job:
    """One run. `full` trains all layers after the head (None: with a GPU); `arch` are arguments of the network.

    `exclude` are patterns of what to leave out of the folders of images, `groups` is as in `training_set.find`. With
    `folds` it is as many runs, each judged on another part of the images.
    """

    command: str
    data: str
    recipe: Recipe
    model: dict[str, Any] = field(default_factory=dict)
    arch: dict[str, Any] = field(default_factory=dict)
    val: float = VAL
    full: bool | None = None
    exclude: tuple[str, ...] = ()
    groups: str | None = None
    folds: int = 0

    def options(self, **where: Any) -> Options:  # noqa: ANN401 - fields of Options
        """Return the options that open the model this job starts from, on the device that `where` names."""
        return Options(**self.model, **where)

    def start(self) -> ModelSpec:
        """Find the model that this job starts from, with `arch` applied.

        Raises:
            UnknownModel, ModelError: see `catalog.find_model`.
        """
        spec = catalog.resolve(self.options())
        args = {key: value for key, value in spec.model_args.items() if key != "num_classes"} | self.arch
        return replace(spec, model_args=MappingProxyType(args))

    def find(self) -> Found:
        """Find the images to train on, without opening them.

        Raises:
            BadDataSet: see `training_set.find`; or they have sides already, and folds are asked for.
        """
        found = training_set.find(Path(self.data), exclude=self.exclude, groups=self.groups)
        if self.folds:
            training_set.check_undivided(found)
        return found

    def result(self, classes: tuple[str, ...]) -> ModelSpec:
        """Return the spec of the model that this job makes."""
        return replace(self.start(), num_classes=len(classes), label_names=classes, repo="", facts=MappingProxyType({}))


def write(job: Job, folder: Path) -> None:
    """Write `job` into its folder.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = yaml.safe_dump(_plain(asdict(job)), sort_keys=False, allow_unicode=True)
    with files.as_output_error(folder):
        atomic.write(folder / FILENAME, text.encode("utf-8", "surrogateescape"))


def read(folder: Path) -> Job:
    """Read back the job of a folder.

    Raises:
        UsageError: the folder has no run to resume.
    """
    path = folder / FILENAME
    try:
        return _job(Entries(yaml.safe_load(files.read(path, MAX_BYTES))))
    except FileNotFoundError as error:
        message = f"{folder} holds no run that could go on: it has no {FILENAME}. Leave --resume away to start one."
        raise UsageError(message) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = str(error).splitlines()[0] if isinstance(error, ValueError) else type(error).__name__
        message = f"{path} is not what a run wrote ({why}); start anew with another -o."
        raise UsageError(message) from error


def _job(given: Entries) -> Job:
    """Return the job of these entries.

    Raises:
        ValueError: an entry is not what `write` writes.
    """
    if strange := given.values.keys() - {item.name for item in fields(Job)}:
        message = f"{shorten(min(map(str, strange)))} is unknown"
        raise ValueError(message)
    model, arch = given.inside("model"), given.inside("arch").values
    config.check_args(arch)
    return Job(
        command=given.text("command"),
        data=given.text("data", longest=LONGEST_PATH),
        recipe=recipe_of(given.inside("recipe")),
        model={key: _of_model(model, key) for key in model.values},
        arch=arch,
        val=given.number("val", 0, 1) if "val" in given.values else Job.val,
        full=None if given.values.get("full") is None else given.flag("full"),
        exclude=given.texts("exclude") if "exclude" in given.values else (),
        groups=None if given.values.get("groups") is None else given.text("groups"),
        folds=given.integer("folds", 0, MOST_FOLDS) if "folds" in given.values else 0,
    )


def _of_model(model: Entries, key: str) -> Any:  # noqa: ANN401 - a field of Options, which checks the numbers
    if key not in OF_MODEL:
        message = f"{model.name} holds {shorten(key)}, which is unknown"
        raise ValueError(message)
    value = model.values[key]
    if value is not None and key in {"model", "weights", "interpolation"}:
        return model.text(key, longest=LONGEST_PATH)
    return model.flag(key) if key == "random_weights" else value


def folder_for(asked: Job) -> Path:
    """Return the default folder of a run: in the working folder, or beside the data if that is inside the data."""
    data = Path(os.path.abspath(asked.data))  # noqa: PTH100 - the name of `..`, without following links
    words = (data.name if look(data).is_folder else data.stem, Path(asked.model["model"]).name, _DONE[asked.command])
    name = Path("-".join(filter(None, words)))
    return data.parent / name if _is_inside(Path.cwd(), data) else name


def check_outside(out: Path, data: Path) -> None:
    """Refuse a folder for the run that lies in the data.

    Raises:
        UsageError: the message says what to type.
    """
    if _is_inside(out, data):
        data = Path(os.path.abspath(data))  # noqa: PTH100 - as above
        message = (
            f"{out} lies in {data}: the next run there would train on its pictures. Name a folder outside: "
            f"-o {shlex.quote(str(data.parent / f'{data.name}-{out.name}'))}"
        )
        raise UsageError(message)


def resumed(kept: Job, asked: Job, given: Collection[str]) -> Job:
    """Return the job that is resumed: the kept one, with the data and the higher number of epochs that are asked for.

    Only options that were `given` are compared. The data may have moved: they are compared when they are read. Folds
    take no more epochs: those that are done would have fewer.

    Raises:
        UsageError: the message names what differs.
    """
    old, new = _flat(kept), _flat(asked)
    differ = {name for name in old if name in {*given, "command"} - {"data"} and old[name] != new[name]}
    more = asked.recipe.epochs if "epochs" in differ and asked.recipe.epochs > kept.recipe.epochs else 0
    more = 0 if kept.folds else more
    if more and kept.full is False:
        message = f"--epochs {more}: this run is of the head alone, which takes none; train all layers with another -o."
        raise UsageError(message)
    if differ := differ - ({"epochs"} if more else set()):
        said = ", ".join(f"{name.replace('_', '-')} {old[name]!r} (now {new[name]!r})" for name in sorted(differ))
        message = f"--resume goes on as the run was begun: {said}. Leave that away, or start with another -o."
        raise UsageError(message)
    return replace(kept, data=asked.data, recipe=replace(kept.recipe, epochs=more or kept.recipe.epochs))


def parse_arch(pairs: Sequence[str]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as a dict; values as in YAML, with commas for lists: channels=16,32,64,128.

    Raises:
        UsageError: one is not a pair.
    """
    made = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key.isidentifier() and equals and value):
            message = f"--arch {pair}: use KEY=VALUE, such as channels=16,32,64,128 or stem_width=8."
            raise UsageError(message)
        read_value = [yaml.safe_load(part) for part in value.split(",")]
        made[key] = read_value if len(read_value) > 1 else read_value[0]
    return made


def absolute(path: str | os.PathLike[str] | None) -> str | None:
    """Return a path that holds in any working folder, without following links."""
    return None if path is None else str(Path(path).absolute())


def _is_inside(path: Path, data: Path) -> bool:
    """Return whether a path is a folder of data, or below it; links are followed."""
    return look(data).is_folder and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(data))


def _flat(job: Job) -> dict[str, Any]:
    kept = _plain(asdict(job))
    return {**kept.pop("recipe"), **kept.pop("model"), **kept}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever YAML can hold
    """Return a value with lists for tuples, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
