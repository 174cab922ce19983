"""`resnest explain`: pictures of where a network looked, and of its split attention."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from resnest_cli.cli.help import Command
from resnest_cli.cli.inputs import Inputs, input_options
from resnest_cli.cli.options import explain_options, refuse_lost
from resnest_cli.cli.parameters import OutputFolder
from resnest_cli.errors import ExitCode, OutputError
from resnest_cli.outputs.rows import error_of, to_json
from resnest_cli.text.terminal import one_line, put
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from resnest_cli.cli.view import View
    from resnest_cli.options import Options
    from resnest_cli.tasks.explain.heatmap import Explanation
    from resnest_cli.types import Failure

RECORDS = "explain.jsonl"
OURS = re.compile(rf"{re.escape(RECORDS)}|\d{{5,}}-.*\.(png|json|npy)", re.DOTALL)  # how files in DIR are called


@click.command(cls=Command)
@input_options
@click.option("-o", "--output", required=True, type=OutputFolder(), metavar="DIR", help="The folder for pictures.")
@click.option("--class", "class", metavar="CLASS", help="Name, index or WordNet id; else each image's first class.")
@click.option("--raw", is_flag=True, help="Write the heat map too, as float32 [H, W] in a .npy file.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier run wrote into DIR.")
@explain_options
def explain(  # noqa: PLR0913 - one parameter an option
    *,
    inputs: Inputs,
    output: Path,
    raw: bool,
    overwrite: bool,
    options: Options,
    view: View,
    **named: str | None,  # --class, which is no name for a parameter
) -> None:
    """Show where a network looked.

    INPUT is as for predict. For each, DIR gets NUMBER-NAME.png: what the network saw, and beside it a heat map of the
    evidence for the class (Grad-CAM on the last stage). NUMBER-NAME.attention.png and .json have the split attention:
    in every block, the share of each radix split of each channel. explain.jsonl has a record for every input.

    The last stage has one cell for 32 x 32 pixels: for a picture of 224, a map of 7 x 7. Needs the extra explain.

    \b
    Examples:
      resnest explain dog.jpg -o looked/
      resnest explain dog.jpg -o looked/ --class "tennis ball" --raw
    """  # noqa: D301 - \b is click's mark of a paragraph that stays as it is
    from resnest_cli.system import files
    from resnest_cli.system.files import as_output_error
    from resnest_cli.system.imports import require
    from resnest_cli.types import Failure

    refuse_lost(options)
    require("explain", "explain", "captum")
    found = inputs.find()
    _claim(output, overwrite=overwrite)
    with view.doing("loading torch"):
        from resnest_cli.tasks.explain.heatmap import Explainer

    explainer = Explainer(options, named["class"])
    with as_output_error(output):
        files.make_folder(output)
    weights = ", random weights (the pictures mean nothing)" if options.random_weights else ""
    view.say(f"{explainer.spec.name} on {explainer.device} ({explainer.reason}), torch fp32{weights}")
    failed = 0
    with _records(output / RECORDS) as records:
        for number, said in enumerate(explainer.explain(found), 1):
            if isinstance(said, Failure):
                failed += 1
                record = _failure(said)
                put(one_line(f"{said.path}: {said.type}: {said.message}"))
            else:
                record = _write(said, output, number, raw=raw)
                shown = f"{said.label} {said.probability:.2%}"
                put(one_line(f"{said.path}: {shown} -> {output / record['picture']}"))
            records.write(to_json(record) + b"\n")
            records.flush()
    if failed:
        view.say(f"{failed:,} of {counted(number, 'input')} failed.")
        click.get_current_context().exit(ExitCode.SOME_FAILED)


def _records(path: Path) -> IO[bytes]:
    """Begin the file of records, which grows with every picture.

    Raises:
        OutputError: it cannot be written.
    """
    from resnest_cli.system import files

    with files.as_output_error(path):
        file = files.open_for_update(path)
        file.truncate()
        return io.BufferedWriter(file)


def _claim(output: Path, *, overwrite: bool) -> None:
    """Look into the folder, if it is there.

    Raises:
        OutputError: it cannot be read, or holds files that may have to be replaced.
    """
    from resnest_cli.system.files import as_output_error
    from resnest_cli.system.paths import Kind, look

    with as_output_error(output):
        there = [] if look(output).kind is Kind.MISSING else [path.name for path in output.iterdir()]
    ours = sorted(name for name in there if OURS.fullmatch(name))
    if ours and not overwrite:
        message = f"{output / ours[-1]} exists; add --overwrite to replace it."
        raise OutputError(message)


def _write(said: Explanation, output: Path, number: int, *, raw: bool) -> dict[str, Any]:
    """Write an explanation's files, and give its record."""
    from resnest_cli.outputs import saving
    from resnest_cli.tasks.explain.pictures import side_by_side, split_attention

    name = re.sub(r"[^\w.-]", "_", Path(said.path).stem, flags=re.ASCII)
    stem = f"{number:05d}-{name[:80]}"
    saving.save(output / f"{stem}.png", _png(side_by_side(said)))
    saving.save(output / f"{stem}.attention.png", _png(split_attention(said)))
    saving.save(output / f"{stem}.attention.json", json.dumps(_attention(said)) + "\n")
    if raw:
        said.save_heat(output / f"{stem}.npy")
    return {
        "path": said.path,
        "status": "ok",
        "class": {"index": said.index, "wnid": said.wnid, "label": said.label, "probability": said.probability},
        "picture": f"{stem}.png",
        "attention": f"{stem}.attention.json",
        "attention_picture": f"{stem}.attention.png",
        "map": f"{stem}.npy" if raw else None,
    }


def _png(picture: Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _attention(said: Explanation) -> list[dict[str, Any]]:
    """Return the split attention of each block: its mean by split, and every share [radix][channels]."""
    return [
        {
            "block": shares.block,
            "radix": shares.radix,
            "function": "softmax over the splits" if shares.radix > 1 else "sigmoid",
            "mean": [float(value) for value in shares.values.mean(axis=1)],
            "shares": [[float(str(value)) for value in split] for split in shares.values],
        }
        for shares in said.shares
    ]


def _failure(said: Failure) -> dict[str, Any]:
    return {"path": said.path, "status": said.status} | error_of(said)
