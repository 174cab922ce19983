"""`resnest export`: a model as a folder that runs elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyName, ModelName
from resnest_cli.options import Options
from resnest_cli.text.layout import put_facts

if TYPE_CHECKING:
    from pathlib import Path

    from resnest_cli.cli.view import View


@shared.command(
    click.argument("model", type=ModelName()),
    click.option(
        "--to",
        required=True,
        type=click.Choice(["onnx", "openvino", "torch"]),
        help="Format; onnx and torch need the extra of that name.",
    ),
    shared.OUTPUT_FOLDER,
    click.option("--raw-uint8", is_flag=True, help="Input is pixels, uint8 [N, H, W, 3], normalized inside the model."),
    click.option(
        "--pictures",
        type=AnyName,
        multiple=True,
        metavar="PATH",
        help="Images for the comparison.  [default: bundled ones]",
    ),
    shared.EXCLUDE,
    shared.OVERWRITE_FOLDER,
    *shared.SETTLED,
    options=Options,
)
def export(
    *,
    to: str,
    output: Path,
    overwrite: bool,
    options: Options,
    view: View,
    **settings: Any,  # noqa: ANN401 - as `task.export` has them
) -> None:
    """Write a model as a folder that runs elsewhere, without torch and without resnest.

    MODEL is a variant, digits, a model folder or hf-hub:OWNER/REPO. It takes batches of any size, as normalized float32
    [N, 3, H, W], or as raw pixels with --raw-uint8. Class names and preprocessing are in the file's metadata and in
    config.json beside it.

    The folder appears once the file in it has given the model's answers to real pictures, in batches of 1, 3 and 8.
    `resnest predict -m DIR` runs it, with OpenVINO for onnx and openvino. A torch program may hold code, and is never
    loaded from a folder: the weights beside it run instead.

    Examples:
      resnest export resnest50d --to onnx -o resnest50d-onnx
      resnest export digits --to openvino --raw-uint8 -o digits-openvino
    """
    from resnest_cli.tasks.export import exporter as task
    from resnest_cli.tasks.export.words import facts

    made = task.export(options, to, output, overwrite=overwrite, **settings)
    put_facts(facts(made))
    view.say(f"without resnest: python {output / task.EXAMPLE} IMAGE")
