"""Export every variant, run the export without torch, and compare its answers with plain timm's.

In: a folder of JPEG photographs, and a Python that has onnxruntime and openvino but no torch. Out: a Markdown table.
The weights are seeded (`make_weights` in side_by_side_programs.py). The pictures have the variant's own size and run in
batches of 1, 3 and 8. The other Python reads inputs from .npy files and writes logits to .npy files.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from side_by_side_programs import make_weights, photographs

from resnest_cli import Options
from resnest_cli.engines.pytorch.network import build
from resnest_cli.inputs.find import find_sources
from resnest_cli.models import catalog
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.pipeline.stream import Pixels
from resnest_cli.tasks.export.exporter import export

BATCHES = (1, 3, 8)
RUN = """
import sys, numpy as np
from importlib.util import find_spec
assert find_spec("torch") is None and find_spec("resnest_cli") is None
folder, to, *inputs = sys.argv[1:]
if to == "onnx":
    import onnxruntime
    session = onnxruntime.InferenceSession(folder + "/model.onnx")
    run = lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0]
else:
    import openvino
    model = openvino.Core().compile_model(folder + "/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    run = lambda batch: model(batch)[0]
for path in inputs:
    np.save(path + ".out.npy", run(np.load(path)))
"""


def compare(name: str, to: str, folder: Path, python: str, photos: list[Path], *, raw: bool) -> str:  # noqa: PLR0913 - the facts of a row
    """Export one variant, run it in the other Python, and return its line of the table."""
    options = Options(name, weights=folder / f"{name}.safetensors")
    spec = catalog.resolve(options)
    place = folder / f"{name}-{to}"
    begin = time.perf_counter()
    export(options, to, place, raw_uint8=raw, pictures=[str(path) for path in photos])
    seconds = time.perf_counter() - begin
    with Decoders.of(spec.data, options) as decoders:
        pixels = np.stack([each.values for each in decoders.images(find_sources(photos)) if isinstance(each, Pixels)])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.data.mean, spec.data.std))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    inputs = [folder / f"{size}.npy" for size in BATCHES]
    ends = np.cumsum(BATCHES)
    for path, size, end in zip(inputs, BATCHES, ends, strict=True):
        np.save(path, pixels[end - size : end] if raw else images[end - size : end].contiguous().numpy())
    subprocess.run([python, "-I", "-c", RUN, str(place), to, *map(str, inputs)], check=True)  # noqa: S603 - ours
    found = np.concatenate([np.load(f"{path}.out.npy") for path in inputs])
    with torch.inference_mode():
        network = build(spec, folder / f"{name}.safetensors")
        expected = np.concatenate([network(image[None]).numpy() for image in images])
    probabilities = [torch.from_numpy(rows).softmax(1).numpy() for rows in (found, expected)]
    same = int((found.argmax(1) == expected.argmax(1)).sum())
    size_mb = sum(path.stat().st_size for path in place.glob("model.*")) / 1e6
    return (
        f"| {name} | {to}, {'uint8' if raw else 'float32'} | {size_mb:.0f} | {np.abs(found - expected).max():.1e} | "
        f"{np.abs(probabilities[0] - probabilities[1]).max():.1e} | {same} of {len(found)} | {seconds:.0f} |"
    )


def main() -> None:
    """Print the table line by line."""
    parser = argparse.ArgumentParser(description="Compare exports with plain timm, run without torch.")
    parser.add_argument("photographs", type=Path)
    parser.add_argument("python", help="a Python with onnxruntime and openvino, and without torch")
    parser.add_argument("--models", nargs="+", default=[spec.name for spec in catalog.list_models()])
    args = parser.parse_args()
    photos = photographs(str(args.photographs))[: sum(BATCHES)]
    print("| variant | format | MB | logits differ | probabilities differ | same class | export, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for number, name in enumerate(args.models):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            make_weights(name, str(args.photographs), str(folder / f"{name}.safetensors"))
            for to in ("onnx", "openvino"):
                raw = (number % 2 == 0) == (to == "onnx")  # each format with each kind of input
                print(compare(name, to, folder, args.python, photos, raw=raw), flush=True)


if __name__ == "__main__":
    main()
