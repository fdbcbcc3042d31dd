"""What each command of the command line does: calls the library, prints. No arithmetic."""

from dictco_lib.commands.common import DEFAULT_MODEL
from dictco_lib.commands.curves import anchors, bdrate, plot
from dictco_lib.commands.data import data
from dictco_lib.commands.files import compress, decompress, inspect
from dictco_lib.commands.measure import bench, evaluate
from dictco_lib.commands.weights import convert, export, models, pairs, train

__all__ = [
    "DEFAULT_MODEL",
    "anchors",
    "bdrate",
    "bench",
    "compress",
    "convert",
    "data",
    "decompress",
    "evaluate",
    "export",
    "inspect",
    "models",
    "pairs",
    "plot",
    "train",
]
