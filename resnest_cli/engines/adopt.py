"""An exported model as a graph in the cache, where the OpenVINO engine finds it: read once, without torch.

In: the spec of a folder that `resnest export` or `resnest quantize` wrote. Out: a `Graph` that takes uint8 pixels
[N, H, W, 3], as all graphs do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.engines.foreign import adopt
from resnest_cli.engines.runtime import VERSION, save
from resnest_cli.errors import ModelError
from resnest_cli.models import graphs

if TYPE_CHECKING:
    from resnest_cli.models.folders import Content
    from resnest_cli.types import ModelSpec

WANT = "logits"


def make_graph(spec: ModelSpec, content: Content, name: str) -> graphs.Graph:
    """Put the graph of a model folder, as `folders.read_files` returned it, into the cache under the key `name`.

    Raises:
        ModelError: the export is damaged.
        OSError: the cache cannot be written.
    """
    try:
        facts, raw = {**_facts(spec), "origin": content.sha256}, spec.exported["input"]["dtype"] == "uint8"
    except (KeyError, TypeError) as error:
        message = f"{spec.folder}/config.json does not say what the export takes ({error}): export it anew."
        raise ModelError(message) from error
    graph = adopt(content.files, spec, raw=raw)
    return graphs.store(name, lambda folder: save(graph, folder / graphs.FILES[0]), facts)


def _facts(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model": spec.name,
        "architecture": spec.architecture,
        "want": WANT,
        "weights_sha256": spec.exported["weights_sha256"],
        "width": spec.num_classes,
        "param_count": spec.exported["param_count"],
        "versions": {"openvino": VERSION},
    }
