"""What the hardware can do at most: operations per second of a large matrix product, in an engine's own library.

In: an opened engine and a time budget. Out: operations per second (a multiplication and an addition are two). Imports a
library only where the engine has loaded it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnest_cli.engines.base import Engine


def peak_flops(engine: Engine, seconds: float) -> float:
    """Return the best rate that was measured within `seconds`, on the engine's device and in its precision.

    It is 0 for an engine that computes nothing.
    """
    if engine.name == "openvino":
        from resnest_cli.tasks.bench import peak_openvino  # noqa: PLC0415 - heavy

        return peak_openvino.peak_flops(engine.precision, seconds)
    if engine.name in {"torch", "timm"}:
        from resnest_cli.tasks.bench import peak_torch  # noqa: PLC0415 - seconds

        return peak_torch.peak_flops(engine.device, engine.precision, seconds)
    return 0.0
