"""What a benchmark is asked for, as one frozen value.

In: options of the command line, or keyword arguments. Out: the values, unchecked; see `job`. Standard library only: the
command line takes texts and defaults from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.options import Options

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What is measured, and where the rows go. Every combination of the first four is a configuration.

    The first line of a value is its help on the command line.

    Attributes:
        model: Variants, or all of them; digits, folder, hf-hub:OWNER/REPO.
        engine: auto, openvino, torch; all is openvino,torch.
        precision: auto, fp32, bf16, fp16, int8.
        batch: Images per forward pass, as 1,8,32.
        seconds: Time budget per configuration.
        images: Also time a folder of images, from files to answers, per stage.
        exclude: Leave out of folders the names and paths that match; may be repeated.
        baseline: Also time plain eager timm, in turns.
        format: Output format.
            "auto", "table", or one of `rows.WRITERS`.
        output: Write to this file instead of stdout.
        plot: Draw speed against accuracy, and against batch size.
        overwrite: Replace files that exist.
    """

    model: tuple[str, ...] = (Options.model,)
    engine: tuple[str, ...] = (Options.engine,)
    precision: tuple[str, ...] = (Options.precision,)
    batch: tuple[int | str, ...] = (Options.batch,)
    seconds: float = 20.0
    images: Path | None = None
    exclude: tuple[str, ...] = ()
    baseline: bool = False
    format: str = "auto"
    output: Path | None = None
    plot: Path | None = None
    overwrite: bool = False
