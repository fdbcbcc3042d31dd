"""``accelerate launch -m dictco_lib.training RECIPE``: the loop on many processes or machines."""

import sys

from dictco_lib.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
