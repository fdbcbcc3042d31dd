"""Files that were written on one machine are read on another: ``make test-arithmetic``.

``expected/*.dco`` were written once, on a processor with AVX-512. Every machine must read the very
same symbols from them (the decoder holds them against the sums in the file), and show the same
image but for the last rounding of ``g_s``. What an *encoder* writes may differ from machine to
machine, as ``g_a`` runs in float32, so no bytes of whole files are compared.

``pytest tests/test_other_machines.py --regenerate`` writes them anew, for other weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dictco_lib.coding import decode, encode

EXPECTED = Path(__file__).parent / "expected"


@pytest.mark.parametrize(("name", "quality", "tile"), [("whole", 60, 64), ("tiled", 35, 4)])
def test_a_file_of_another_machine_gives_its_symbols_and_its_image(
    classroom, photo, request, name, quality, tile
):
    path = EXPECTED / f"{name}.dco"
    if request.config.getoption("--regenerate"):
        path.write_bytes(encode(classroom, photo[:150, 40:250], quality, tile=tile).data)
        decode(classroom, path.read_bytes()).save(path.with_suffix(".png"))
    shown = np.asarray(decode(classroom, path.read_bytes()))
    difference = np.abs(shown.astype(int) - np.asarray(Image.open(path.with_suffix(".png"))))
    assert difference.max() <= 1  # a float32 sum on either side of a half
    assert (difference > 0).mean() < 0.001
