"""Answers and groups of an index as a page to look through.

In: what `similar.Index` finds, as it comes. Out: the page of `outputs.html`. The images of an index are only paths:
each is decoded once, after all is found, by the processes that decode. Nothing is downloaded for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from resnest_cli.inputs import buckets, urls
from resnest_cli.outputs import html
from resnest_cli.outputs.rows import About, error_of
from resnest_cli.pipeline.decoders import Decoders
from resnest_cli.tasks.neighbours import page_row
from resnest_cli.types import STDIN, DataConfig, Failure, Source, is_position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from resnest_cli.options import Options
    from resnest_cli.outputs.rows import Row
    from resnest_cli.tasks.neighbours import Item

SHOWN = ("model", "engine", "precision")  # facts of an index that the page has: others may have written more


def write(
    items: Iterable[Item],
    out: IO[bytes],
    *,
    facts: Mapping[str, Any],
    options: Options,
    page: Path | None,
) -> None:
    """Write the page.

    Args:
        items: answers, groups and failures.
        out: where the page goes.
        facts: how the index was made.
        options: how images are decoded.
        page: where the page will lie, if that is known.
    """
    paths: dict[str, None] = {}
    about = About(0, {key: facts[key] for key in SHOWN if key in facts})
    html.write(_rows(items, paths), out, about, page, _pictures(paths, options))


def _rows(items: Iterable[Item], paths: dict[str, None]) -> Iterator[Row]:
    """Yield the row of each item; note the paths whose pictures it needs."""
    for item in items:
        row = page_row(item)
        paths.update(dict.fromkeys(image["path"] for image in row["images"]))
        if row.get("thumbnail") == "":
            paths[row["path"]] = None
        yield row


def _pictures(paths: Iterable[str], options: Options) -> Iterator[Row]:
    """Yield the picture of each path, "" where there is no file or none that decodes."""
    files = [path for path in paths if _is_file(path)]
    yield from ({"path": path, "thumbnail": ""} for path in set(paths) - set(files))
    with Decoders.of(DataConfig(), replace(options, thumbnails=True)) as decoders:
        for image in decoders.images(map(Source, files)):
            failed = error_of(image) if isinstance(image, Failure) else {}
            yield {"path": image.path, "thumbnail": "" if isinstance(image, Failure) else image.thumbnail} | failed


def _is_file(path: str) -> bool:
    return not (path == STDIN or is_position(path) or buckets.is_bucket(path) or urls.is_url(path))
