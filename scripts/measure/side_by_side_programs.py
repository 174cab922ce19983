"""The programs that side_by_side.py measures, and the programs that prepare their models; each runs as a process.

    python side_by_side_programs.py PROGRAM ARGUMENT...

In: the name of a program and its arguments. Out: JSON lines, a rate, or a file, as the program says.
"""
# ruff: noqa: PLC0415 - each program imports only what it needs

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

FEW = 24  # photographs for trials and for the statistics of the norms
LOGIT_STD = 3.0
ENGINE_PHOTOGRAPHS = 200  # their pixels are kept in memory


def make_weights(model: str, folder: str, file: str) -> None:
    """Write seeded weights under which every block counts and answers depend on the photograph.

    The recipe is that of tests/helpers/lively.py, which explains it; the norms have statistics of photographs.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(model)
    paths = photographs(folder)
    images = reader(network)(paths[:: max(1, len(paths) // FEW)][:FEW])
    with torch.no_grad():
        for name, norm in network.named_modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.weight.uniform_(*((0.03, 0.1) if name.endswith("bn3") else (0.6, 1.2)))
                norm.bias.normal_(0, 0.1)
                norm.momentum = 1.0  # use the statistics of the next batch
        network.train()(images)
        network.get_parameter("fc.weight").mul_(LOGIT_STD / network.eval()(images).std())
    save_file(network.state_dict(), file)


def plain_timm(model: str, weights: str, batch: str, place: str) -> None:
    """Classify a photograph or a folder as timm's model card does; print one JSON line per photograph."""
    import timm
    import torch

    network = timm.create_model(model, checkpoint_path=weights).eval()
    read, paths, size = reader(network), photographs(place), int(batch)
    with torch.inference_mode():
        for start in range(0, len(paths), size):
            group = paths[start : start + size]
            top = network(read(group)).softmax(dim=1).topk(5)
            for path, *answer in zip(group, top.indices.tolist(), top.values.tolist(), strict=True):
                print(json.dumps([str(path), *answer]), flush=True)


def fastapi_server(model: str, weights: str) -> None:
    """Answer images with plain timm behind FastAPI, one per request, as tutorials do; on a free port."""
    import io
    import socket

    import fastapi
    import timm
    import torch
    import uvicorn
    from PIL import Image
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    network = timm.create_model(model, checkpoint_path=weights).eval()
    data = resolve_model_data_config(network)  # type: ignore[no-untyped-call] # timm has no types
    transform = create_transform(**data, is_training=False)
    app = fastapi.FastAPI()

    async def predict(request: fastapi.Request) -> list[dict[str, float]]:
        image = Image.open(io.BytesIO(await request.body())).convert("RGB")
        with torch.inference_mode():
            shares, classes = network(transform(image)[None]).softmax(1)[0].topk(5)
        pairs = zip(classes.tolist(), shares.tolist(), strict=True)
        return [{"index": index, "probability": share} for index, share in pairs]

    predict.__annotations__["request"] = fastapi.Request  # it is imported in this function only
    app.post("/predict", response_model=None)(predict)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr)
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])


def engine_alone(model: str, weights: str, precision: str, folder: str) -> None:
    """Print the images per second of the engine of `resnest` on pixels in memory."""
    from resnest_cli import Options
    from resnest_cli.engines import window
    from resnest_cli.engines.choose import open_engine
    from resnest_cli.inputs.decode import images
    from resnest_cli.models import catalog

    options = Options(model, weights=weights or None, precision=precision, device="cpu")
    engine = open_engine(catalog.resolve(options), options)
    paths = photographs(folder)[:ENGINE_PHOTOGRAPHS]
    pixels = [images.load(path.read_bytes(), engine.spec.data)[None] for path in paths]
    list(window.rows(engine, pixels[:FEW]))
    begin = time.perf_counter()
    done = sum(len(rows) for rows in window.rows(engine, pixels))
    print(done / (time.perf_counter() - begin))


def make_int8(model: str, weights: str, folder: str, place: str) -> None:
    """Write an int8 model folder, calibrated on the photographs; random weights need no agreement."""
    from resnest_cli.tasks.quantize.quantization import quantize

    quantize(model, folder, place, weights=weights, min_agreement=0)


def reader(network: torch.nn.Module) -> Callable[[list[Path]], torch.Tensor]:
    """Return a function from files to a batch float32 [N, 3, H, W], with timm's own transform."""
    import torch
    from PIL import Image
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    data: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    transform = create_transform(**data, is_training=False)
    return lambda paths: torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


def photographs(place: str | Path) -> list[Path]:
    """Return the JPEG files of a folder in order of name, or the one file at `place`."""
    here = Path(place)
    found = [here] if here.is_file() else sorted(here.iterdir())
    return [path for path in found if path.suffix.lower() in {".jpg", ".jpeg"}]


PROGRAMS: dict[str, Callable[..., None]] = {
    "weights": make_weights,
    "int8": make_int8,
    "timm": plain_timm,
    "engine": engine_alone,
    "fastapi": fastapi_server,
}


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
