"""An export in OpenVINO's own format: .xml with its weights in a .bin beside it. Needs no torch.

In: what is exported, and the config of the folder. Out: the files; and a function that runs them on a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_cli.engines import checkpoints
from resnest_cli.engines.build import build
from resnest_cli.engines.openvino import runner
from resnest_cli.engines.runtime import save
from resnest_cli.models import architecture, folders
from resnest_cli.tasks.export.formats import is_raw, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resnest_cli.tasks.export.formats import Original, Run

FILE = folders.FILES["openvino"][0]


def write(original: Original, folder: Path, config: Mapping[str, Any]) -> None:
    """Write the files, with the metadata of the config under "resnest" in the runtime information.

    Raises:
        OSError: they cannot be written.
    """
    network = architecture.of(original.spec)
    state = checkpoints.load(original.spec, original.path, network.shapes, sha256=original.sha256).state
    graph = build(network, state, original.spec.data, raw=is_raw(config))
    for key, value in metadata(config).items():
        graph.set_rt_info(value, ["resnest", key])
    save(graph, folder / FILE)


def load(folder: Path) -> Run:
    """Return a function that runs the files: a batch in, logits float32 [N, C] out."""
    return runner(folder / FILE)
