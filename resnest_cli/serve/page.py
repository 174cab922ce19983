"""The page of a server: a document, its style and its script, as they lie in `data/`.

In: nothing. Out: routes. The files are the same for everybody and have nothing of a model, so no token is asked for
them. The policy lets them run no other code, and reach no other machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

FOLDER = Path(__file__).parents[1] / "data"
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}


def routes() -> list[Route]:
    """Return the routes of the page's files."""
    return [_route(path, name, kind) for path, (name, kind) in FILES.items()]


def _route(path: str, name: str, kind: str) -> Route:
    content = (FOLDER / name).read_bytes()

    async def page(_: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return Route(path, page)
