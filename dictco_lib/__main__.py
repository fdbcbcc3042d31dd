"""``python -m dictco_lib``: the same as the ``dictco`` command."""

import sys

from dictco_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
