"""`resnest explain`: pictures of where a network looked, and of its split attention."""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import OutputPath
from resnest_cli.errors import ExitCode, UsageError
from resnest_cli.options import Options
from resnest_cli.text.terminal import one_line, put
from resnest_cli.text.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from resnest_cli.cli.view import View
    from resnest_cli.inputs.named import Inputs
    from resnest_cli.outputs.rows import Row


@shared.command(
    *shared.INPUTS,
    click.option(
        *("-o", "--output"),
        required=True,
        type=OutputPath(stdout=False),
        metavar="DIR|FILE.html",
        help="Folder for the pictures, or one page.",
    ),
    click.option(
        *("--class", "class"),
        metavar="CLASS",
        help="Class to explain: name, index or WordNet id.  [default: each image's first class]",
    ),
    click.option("--raw", is_flag=True, help="Also write the heat map: float32 [H, W] in a .npy file."),
    click.option("--overwrite", is_flag=True, help="Replace the page, or the files of an earlier run in DIR."),
    # One image at a time, without a choice of engine.
    *(shared.MODEL, *shared.WEIGHTS, shared.LABELS, shared.DEVICE, shared.IMG_SIZE, *shared.images()),
    inputs=shared.inputs,
    options=Options,
)
def explain(  # noqa: PLR0913 - one parameter per option
    *,
    inputs: Inputs,
    output: Path,
    raw: bool,
    overwrite: bool,
    options: Options,
    view: View,
    **named: str | None,  # --class, which is no name for a parameter
) -> ExitCode:
    """Show where a network looked.

    INPUT is as for predict. Each image gets NUMBER-NAME.png in DIR: the network's input beside a heat map of the
    evidence for the class (Grad-CAM on the last stage). NUMBER-NAME.attention.png and .json have the split attention:
    in every block, the share of each radix split of each channel. explain.jsonl has a record per input.

    FILE.html is one page to look through, with a small picture and heat map of each image.

    The last stage has one cell per 32 x 32 pixels: an image of 224 has a map of 7 x 7.

    Examples:
      resnest explain dog.jpg -o looked/
      resnest explain dog.jpg -o looked/ --class "tennis ball" --raw
      resnest explain photos/ -o looked.html
    """
    from resnest_cli.models.check import check
    from resnest_cli.outputs import saving
    from resnest_cli.tasks.explain import folder, page
    from resnest_cli.tasks.explain.heatmap import Explainer

    check(options)
    found, is_page = inputs.find(), output.suffix.lower() == ".html"
    if is_page and raw:
        raise UsageError(f"--raw: a page has no .npy files; give a folder in place of -o {output}.")
    (saving if is_page else folder).claim(output, overwrite=overwrite)
    tally: Counter[str] = Counter()

    def told(rows: Iterable[Row], words: Callable[[Row], str]) -> Iterator[Row]:
        for row in rows:
            tally[row["status"]] += 1
            put(one_line(words(row)))
            yield row

    with Explainer(options, named["class"]) as explainer:
        view.say(explainer.words())
        explained = explainer.explain(found)
        if is_page:
            page.write(told(map(page.to_row, explained), page.words), output, explainer.facts)
        else:
            records = folder.write(explained, output, raw=raw)
            deque(told(records, partial(folder.words, output=output)), maxlen=0)
    if failed := tally["error"]:
        view.say(f"{failed:,} of {counted(tally.total(), 'input')} failed.")
    return ExitCode.SOME_FAILED if failed else ExitCode.OK
