"""`python -m resnest_cli` is `resnest`; Python looks into the working folder first, and from here on nothing does."""

import sys

from resnest_cli.system import processes

if __name__ == "__main__":
    sys.path[:] = processes.search_path()
    from resnest_cli.cli import main

    main()
