"""`resnest export`: a model as a folder that runs elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import EXCLUDE
from resnest_cli.cli.options import export_options, refuse_lost
from resnest_cli.cli.parameters import ModelName, Names, OutputFolder
from resnest_cli.text.terminal import put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.tasks.export.exporter import Exported


@click.command(cls=Command)
@click.argument("model", type=ModelName())
@click.option(
    "--to", required=True, type=click.Choice(["onnx", "openvino", "torch"]), help="Format; onnx needs the extra onnx."
)
@click.option("-o", "--output", required=True, type=OutputFolder(), metavar="DIR", help="The folder to make.")
@click.option("--raw-uint8", is_flag=True, help="Take pixels, uint8 [N, H, W, 3], and normalise inside.")
@click.option(
    "--pictures",
    type=Names(),
    multiple=True,
    metavar="PATH",
    help="Compare with torch on these, not on bundled images.",
)
@EXCLUDE
@click.option("--overwrite", is_flag=True, help="Replace the folder if there is one.")
@export_options
def export(  # noqa: PLR0913 - one parameter an option
    *,
    to: str,
    output: Path,
    raw_uint8: bool,
    pictures: tuple[str, ...],
    exclude: tuple[str, ...],
    overwrite: bool,
    options: Options,
    view: View,
) -> None:
    """Write a model as a folder that runs elsewhere, without torch and without resnest.

    MODEL is a variant, digits, a model folder or hf-hub:OWNER/REPO. It takes batches of any size, as normalised float32
    [N, 3, H, W], or as raw pixels with --raw-uint8. Class names and preprocessing are in the file's metadata and in
    config.json beside it.

    The folder gets its name when the file in it has given torch's answers to real pictures, in batches of 1, 3 and 8.
    `resnest predict -m DIR` runs it, from OpenVINO for onnx and openvino. A torch program may hold code, so that one is
    never loaded from a folder: there, the weights beside it run.

    \b
    Examples:
      resnest export resnest50d --to onnx -o resnest50d-onnx
      resnest export digits --to openvino --raw-uint8 -o digits-openvino
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.models import folders
    from resnest_cli.outputs import saving

    refuse_lost(options)
    folders.require(to)
    saving.claim_folder(output, overwrite=overwrite)
    with view.doing("loading torch"):
        from resnest_cli.tasks.export.exporter import SAMPLES
        from resnest_cli.tasks.export.exporter import export as write

    compared = pictures or (str(SAMPLES),)
    said = write(options, to, output, raw_uint8=raw_uint8, overwrite=overwrite, pictures=compared, exclude=exclude)
    from resnest_cli.cli.output import console, facts

    console(sys.stdout).print(facts(list(_rows(said))))
    if not view.quiet:
        put(f"\nWithout resnest: python {output / 'example.py'} IMAGE, which is\n")
        put(said.snippet.removesuffix("\n"))


def _rows(said: Exported) -> Iterator[tuple[str, str]]:
    block, parity = said.config["export"], said.parity
    size = sum((said.folder / name).stat().st_size for name in block["files"])
    yield "folder", f"{said.folder} ({', '.join(block['files'])}: {size / 1e6:.1f} MB)"
    for end in ("input", "output"):
        yield end, f"{block[end]['name']}: {block[end]['dtype']} {block[end]['shape']}".replace("'", "")
    yield "takes", block["input"]["range"]
    yield "compared", f"{parity.images} pictures with torch, in batches of {', '.join(map(str, parity.batches))}"
    yield "logits", f"up to {parity.max_logit:.2f}, differ by at most {parity.max_logit_difference:.1e}"
    yield "probabilities", f"differ by at most {parity.max_probability_difference:.1e}"
    yield "first class", f"the same for {parity.same_class} of {parity.images}"
