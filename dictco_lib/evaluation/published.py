"""Rate-distortion curves that others published, as data/published_kodak.json records them."""

from __future__ import annotations

import json
from functools import cache

from dictco_lib.errors import CurveError
from dictco_lib.evaluation.bdrate import Curve
from dictco_lib.files import data_file


@cache
def _records() -> dict[str, dict]:
    return json.loads(data_file("published_kodak.json").read_text())["curves"]


def published_names() -> list[str]:
    """Names of the curves in PSNR, as :func:`published` takes them."""
    return [name for name, record in _records().items() if "psnr-rgb" in record]


def record(name: str) -> dict:
    """All that is recorded of a curve: ``name``, ``paper``, ``source``, ``note`` and points.

    Raises:
        CurveError: for a name that is not there.
    """
    if name.lower() not in _records():
        raise CurveError(
            f"no published curve {name!r}; known on Kodak are {', '.join(published_names())}"
        )
    return _records()[name.lower()]


def published(name: str) -> Curve:
    """A curve of mean RGB PSNR over mean bpp of the 24 Kodak pictures.

    Args:
        name: such as ``vtm`` or ``dcae``, in any case.

    Raises:
        CurveError: for a name that is not there, or whose curve is not one of PSNR.
    """
    found = record(name)
    if "psnr-rgb" not in found:
        raise CurveError(f"published curve {name!r} is one of MS-SSIM and has no PSNR")
    return Curve(found["name"], found["bpp"], found["psnr-rgb"], is_published=True)
