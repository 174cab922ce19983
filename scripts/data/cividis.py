"""Write the colors of the map cividis into the package, from matplotlib's table of them.

Out: `resnest_cli/data/cividis.tsv`, 256 lines from the least value to the largest: red, green, blue, 0..255.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

from resnest_cli.models.catalog import DATA


def table() -> str:
    """Return the content of the file."""
    colors = mpl.colormaps["cividis"](np.arange(256), bytes=True)[:, :3]
    return "".join("\t".join(map(str, color)) + "\n" for color in colors.tolist())


if __name__ == "__main__":
    (DATA / "cividis.tsv").write_text(table(), encoding="utf-8")
