"""The house itself: who imports whom, what starts light, and what others rely on by name."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from dataclasses import FrozenInstanceError, fields
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import pytest

import resnest_cli
from resnest_cli.cli import cli
from resnest_cli.cli.help import FEW, SECTIONS, Command
from resnest_cli.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Resnest, Shell

ROOT = Path(resnest_cli.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in sorted(ROOT.rglob("*.py"))
}


# Each may import what stands above it, and no two modules import one another, in a folder neither.
FOLDERS = [
    *(
        "wording",
        "errors",
        "text",
        "types",
        "options",
        "system",
        "net",
        "models",
        "inputs",
        "engines",
        "pipeline",
        "outputs",
    ),
    *("tasks", "training", "cluster", "serve", "cli"),
]
# Where each library of others is imported at the top of a file, by folder or module. Whatever loads long is imported by
# few, which others import in functions: so nothing that a command does not need is loaded (see the tests below).
AT_TOP = {
    "PIL": {"tasks.explain.heatmap", "inputs", "tasks.explain.pictures"},
    "click": {"cli"},
    "filelock": set(),
    "matplotlib": set(),
    "numpy": {
        "models.state",
        "models.random_weights",
        "inputs",
        "engines",
        "pipeline",
        "outputs",
        "tasks",
        "training",
        "cluster",
        "serve",
    },
    "openvino": {"engines.runtime"},
    "pyarrow": {"outputs.parquet"},
    "platformdirs": {"system.cache"},
    "prometheus_client": {"serve.metrics"},
    "python_multipart": {"serve.bodies"},
    "requests": {"net"},
    "rich": {"cli.output", "cli.training_screen"},
    "safetensors": {"models.state", "tasks.quantize", "tasks.export.to_torch", "training.folder"},
    "starlette": {"serve"},
    "timm": {"engines.pytorch", "tasks.explain", "tasks.export", "training"},
    "torch": {
        "engines.pytorch",
        "tasks.bench.peak_torch",
        "tasks.explain",
        "tasks.export",
        "tasks.quantize",
        "training",
    },
    "urllib3": {"net"},
    "uvicorn": {"serve.connections", "serve.server"},
    "yaml": {"training.job"},
}
# ... and in functions.
INSIDE = {
    "filelock": {"system.locks"},
    "matplotlib": {"outputs.lettering", "outputs.plots"},
    "nncf": {"engines.int8"},
    "onnx": {"tasks.export"},
    "onnxruntime": {"tasks.export"},
    "pyarrow": {"inputs", "outputs", "tasks.cosine", "cluster"},
    "ray": {"cluster"},
    "rich": {"cli"},
    "safetensors": {"tasks.export"},
    "timm": {"tasks.doctor"},
    "watchdog": {"inputs.notified"},
}
# What commands import at the top of their files; all else they import in their bodies.
CLI_AT_TOP = {
    *("", "errors", "options", "types", "inputs.splits", "outputs.limits", "outputs.formats"),
    *("tasks.bench.request", "tasks.quantize.options", "tasks.validate.request", "training.recipe", "serve.options"),
    *("system", "system.lifetime", "system.paths", "system.streams"),
    *("text", "text.layout", "text.terminal", "text.words"),
}
SCREENS = {"cli.output", "cli.training_screen"}  # imported by commands in their bodies: rich is heavy
HEAVY = {
    "torch",
    "timm",
    "torchvision",
    "numpy",
    "PIL",
    "huggingface_hub",
    "requests",
    "openvino",
    "filelock",
    "pyarrow",
    "ray",
    "starlette",
    "uvicorn",
}

# Each module in a fork of one process that has torch already: with an interpreter each they take minutes.
IMPORT_ALONE = """
import importlib, os, sys, traceback
import torch, timm
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


class Import(NamedTuple):
    """One imported module, and whether the import stands at the top of its file."""

    name: str
    at_top: bool


