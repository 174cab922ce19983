"""Which engine runs a model, in which precision, and why.

In: a spec and `Options`. Out: an opened `Engine` whose `reason` says why it was chosen. Engines are imported in
functions only: torch need not be installed, and is not loaded where nothing hints at a GPU. Does not know what the rows
are for.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from resnest_cli.errors import OutputError, UsageError
from resnest_cli.models import architecture, folders, graphs, weights
from resnest_cli.models.check import require_torch
from resnest_cli.models.folders import INT8
from resnest_cli.system import imports, machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resnest_cli.engines.base import Engine
    from resnest_cli.engines.inspection import Inspector
    from resnest_cli.options import Options
    from resnest_cli.types import ModelSpec

EXPLANATION = "explanation"  # what the graph of an inspector is for

_log = logging.getLogger(__name__)


def open_engine(spec: ModelSpec, options: Options, *, want: str = "logits") -> Engine:
    """Open an engine with the weights that `options` name, for "logits" or pooled "features".

    What the options leave to "auto" suits what they name. What they name is used or refused, never replaced.

    Raises:
        UsageError: the engine cannot do what the options ask for.
        WeightsUnavailable, BadCheckpoint: see `weights.locate` and `checkpoints.load`.
        DeviceError: the device is missing, or does not compute the precision.
        OutputError: OpenVINO was asked for, and its graph cannot be kept in the cache.
    """
    why_torch = _why_torch(spec, options)
    if options.engine == "openvino" and why_torch:
        message = f"--engine openvino: {why_torch}. Use --engine auto or torch."
        raise UsageError(message)
    options = replace(options, precision=_settle_precision(spec, options, why_torch, want))
    if folders.is_exported(spec):
        return _open_exported(spec, options, why_torch, want)
    if options.precision == INT8:
        return _open_int8(spec, options)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    if not why_torch:
        try:
            return _open_openvino(spec, options, path, want)
        except OSError as error:
            if options.engine == "openvino" or not imports.has_torch():
                raise _no_room(spec, error) from error
            why_torch = f"its graph cannot be kept ({error})"
            _log.warning("%s, so that torch runs instead of openvino", why_torch)
    imports.announce("torch")
    from resnest_cli.engines.pytorch.engine import TorchEngine  # noqa: PLC0415 - seconds

    engine = TorchEngine(spec, path, device=options.device, precision=options.precision, want=want)
    engine.reason += f"; {why_torch}"
    return engine


def _why_torch(spec: ModelSpec, options: Options) -> str:
    """Return why torch must run the model, or "" if OpenVINO can.

    Raises:
        UsageError: torch must, and is not installed.
    """
    require_torch(options)
    if why := _why_torch_at_once(spec, options):
        imports.require_torch(f"{spec.name} ({why})")
        return why
    if options.device == "cpu" or (options.device == "auto" and _why_auto_is_cpu(spec, options)):
        return ""
    imports.announce("torch")
    from resnest_cli.engines.pytorch.engine import choose_device  # noqa: PLC0415 - seconds

    return "" if choose_device(options.device)[0].type == "cpu" else "GPUs run in torch"


def _why_torch_at_once(spec: ModelSpec, options: Options) -> str:
    """Return why torch must run the model, whatever the device is, or ""."""
    if options.engine == "torch":
        return "torch asked for"
    if options.precision == "fp16":
        return f"{options.precision} runs in torch"
    if find_spec("openvino") is None:
        return "openvino is not installed"
    return "" if folders.is_exported(spec) else architecture.why_timm(spec)


def _why_auto_is_cpu(spec: ModelSpec, options: Options) -> str:
    """Return why `--device auto` is the CPU, or "" if torch must look for a GPU."""
    if not machine.may_have_accelerator():
        return "no GPU found"
    if options.engine == "openvino":
        return "openvino asked for"
    if options.precision == INT8:
        return "int8 asked for"
    if folders.is_exported(spec):
        return "an exported model"
    return "" if imports.has_torch() else "torch is not installed"


def _why_cpu(spec: ModelSpec, options: Options) -> str:
    if options.device == "cpu":
        return "asked for"
    machine.mention_idle_gpu()
    if why := _why_auto_is_cpu(spec, options):
        return why
    from resnest_cli.engines.pytorch.engine import choose_device  # noqa: PLC0415 - `_why_torch` has imported it

    return choose_device(options.device)[1]


def _settle_precision(spec: ModelSpec, options: Options, why_torch: str, want: str) -> str:
    """Return the precision that was named; for "auto", int8 if the model folder has an int8 graph, else fp32.

    Raises:
        UsageError: int8 was named and is not possible.
    """
    own = folders.is_int8(spec) and options.weights is None and not options.random_weights
    if options.precision not in {"auto", INT8}:
        return options.precision
    if options.precision == "auto" and not own:
        return "fp32"
    problem = why_torch or _why_not_int8(spec, options, want, own=own)
    if problem and options.precision == INT8:
        message = f"--precision int8: {problem}. Or use --precision auto."
        raise UsageError(message)
    if problem:
        _log.warning("%s: %s, so that its weights run in fp32 instead of int8", spec.name, problem)
    return "fp32" if problem else INT8


def _why_not_int8(spec: ModelSpec, options: Options, want: str, *, own: bool) -> str:
    """Return why int8 is not possible, or "". `own` says that the model folder's own int8 graph is to run."""
    from resnest_cli.engines.runtime import has_int8  # noqa: PLC0415 - heavy

    if not has_int8():
        return "this CPU has no instructions for int8, which would be slower"
    if want != "logits":
        return "an int8 graph gives classes only, no features"
    if not own and not options.random_weights:
        return "first make an int8 model: resnest quantize MODEL --calibrate DIR -o OUT, then --model OUT"
    option = folders.fixed_option(spec) if own else ""
    return option and f"{option} is fixed in its int8 graph"


