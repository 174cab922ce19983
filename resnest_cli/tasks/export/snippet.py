"""A short program that runs an export without this package: the runtime, Pillow and numpy are all it needs.

In: the config of an export. Out: Python text for the file beside it. It prepares pictures as `predict` does: upright,
on white where they are transparent, scaled where they have 16 bits. A comment at its top lists what it leaves out.
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
_LEFT_OUT = """\
# Prepares a picture as `resnest predict` does, but for what is rare: floats and 32-bit integers, deep colors, a
# transparent color of 16-bit gray, numbers that stand for "no data", and the color profiles of CMYK and Lab.
"""
_PREPARE = """\
def prepare(path):
    \"\"\"Return the pixels that the network sees, uint8 [1, height, width, 3].\"\"\"
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I;16"):  # gray of 16 bits, or of fewer in 16
        gray = np.asarray(image)
        white = next((white for white in (255, 1023, 4095, 16383) if gray.max() <= white), 65535)
        image = Image.fromarray((gray * (255 / white) + 0.5).astype(np.uint8))
    elif image.mode in ("I", "F"):
        sys.exit(f"{{path}}: numbers of this kind are not scaled here; `resnest predict` does.")
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        image = page
    image = image.convert("RGB")
    {resize}
    image = image.resize(size, Image.Resampling.{interpolation})
    crop = Image.new("RGB", ({width}, {height}), {fill})
    margins = [have - want for have, want in zip(image.size, crop.size)]
    crop.paste(image, tuple(-round(more / 2) if more >= 0 else -more // 2 for more in margins))
    return np.array(crop)[None]
"""


def snippet(config: Mapping[str, Any]) -> str:
    """Return the program: `python example.py IMAGE` prints the class and its probability."""
    block, data = config["export"], config["pretrained_cfg"]
    to, raw = block["format"], block["input"]["dtype"] == "uint8"
    mean, std = list(data["mean"]), list(data["std"])
    normalize = f"images = ((pixels / 255 - {mean}) / {std}).astype(np.float32).transpose(0, 3, 1, 2)"
    run = _RUNS[to].format(name=block["input"]["name"], value="pixels" if raw else "images")
    lines = [
        "folder = pathlib.Path(__file__).parent",
        _LOADS[to],
        'labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["label_names"]',
        "try:",
        "    pixels = prepare(sys.argv[1])",
        "except (OSError, ValueError) as error:",
        '    sys.exit(f"{sys.argv[1]}: Pillow does not read this picture ({error}); `resnest predict` may.")',
        *([] if raw else [normalize]),
        f"logits = {run}",
        "probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()",
        'print(labels[logits.argmax()], f"{probabilities.max():.4f}")',
    ]
    imports = f"import json, pathlib, sys\nimport numpy as np, {_IMPORTS[to]}\nfrom PIL import Image, ImageOps\n"
    return f"{_LEFT_OUT}{imports}\n\n{_prepare(data)}\n\n" + "\n".join(lines) + "\n"


def _prepare(data: Mapping[str, Any]) -> str:
    """Return the function that prepares a picture; `images.preprocess` uses the same formulas for sizes."""
    _, height, width = data["input_size"]
    tall, wide = (max(1, int(edge / data["crop_pct"])) for edge in (height, width))
    pick = "max" if data["crop_mode"] == "border" else "min"
    if data["crop_mode"] == "squash":
        resize = f"size = ({wide}, {tall})"
    elif data["crop_mode"] == "center" and tall == wide:
        resize = f"size = [int({tall} * side / min(image.size)) for side in image.size]"
    else:
        ratio = f"{pick}(image.width / {wide}, image.height / {tall})"
        resize = f"size = [max(1, round(side / {ratio})) for side in image.size]"
    fill = tuple(round(255 * value) for value in data["mean"]) if data["crop_mode"] == "border" else (0, 0, 0)
    return _PREPARE.format(
        resize=resize, interpolation=data["interpolation"].upper(), width=width, height=height, fill=fill
    )
