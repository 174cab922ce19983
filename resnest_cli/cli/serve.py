"""`resnest serve`: models behind HTTP."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from resnest_cli.cli import options as shared
from resnest_cli.cli.parameters import AnyPath, ModelName, or_auto
from resnest_cli.options import Options
from resnest_cli.serve.options import LOGS, ServeOptions
from resnest_cli.text.terminal import note

if TYPE_CHECKING:
    from resnest_cli.cli.view import View
    from resnest_cli.errors import ExitCode

_option = functools.partial(shared.option, ServeOptions)


@shared.command(
    _option("-m", "--model", multiple=True, type=ModelName(), metavar="MODEL"),
    _option("--host", metavar="HOST"),
    _option("--port", metavar="N"),
    _option("--unix", type=AnyPath, metavar="PATH"),
    _option("--token-file", type=AnyPath, metavar="FILE"),
    _option("--max-batch", type=or_auto(int), metavar="N|auto"),
    _option("--max-wait-ms", metavar="T"),
    _option("--queue", metavar="N"),
    _option("--timeout", metavar="S"),
    _option("--max-bytes", metavar="N"),
    _option("--log", type=click.Choice(LOGS)),
    *shared.CALIBRATION,
    *(*shared.WEIGHTS, shared.LABELS, shared.DEVICE, shared.ENGINE, shared.PRECISION, shared.WORKERS),
    shared.MAX_PIXELS,
    settings=ServeOptions,
    options=Options,
)
def serve(*, settings: ServeOptions, options: Options, view: View) -> ExitCode:
    """Serve models over HTTP.

    POST an image to /predict, or several as multipart: the answers are the rows of predict. Errors are problem
    documents (RFC 9457). A page to drop images on is at /.

    Only this machine is served by default. Another --host needs a token, which clients send as Authorization: Bearer
    TOKEN. At SIGTERM the server answers the requests that are here, and ends.

    Examples:
      resnest serve -m digits
      curl --data-binary @three.png http://127.0.0.1:8000/predict
    """
    from resnest_cli.system import imports

    imports.require("serve", "serve", "starlette", "uvicorn", "python_multipart", "prometheus_client")
    from resnest_cli.serve import server

    return server.run(settings, options, view.say, (lambda _: None) if view.quiet else note)