def _open_openvino(spec: ModelSpec, options: Options, path: Path | None, want: str) -> Engine:
    """Open the graph of these weights, made now if the cache has none.

    Raises:
        OSError: no graph can be kept anywhere.
    """
    with ThreadPoolExecutor(1) as pool:  # reading files and importing take a tenth of a second each
        looked_up = pool.submit(_look_up, spec, path, want)
        from resnest_cli.engines.openvino import OpenVinoEngine  # noqa: PLC0415 - heavy
        from resnest_cli.engines.runtime import require_native  # noqa: PLC0415 - heavy

        require_native(options.precision)
    made = _made(spec, path, want, *looked_up.result())
    return OpenVinoEngine(spec, made, precision=options.precision, reason=_why_cpu(spec, options))


def _look_up(spec: ModelSpec, path: Path | None, want: str) -> tuple[str, graphs.Graph | None]:
    digest = weights.sha256(path) if path else weights.RANDOM
    return digest, graphs.find(graphs.key(spec, digest, want))


def _made(spec: ModelSpec, path: Path | None, want: str, digest: str, found: graphs.Graph | None) -> graphs.Graph:
    """Return the graph that was found, or one that is made now."""
    if found:
        return found
    from resnest_cli.engines import graph  # noqa: PLC0415 - not needed for what is cached

    return graph.ensure(spec, path, digest, want)


def open_inspector(spec: ModelSpec, options: Options) -> Inspector:
    """Open what shows how a model comes to its answers: on the CPU without torch, on GPUs with it.

    Raises:
        UsageError: an exported model, which has its answers only; or torch must run it, and is not installed.
        WeightsUnavailable, BadCheckpoint, DeviceError: see `open_engine`.
        OutputError: the graph cannot be kept in the cache.
    """
    if folders.is_exported(spec):
        message = f"{spec.name} is an exported model, which gives answers only. Use the model that it was made from."
        raise UsageError(message)
    why_torch = _why_torch(spec, options)
    path = None if options.random_weights else weights.locate(spec, options.weights)
    if why_torch:
        from resnest_cli.engines.pytorch.inspection import TorchInspector  # noqa: PLC0415 - seconds

        return TorchInspector(spec, path, options.device)
    from resnest_cli.engines.inspection import OpenVinoInspector  # noqa: PLC0415 - heavy

    try:
        made = _made(spec, path, EXPLANATION, *_look_up(spec, path, EXPLANATION))
    except OSError as error:
        raise _no_room(spec, error) from error
    return OpenVinoInspector(made, _why_cpu(spec, options))


def _open_exported(spec: ModelSpec, options: Options, why_torch: str, want: str) -> Engine:
    """Open a folder that `resnest export` wrote: OpenVINO reads its own format and ONNX.

    Raises:
        UsageError: an export cannot do what the options ask for.
        ModelError: a file is damaged.
    """
    folders.check_request(spec, options, why_torch, want)
    from resnest_cli.engines.openvino import OpenVinoEngine  # noqa: PLC0415 - heavy
    from resnest_cli.engines.runtime import require_native  # noqa: PLC0415 - heavy

    require_native(options.precision)
    return OpenVinoEngine(spec, _adopted(spec), precision=options.precision, reason="an exported model")


def _open_int8(spec: ModelSpec, options: Options) -> Engine:
    """Open the int8 graph of a model folder; or, for speed tests, one with random weights.

    Raises:
        UsageError: a graph with random weights is to be made, and NNCF is not installed.
        ModelError: a file is damaged.
    """
    from resnest_cli.engines.openvino import OpenVinoEngine  # noqa: PLC0415 - heavy

    if not options.random_weights:
        return OpenVinoEngine(spec, _adopted(spec), precision=INT8, reason="an int8 model")
    name = graphs.key(spec, weights.RANDOM, INT8)

    def make() -> graphs.Graph:
        from resnest_cli.engines.int8 import make_random_graph  # noqa: PLC0415 - NNCF: seconds

        return make_random_graph(spec, name)

    return OpenVinoEngine(spec, _kept(spec, name, make), precision=INT8)


def _adopted(spec: ModelSpec) -> graphs.Graph:
    """Return the graph of a model folder's own graph files, checked and put into the cache."""
    from resnest_cli.engines.adopt import WANT, make_graph  # noqa: PLC0415 - heavy

    content = folders.read_files(spec)
    name = graphs.key(spec, content.sha256, WANT)
    return _kept(spec, name, lambda: make_graph(spec, content, name))


def _kept(spec: ModelSpec, name: str, make: Callable[[], graphs.Graph]) -> graphs.Graph:
    """Return the graph of this key, made now if the cache has none. Nothing else can run it.

    Raises:
        OutputError: the cache cannot be written.
    """
    try:
        return graphs.find(name) or graphs.ensure(name, make)
    except OSError as error:
        raise _no_room(spec, error) from error


def _no_room(spec: ModelSpec, error: OSError) -> OutputError:
    return OutputError(f"{spec.name}: its graph cannot be kept ({error}). Set RESNEST_CACHE to a folder to write in.")
