"""A finished export in words: (name, value) texts for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resnest_cli.tasks.export.exporter import Exported


def facts(made: Exported) -> Iterator[tuple[str, str]]:
    """Yield folder, inputs, outputs, and how near the file's answers are to the model's."""
    block, parity = made.config["export"], made.parity
    size = sum((made.folder / name).stat().st_size for name in block["files"])
    yield "folder", f"{made.folder} ({', '.join(block['files'])}: {size / 1e6:.1f} MB)"
    for end in ("input", "output"):
        yield end, f"{block[end]['name']}: {block[end]['dtype']} {block[end]['shape']}".replace("'", "")
    yield "takes", block["input"]["range"]
    yield (
        "compared",
        f"{parity.images} pictures with {parity.against}, in batches of {', '.join(map(str, parity.batches))}",
    )
    yield "logits", f"up to {parity.max_logit:.2f}, differ by at most {parity.max_logit_difference:.1e}"
    yield "probabilities", f"differ by at most {parity.max_probability_difference:.1e}"
    yield "first class", f"the same for {parity.same_class} of {parity.images}"
