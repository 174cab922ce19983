"""Measure what answering images one by one costs: the time that a call adds, and the throughput of many.

In: a variant (random weights). Out: the median time that `model(image)` and `model.submit(image)` add to decoding and
the network, in milliseconds; and the throughput of `submit` as a share of the engine alone, on images that need no
resizing. Everything runs in turns, in one process.
"""

from __future__ import annotations

import argparse
import io
import time
from concurrent.futures import wait
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from resnest_cli import Classifier
from resnest_cli.engines import window
from resnest_cli.inputs.loading import Loader
from resnest_cli.types import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WARM_UP = 5  # calls that are not counted


def seconds(do: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    do()
    return time.perf_counter() - begin


def latency(model: Classifier, calls: int) -> dict[str, float]:
    """Return the median milliseconds that each kind of call takes, and that decoding and the network take alone."""
    content = encoded()
    load, engine = Loader.of(model.spec.data, model.options), model.engine
    parts = {
        "decoding and network": lambda: engine.submit(load(Source("", content=content)).values[None]).result(),
        "model(image)": lambda: model(content),
        "model.submit(image)": lambda: model.submit(content).result(),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(WARM_UP + calls):
        engine.prepare(single=True)
        for name, do in parts.items():
            taken[name].append(seconds(do))
    return {name: 1e3 * median(values[WARM_UP:]) for name, values in taken.items()}


def throughput(model: Classifier, images: int, rounds: int) -> float:
    """Return the throughput of `submit` as a share of the engine's, the median over the rounds."""
    edge = round(model.spec.data.input_size[1] / model.spec.data.crop_pct)
    picture = np.random.default_rng(1).integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    height, width, channels = model.engine.shape
    ready: NDArray[np.uint8] = picture[:height, :width].copy().reshape(1, height, width, channels)
    shares = []
    for _ in range(rounds + 1):
        alone = seconds(lambda: list(window.rows(model.engine, [ready] * images)))
        submitted = seconds(lambda: wait([model.submit(picture) for _ in range(images)]))
        shares.append(alone / submitted)
    return median(shares[1:])


def encoded() -> bytes:
    """Return a JPEG file of 640 x 480 pixels."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnest50d", help="variant, default: %(default)s")
    parser.add_argument("--calls", type=int, default=50, help="calls of each kind, default: %(default)s")
    parser.add_argument("--images", type=int, default=100, help="images per round, default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of throughput, default: %(default)s")
    args = parser.parse_args()
    with Classifier(args.model, random_weights=args.model != "digits") as model:
        taken = latency(model, args.calls)
        for name, milliseconds in taken.items():
            print(f"{name:22} {milliseconds:8.2f} ms  {milliseconds - taken['decoding and network']:+.2f}")
        print(f"submit, many images    {throughput(model, args.images, args.rounds):8.1%} of the engine alone")


if __name__ == "__main__":
    main()
