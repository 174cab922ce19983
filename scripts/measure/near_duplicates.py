"""Measure which near-duplicates `finetune` and `train` find, and which images they take for some wrongly.

In: a folder of photos; scikit-learn's digits too. Out: for each change of an image, the share that is found beside its
original among all images; and the pairs found among the originals, which may be true ones. Not part of the tests: it
needs photos, and takes a minute for 3000.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from resnest_cli.inputs import likeness

sys.path.append(str(Path(__file__).parents[1] / "data"))
from digits_folders import digits

if TYPE_CHECKING:
    from collections.abc import Iterable


def changed(image: Image.Image) -> dict[str, Image.Image]:
    """Return the versions of an image."""
    width, height = image.size
    edge_x, edge_y, packed = round(width / 100), round(height / 100), io.BytesIO()
    image.save(packed, "JPEG", quality=60)
    return {
        "half the size": image.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.LANCZOS),
        "JPEG of quality 60": Image.open(packed).convert("RGB"),
        "10 % brighter": image.point(lambda value: min(255, round(1.1 * value))),
        "1 % cut from each edge": image.crop((edge_x, edge_y, width - edge_x, height - edge_y)),
        "2 % cut from two edges": image.crop((0, 0, width - 2 * edge_x, height - 2 * edge_y)),
        "mirrored": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }


def measure(name: str, images: Iterable[tuple[str, Image.Image]]) -> None:
    """Print what is found among some images."""
    names, originals, versions = [], [], []
    for each, image in images:
        names.append(each)
        originals.append(likeness.fingerprint(image))
        versions.append({change: likeness.fingerprint(made) for change, made in changed(image).items()})
    count, begun = len(names), time.perf_counter()
    found = {(min(pair), max(pair)) for pair in likeness.pairs(originals)}
    seconds = time.perf_counter() - begun
    print(f"{name}: {count:,} images, {originals.count(b'')} with too little in them; {seconds:.2f} s to compare")
    for change in versions[0]:
        both = set(likeness.pairs([*originals, *(each[change] for each in versions)]))
        hits = sum((i, i + count) in both or (i + count, i) in both for i in range(count))
        print(f"  {change}: {hits / count:.1%} found")
    print(f"  pairs among the originals: {len(found)}")
    for first, second in sorted(found):
        print(f"    {names[first]} {names[second]}")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description="Measure which near-duplicates are found.")
    parser.add_argument("folder", type=Path, help="photos (.jpg), at any depth")
    folder = parser.parse_args().folder
    measure("photos", ((str(each), Image.open(each).convert("RGB")) for each in sorted(folder.rglob("*.jpg"))))
    measure("digits", ((f"{each.label}/{each.row}", each.image) for each in digits()))


if __name__ == "__main__":
    main()
