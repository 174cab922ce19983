"""Images that a model contradicts, as one page that fetches nothing.

In: what is known of each image, in the order of the page. Out: HTML with the thumbnails inside. Names come from outside
and are escaped. Does not know models, or where a file goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST = 50  # images on a page
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
li { display: flex; gap: 1rem; align-items: center; padding: .6rem 0; border-top: 1px solid #8886 }
ol { list-style: none; padding: 0 }
img, .none { width: 160px; height: 160px; flex: none; object-fit: contain; background: #8882 }
.path { overflow-wrap: anywhere; font-size: 85%; opacity: .75 }
td { padding-right: 1rem; vertical-align: top }
""".strip()


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its path as listed, its thumbnail (a `data:` URI, or ""), and rows of name and text."""

    path: str
    thumbnail: str
    facts: Sequence[tuple[str, str]]


def page(title: str, items: Iterable[Item], note: str = "") -> str:
    """Return the page; `note` stands below its title."""
    listed = "\n".join(map(_item, items))
    below = f"<p>{escape(note)}</p>\n" if note else ""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_plain(title)}</title>\n<style>\n{_STYLE}\n</style>\n"
        f"<h1>{_plain(title)}</h1>\n{below}<ol>\n{listed}\n</ol>\n</html>\n"
    )


def _item(item: Item) -> str:
    picture = f'<img alt="" src="{item.thumbnail}">' if item.thumbnail else '<div class="none"></div>'
    table = "".join(f"<tr><td>{name}</td><td><bdi>{_plain(value)}</bdi></td></tr>" for name, value in item.facts)
    return f'<li>{picture}<div><table>{table}</table><div class="path"><bdi>{_plain(item.path)}</bdi></div></div></li>'


def _plain(text: str) -> str:
    """Escape markup, and bytes of a name that are not UTF-8."""
    return escape(text.encode("utf-8", "backslashreplace").decode())
