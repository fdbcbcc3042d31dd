"""What each command of the command line is asked and does: calls the library, prints.

No arithmetic. ``add_NAME`` declares the arguments of the command that the function NAME runs.
"""

from dictco_lib.commands.curves import add_anchors, add_bdrate, add_plot
from dictco_lib.commands.data import add_data
from dictco_lib.commands.files import add_compress, add_decompress, add_inspect
from dictco_lib.commands.measure import add_bench, add_evaluate
from dictco_lib.commands.models import add_models
from dictco_lib.commands.weights import add_convert, add_export, add_pairs, add_train

#: In the order of the help text.
DECLARATIONS = (
    add_compress,
    add_decompress,
    add_inspect,
    add_evaluate,
    add_anchors,
    add_bdrate,
    add_plot,
    add_bench,
    add_data,
    add_train,
    add_pairs,
    add_export,
    add_convert,
    add_models,
)
