"""resnest: image classification with the ResNeSt family, from the command line and from Python.

>>> from resnest_cli import Classifier
>>> with Classifier("digits") as model:
...     for record in model.predict(["three.png", "scans/"]):
...         print(record.path, record.top1.label if record.ok else record.message)

Public names are resolved on first use, so that importing the package (and `resnest --help`) loads no framework.
"""

from __future__ import annotations

import os
from importlib import import_module

# Not from `typing`: with `python -m` a file of this name in the working folder would run before `__main__` can help.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from resnest_cli.engines.base import Engine as Engine
    from resnest_cli.engines.fake import FakeEngine as FakeEngine
    from resnest_cli.errors import ResnestError as ResnestError
    from resnest_cli.models.catalog import find_model as find_model
    from resnest_cli.models.catalog import list_models as list_models
    from resnest_cli.options import Options as Options
    from resnest_cli.outputs.summary import Summary as Summary
    from resnest_cli.tasks.calibrate.calibration import calibrate as calibrate
    from resnest_cli.tasks.check.job import check as check
    from resnest_cli.tasks.convert import convert as convert
    from resnest_cli.tasks.embed import Embedder as Embedder
    from resnest_cli.tasks.export.exporter import export as export
    from resnest_cli.tasks.predict import Classifier as Classifier
    from resnest_cli.tasks.quantize.quantization import quantize as quantize
    from resnest_cli.tasks.similar import Index as Index
    from resnest_cli.tasks.sort.job import sort as sort
    from resnest_cli.tasks.sort.undo import undo_sort as undo_sort
    from resnest_cli.tasks.tag import tag as tag
    from resnest_cli.tasks.validate.validation import validate as validate
    from resnest_cli.training.calls import finetune as finetune
    from resnest_cli.training.calls import train as train
    from resnest_cli.types import DataConfig as DataConfig
    from resnest_cli.types import Failure as Failure
    from resnest_cli.types import ModelSpec as ModelSpec
    from resnest_cli.types import Prediction as Prediction
    from resnest_cli.types import Record as Record
    from resnest_cli.types import Result as Result

# No telemetry, a dependency's neither. huggingface_hub reads this when it is first imported, by us or by timm.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "tasks.predict",
    "DataConfig": "types",
    "Embedder": "tasks.embed",
    "Engine": "engines.base",
    "Failure": "types",
    "FakeEngine": "engines.fake",
    "Index": "tasks.similar",
    "ModelSpec": "types",
    "Options": "options",
    "Prediction": "types",
    "Record": "types",
    "ResnestError": "errors",
    "Result": "types",
    "Summary": "outputs.summary",
    "calibrate": "tasks.calibrate.calibration",
    "check": "tasks.check.job",
    "convert": "tasks.convert",
    "export": "tasks.export.exporter",
    "find_model": "models.catalog",
    "finetune": "training.calls",
    "list_models": "models.catalog",
    "quantize": "tasks.quantize.quantization",
    "sort": "tasks.sort.job",
    "tag": "tasks.tag",
    "train": "training.calls",
    "undo_sort": "tasks.sort.undo",
    "validate": "tasks.validate.validation",
}

__all__ = [  # noqa: PLE0604 - the one list of names is _HOMES
    "__version__",
    *_HOMES,
]


if not TYPE_CHECKING:  # a type checker knows the names above, and is to report any other

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: whatever the name stands for
        """Import a public name on first use."""
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
