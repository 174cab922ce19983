"""Where a page's pictures lead: the address of an input, to open it from the page.

In: the path of a row, and where the page will lie. Out: a URL that begins with `./`, `file:///`, `http://` or
`https://`, whatever the name is; "" for what no browser can open. Reads no file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from resnest_cli.inputs import buckets, urls
from resnest_cli.text import redact
from resnest_cli.types import STDIN, is_position

_OF_URL = "!#$%&()*+,/:;=?@[]~"  # characters that a URL has; all others are encoded


def of(path: str, page: Path | None) -> str:
    """Return the address of the input at `path`; "" for standard input, images in memory and objects of a store.

    A file has a relative address if it lies below the page's folder, or in the current folder with the page: then both
    can be moved together. `page` is None where the page's place is unknown.
    """
    if path == STDIN or is_position(path) or buckets.is_bucket(path):
        return ""
    with suppress(OSError, ValueError):  # no such host or name can be
        return _of_url(path) if urls.is_url(path) else _of_file(_absolute(path), page)
    return ""


def _of_url(url: str) -> str:
    """Return the URL without user name, password and fragment; "" if it has more secrets: it works only with them."""
    parts = urlsplit(redact.url(url))
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    is_open = parts.scheme in {"http", "https"} and parts.hostname and redact.HIDDEN not in bare
    return quote(bare, safe=_OF_URL, errors="surrogatepass") if is_open else ""


def _of_file(file: Path, page: Path | None) -> str:
    folder = page and _absolute(page).parent
    if folder is None or not any(
        file.is_relative_to(tree) and folder.is_relative_to(tree) for tree in (folder, Path.cwd())
    ):
        return file.as_uri()
    return f"./{quote(os.fsencode(Path(os.path.relpath(file, folder)).as_posix()))}"


def _absolute(path: str | Path) -> Path:
    """Return an absolute path without `..`: a browser takes the folder before it away, also where it is a link."""
    full = os.path.realpath(path) if ".." in Path(path).parts else os.path.abspath(path)  # noqa: PTH100 - as typed
    return Path(f"/{full.lstrip('/')}" if full.startswith("//") else full)  # a browser may take //name for a host