@cache
def tree(path: Path) -> ast.Module:
    """Return the parsed module."""
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Find what a module imports when it runs (not what only the type checker sees)."""

    def visit(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_top) for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            ours = {f"resnest_cli.{name}" for name in MODULES}
            yield from (Import(name if name in ours else node.module, at_top) for name in submodules)
        inside = at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_top=inside)

    return tuple(visit(tree(path), at_top=True))


def ours(module: str) -> set[str]:
    """Find the modules of this package that a module imports."""
    return {name.partition(".")[2] for name, _ in imports(MODULES[module]) if is_ours(name)}


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == "resnest_cli"


def within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_folders_are_these() -> None:
    assert {name.partition(".")[0] for name in MODULES} - {"", "__main__"} == set(FOLDERS)
    assert len([name for name in MODULES if "." not in name and MODULES[name].name != "__init__.py"]) <= 7


def test_arrows_point_down() -> None:
    order = {name: number for number, name in enumerate(["", *FOLDERS])}
    upward = [
        f"{module} imports {name}"
        for module in MODULES.keys() - {"", "__main__"}
        for name in ours(module)
        if order[name.partition(".")[0]] > order[module.partition(".")[0]]
    ]
    assert upward == []


def test_no_imports_go_in_a_circle() -> None:
    TopologicalSorter({module: ours(module) - {module} for module in MODULES}).prepare()


def test_libraries_of_others_are_imported_in_few_places() -> None:
    elsewhere = []
    for module, path in MODULES.items():
        for name, at_top in imports(path):
            package = name.partition(".")[0]
            if not is_ours(name) and package not in sys.stdlib_module_names:
                places = AT_TOP[package] if at_top else AT_TOP.get(package, set()) | INSIDE.get(package, set())
                elsewhere += [] if within(module, places) else [f"{module} imports {name}"]
    assert elsewhere == []


def test_commands_import_in_their_bodies() -> None:
    for module in sorted({name for name in MODULES if within(name, {"cli"})} - SCREENS):
        found = {name.partition(".")[2] for name, at_top in imports(MODULES[module]) if at_top and is_ours(name)}
        assert {name for name in found if not within(name, {"cli"})} | (found & SCREENS) <= CLI_AT_TOP, module


# Modules that read JSON of our own: packaged, of a process that we started, or written a line before.
OWN_JSON = {
    *("text.json_input", "models.catalog", "outputs.records", "tasks.bench.sweep", "tasks.bench.worker"),
    *("cluster.trunk", "cluster.folder", "cluster.stages"),
}


def test_json_that_others_may_have_written_is_read_by_one_function() -> None:
    found = {name for name, path in MODULES.items() if "json.load" in path.read_text()}
    assert (
        found - {"tasks.export.snippet", "outputs.parquet"} <= OWN_JSON
    )  # one writes a program that does, one says how
    assert not [name for name, path in MODULES.items() if "np.load(" in path.read_text()]


def test_every_module_imports_alone_without_a_warning(shell: Shell) -> None:
    names = [f"resnest_cli.{module}".removesuffix(".") for module in MODULES]
    ended = shell(sys.executable, "-W", "error", "-c", IMPORT_ALONE, *names)
    assert (ended.returncode, ended.stdout.decode(), ended.stderr.decode()) == (0, "", "")


LIGHT = [
    ("--help",),
    ("--version",),
    *((name, "--help") for name in cli.commands),
    ("list-models",),
    ("list-models", "-f", "json"),
    ("show", "resnest269e"),
    ("show", "digits", "-f", "csv"),
    ("show", "resnet50d"),
    ("cache", "list"),
    ("cache", "path"),
]
# Each command in a fork of one process that has the group of commands only: an interpreter for each takes 0.25 CPU
# seconds. What a command prints follows a NUL; what it loaded is a line on stderr.
LOADED = f"""
import atexit, json, os, sys
from resnest_cli.cli import main
for words in json.loads(sys.argv.pop()):
    print(end="\\0", flush=True)
    if not os.fork():
        atexit.register(lambda: print("LOADED", *(set(sys.modules) & {HEAVY!r}), file=sys.stderr))
        sys.argv[1:] = words
        main()
    os.wait()
