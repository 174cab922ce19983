"""A short program that runs an export without this package: the runtime, Pillow and numpy are all it needs.

In: the config of an export. Out: Python text for the file beside it. Its preprocessing is this package's, in few lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_IMPORTS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
_LOADS = {
    "onnx": 'session = onnxruntime.InferenceSession(folder / "model.onnx")',
    "openvino": (
        'model = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})'
    ),
    "torch": 'model = torch.export.load(folder / "model.pt2").module()',
}
_RUNS = {
    "onnx": 'session.run(None, {{"{name}": {value}}})[0][0]',
    "openvino": "model({value})[0][0]",
    "torch": "model(torch.from_numpy({value})).detach().numpy()[0]",
}
_RESIZES = {
    "center": "[{scaled} * side // min(image.size) for side in image.size]",
    "squash": "[{scaled}, {scaled}]",
    "border": "[max(1, round({scaled} * side / max(image.size))) for side in image.size]",
}


def snippet(config: Mapping[str, Any]) -> str:
    """Write the program: `python example.py IMAGE` prints the class and its probability."""
    block, data = config["export"], config["pretrained_cfg"]
    to, (_, height, width) = block["format"], data["input_size"]
    resize = _RESIZES[data["crop_mode"]].format(scaled=int(height / data["crop_pct"]))
    raw = block["input"]["dtype"] == "uint8"
    mean, std = list(data["mean"]), list(data["std"])
    normalise = f"images = ((pixels / 255 - {mean}) / {std}).astype(np.float32).transpose(0, 3, 1, 2)"
    run = _RUNS[to].format(name=block["input"]["name"], value="pixels" if raw else "images")
    lines = [
        "import json, pathlib, sys",
        f"import numpy as np, {_IMPORTS[to]}",
        "from PIL import Image",
        "",
        "folder = pathlib.Path(__file__).parent",
        _LOADS[to],
        'labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["label_names"]',
        'image = Image.open(sys.argv[1]).convert("RGB")',
        f"image = image.resize({resize}, Image.Resampling.{data['interpolation'].upper()})",
        f"left, top = round((image.width - {width}) / 2), round((image.height - {height}) / 2)",
        f"pixels = np.array(image.crop((left, top, left + {width}, top + {height})))[None]",
        *([] if raw else [normalise]),
        f"logits = {run}",
        "probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()",
        'print(labels[logits.argmax()], f"{probabilities.max():.4f}")',
    ]
    return "\n".join(lines) + "\n"