"""


def test_what_needs_no_network_loads_no_framework(shell: Shell) -> None:
    ended = shell(sys.executable, "-c", LOADED, json.dumps(LIGHT))
    loaded = [line for line in ended.stderr.decode().splitlines() if line.startswith("LOADED")]
    assert list(zip(LIGHT, loaded, strict=True)) == [(words, "LOADED") for words in LIGHT]
    silent = [words for words, shown in zip(LIGHT, ended.stdout.split(b"\0")[1:], strict=True) if not shown]
    assert silent == [("show", "resnet50d")]


def test_the_public_names_are_these_and_each_resolves() -> None:
    assert sorted(resnest_cli.__all__) == [
        "Classifier",
        "DataConfig",
        "Embedder",
        "Engine",
        "Failure",
        "FakeEngine",
        "Index",
        "ModelSpec",
        "Options",
        "Prediction",
        "Record",
        "ResnestError",
        "Result",
        "Summary",
        "__version__",
        "calibrate",
        "check",
        "convert",
        "export",
        "find_model",
        "finetune",
        "list_models",
        "quantize",
        "sort",
        "tag",
        "train",
        "undo_sort",
        "validate",
    ]
    assert all(getattr(resnest_cli, name) is not None for name in resnest_cli.__all__)
    assert dir(resnest_cli) == sorted(resnest_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'classifier'"):
        resnest_cli.classifier  # type: ignore[attr-defined]  # noqa: B018 - reading it is the test


def test_the_package_is_typed_for_its_users() -> None:
    assert (ROOT / "py.typed").is_file()


VIEW = ["--quiet", "--verbose", "--no-progress"]
RUN = ["--device", "--engine", "--precision", "--batch", "--img-size"]
WEIGHTS = ["--weights", "--random-weights"]
IMAGES = [
    *("--workers", "--crop-pct", "--interpolation", "--mean", "--std", "--exif"),
    *("--timeout", "--max-pixels", "--allow-private-urls"),
]
RECIPE = [
    *("--epochs", "--batch", "--accumulate", "--optimizer", "--lr", "--momentum", "--weight-decay", "--layer-decay"),
    *("--schedule", "--warmup-epochs", "--clip", "--smoothing", "--mixup", "--augment", "--crop-scale", "--hflip"),
    *("--dropout", "--drop-block", "--ema", "--patience", "--balance", "--sync-bn", "--precision", "--seed"),
]
FIXED_SIZE = ["--img-size", "--crop-pct", "--interpolation", "--mean", "--std"]
WHERE = ["--device", "--gpus", "--workers"]
INPUTS = ["--files-from", "--null", "--exclude", "--recursive"]
OPTIONS = {
    "predict": [
        *(
            *INPUTS,
            "--topk",
            "--threshold",
            "--format",
            "--output",
            "--overwrite",
            "--resume",
            *("--append-new", "--by-hash", "--retry-failed", "--watch"),
            "--calibrate",
            "--max-failures",
        ),
        *(
            "--ray",
            "--ray-address",
            "--calibration",
            "--coverage",
            "--max-strangeness",
            "--with-exif",
            "--model",
            *WEIGHTS,
            "--labels",
            *RUN,
            *IMAGES,
            *VIEW,
        ),
    ],
    "embed": [
        *(
            *INPUTS,
            "--output",
            "--normalize",
            "--overwrite",
            "--resume",
            "--max-failures",
            "--ray",
            "--ray-address",
            "--model",
        ),
        *(*WEIGHTS, *RUN, *IMAGES, *VIEW),
    ],
    "explain": [
        *(*INPUTS, "--output", "--class", "--raw", "--overwrite", "--model", *WEIGHTS, "--labels"),
        *("--device", "--img-size", *IMAGES, *VIEW),
    ],
    "export": [
        *(
            "--to",
            "--output",
            "--raw-uint8",
            "--pictures",
            "--exclude",
            "--overwrite",
            *WEIGHTS,
            "--labels",
            "--img-size",
        ),
        *("--crop-pct", "--interpolation", "--mean", "--std", *VIEW),
    ],
    "quantize": [
        *(
            "--calibrate",
            "--exclude",
            "--output",
            "--samples",
            "--seed",
            "--min-agreement",
            "--overwrite",
            *WEIGHTS,
            "--labels",
        ),
        *("--img-size", "--crop-pct", "--interpolation", "--mean", "--std", *VIEW),
    ],
    "calibrate": [
        *("--output", "--split", "--exclude", "--seed", "--plot", "--overwrite"),
        *(*WEIGHTS, "--labels", *RUN, *IMAGES, *VIEW),
    ],
    "similar": [
        *("--exclude", "--index", "--topk", "--include-self", "--duplicates", "--format", "--output"),
        *("--overwrite", "--model", "--weights"),
        *("--device", "--engine", "--batch", "--workers", *VIEW),
    ],
    "check": [
        *("--sample", "--seed", "--format", "--model", "--weights", "--labels", "--calibration"),
        *("--device", "--engine", "--batch", "--workers", *VIEW),
    ],
    "tag": ["--min", "--apply", *VIEW],
    "convert": ["--format", "--output", "--overwrite", *VIEW],
    "sort": [
        *("--to", "--copy", "--link", "--hardlink", "--move", "--apply", "--min", "--failed", "--with-sidecars"),
        *("--undo", *VIEW),
    ],
    "serve": [
        *("--model", "--host", "--port", "--unix", "--token-file", "--max-batch", "--max-wait-ms", "--queue"),
        *(
            "--timeout",
            "--max-bytes",
            "--log",
            "--calibration",
            "--coverage",
            "--max-strangeness",
            *WEIGHTS,
            "--labels",
        ),
        *("--device", "--engine", "--precision", "--workers", "--max-pixels", *VIEW),
    ],
    "list-models": ["--format", "--sort"],
    "show": ["--format"],
    "finetune": [
        *(
            "--exclude",
            "--output",
            "--resume",
            "--val",
            "--groups",
            "--model",
            "--weights",
            "--random-weights",
            "--full",
            "--folds",
        ),
        *(*RECIPE, *FIXED_SIZE, *WHERE, *VIEW),
    ],
    "train": [
        *("--exclude", "--output", "--resume", "--val", "--groups", "--model", "--recipe", "--arch"),
        *(*RECIPE, *FIXED_SIZE, *WHERE, *VIEW),
    ],
    "cache": [],
    "doctor": ["--format"],
    "download": ["--all", "--verify", "--format", *VIEW],
    "validate": [
        *("--split", "--exclude", "--subset", "--real-labels", "--format", "--output", "--per-class", "--confusion"),
        "--mistakes",
        *("--overwrite", "--calibration", "--coverage", "--max-strangeness"),
        *("--model", *WEIGHTS, "--labels", *RUN, *IMAGES, *VIEW),
    ],
    "bench": [
        *("--seconds", "--images", "--exclude", "--baseline", "--format", "--output", "--plot", "--overwrite"),
        *("--model", "--engine", "--precision", "--batch", "--device", "--img-size", *VIEW),
    ],
}


def declared(command: click.Command) -> dict[str, click.Option]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return {next(name for name in option.opts if name.startswith("--")): option for option in options}


def test_every_option_of_a_long_help_has_its_section() -> None:
    known = set(chain.from_iterable(SECTIONS.values()))
    for name, command in cli.commands.items():
        if len(declared(command)) >= FEW:
            assert set(declared(command)) <= known, name
    assert known <= {"--help"}.union(*(declared(command) for command in cli.commands.values()))  # --help is click's


def test_an_int8_model_is_chosen_where_models_are() -> None:
    assert "--calibrate" in SECTIONS["Model"]


def test_every_command_has_our_help() -> None:
    assert all(isinstance(command, Command | click.Group) for command in cli.commands.values())


def test_one_module_writes_what_a_person_reads() -> None:
    """Other writes would skip what makes text from outside harmless."""
    writes = {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write", "traceback.print_exception"}
    writes |= {"sys.stdout.buffer.write", "sys.stderr.buffer.write", "Console", "rich.print", "traceback.print_exc"}
    for name in MODULES.keys() - {"text.terminal"}:
        calls = {ast.unparse(node.func) for node in ast.walk(tree(MODULES[name])) if isinstance(node, ast.Call)}
        assert calls & writes <= ({"Console"} if name == "cli.output" else set()), name


# All that starts a process, by module. An interpreter is started by `processes` alone: nothing comes from the working
# folder there. `/bin/sh` runs a line of ours; torch forks what decodes, or starts it by its own interpreter's flags.
STARTS = {
    "system.processes": {"subprocess.Popen", "sys.executable"},
    "inputs.pool": {"multiprocessing.connection.Connection"},
    "cluster.surroundings": {"subprocess.Popen"},
    "training.distributed": {"torch.distributed.run.run"},
}
STARTER = re.compile(
    r"subprocess\.(?!PIPE|DEVNULL).*|sys\.executable|os\.(exec|spawn|posix_spawn|fork|system|popen|startfile).*|pty\..*|"
    r"(torch\.)?multiprocessing\..*|concurrent\.futures\.Process.*|torch\.utils\.data\.DataLoader|"
    r"torch\.distributed\.run\.run|(runpy|webbrowser|joblib)\..*|asyncio\.(create_)?subprocess.*"
)


def test_one_module_starts_interpreters() -> None:
    found = {name: {use for use in uses(path) if STARTER.fullmatch(use)} for name, path in MODULES.items()}
    assert {name: starts for name, starts in found.items() if starts} == STARTS


def test_one_module_makes_openvinos_core() -> None:
    """A second core that ends leaves no stack for signal handlers: the next signal crashes the process."""
    made = {name for name, path in MODULES.items() if any(use.endswith("openvino.Core") for use in uses(path))}
    assert made == {"engines.runtime"}


def uses(path: Path) -> Iterator[str]:
    """Find the names of modules' members that a module uses, by their full names."""
    known: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            known |= {alias.asname or alias.name: alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and "." in known.get(node.id, ""):
            yield known[node.id]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in known:
            yield f"{known[ast.unparse(node.value)]}.{node.attr}"


# Where else files are written: in folders that nobody else may write in, since we have made them there and then.
WRITES_IN_ITS_OWN_FOLDER = {
    "tasks.export.exporter": {"write_text"},  # in `atomic.folder`
    "tasks.export.to_torch": {"write_bytes", "onnx.save", "torch.export.save"},  # ... too
    "tasks.quantize.quantization": {"write_text", "write_bytes", "shutil.copyfile"},  # ... too
    "engines.int8": {"openvino.save_model", "shutil.copyfile"},  # ... too, or in the cache's
    "engines.runtime": {"openvino.save_model"},  # ... too
    "inputs.labelled.layouts": {"target.open"},  # a `TemporaryDirectory`
    "cluster.stages": {"write_bytes"},  # ... too
    "training.checkpoints": {"torch.save"},  # into a file of `atomic.writer`
    "training.board": {"SummaryWriter"},  # in the folder of the run
    "system.trust": {"chmod"},  # in a new folder of the cache
    "system.transfer": {"chmod", "os.link"},  # an open file; a name that nothing has, or it fails
}
WRITING = {
    *("write_text", "write_bytes", "touch", "chmod", "lchmod", "tofile", "hardlink_to", "ParquetWriter", "FileIO"),
    *("np.save", "np.savez", "np.memmap", "torch.save", "torch.export.save", "onnx.save", "openvino.save_model"),
    *("save_file", "savefig", "os.truncate", "os.chown", "os.mkfifo", "os.mknod", "os.link"),
    *("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copymode", "shutil.copystat", "shutil.move"),
    *("shutil.copytree", "tempfile.mktemp", "tarfile.extractall", "extractall", "SummaryWriter"),
}
INTO_MEMORY = {"content", "out", "file", "text"}  # what a `BytesIO`, or what `files` has opened, is called


def writes(module: ast.AST) -> Iterator[str]:
    """Find the calls that open or change a file by its name."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        short = name.rpartition(".")[2]
        given = [ast.unparse(argument) for argument in (*node.args, *(word.value for word in node.keywords))]
        if short == "open" and any(re.fullmatch(r"'[rb]*[wax+][wxabt+]*'", word) for word in given):
            yield name
        elif name == "os.open" and any("O_WRONLY" in w or "O_RDWR" in w or "O_CREAT" in w for w in given):
            yield from [] if given[0] == "os.devnull" else [name]
        elif {name, short} & WRITING and (short in {"write_text", "write_bytes"} or not {*given[:2]} & INTO_MEMORY):
            yield name if name in WRITING else short


def test_one_module_opens_what_is_written() -> None:
    """Other writes would follow a link that somebody has put there."""
    for name in MODULES.keys() - {"system.files"}:
        found = set(writes(tree(MODULES[name])))
        assert found <= WRITES_IN_ITS_OWN_FOLDER.get(name, set()), name


def test_option_names_are_frozen() -> None:
    assert {name: list(declared(command)) for name, command in cli.commands.items()} == OPTIONS
    assert declared(cli.commands["predict"])["--batch"].opts == ["-b", "--batch", "--batch-size"]
    short = {opt for command in cli.commands.values() for o in declared(command).values() for opt in o.opts}
    assert {opt for opt in short if opt[1] != "-"} == {"-k", "-f", "-o", "-m", "-b", "-j", "-q", "-v", "-0"}


def test_every_option_can_be_set_by_an_environment_variable_of_its_name() -> None:
    for command_name, command in cli.commands.items():
        context = click.Context(
            command, info_name=command_name, parent=click.Context(cli, auto_envvar_prefix="RESNEST")
        )
        for long, option in declared(command).items():
            expected = f"RESNEST_{command_name}_{long[2:]}".upper().replace("-", "_")
            assert f"{context.auto_envvar_prefix}_{option.name}".upper().replace("-", "_") == expected


def test_an_environment_variable_sets_an_option(resnest: Resnest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNEST_LIST_MODELS_FORMAT", "csv")
    assert resnest("list-models").stdout.startswith("name,")


def test_the_defaults_of_options_and_of_the_command_line_are_one() -> None:
    for field in fields(Options):
        if field.name == "thumbnails":  # the format of the output decides that
            continue
        option = declared(cli.commands["predict"])[f"--{field.name.replace('_', '-')}"]
        assert option.default == field.default


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Options().model = "resnest14d"  # type: ignore[misc]


def test_python_m_is_the_same_command(shell: Shell) -> None:
    said = f"resnest, version {resnest_cli.__version__}{os.linesep}"
    for command in ("resnest", Path(sys.executable).with_name("resnest")):
        assert shell(command, "--version").stdout.decode() == said


def test_one_module_writes_tables() -> None:
    """Other writers would skip what keeps a spreadsheet from computing names."""
    writers = {
        name
        for name, path in MODULES.items()
        if re.search(r"\bcsv\.(writer|DictWriter)|import \*|writerow", path.read_text())
    }
    assert writers == {"text.cells"}
