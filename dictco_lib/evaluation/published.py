"""Rate-distortion curves that others published, as data/published_kodak.json records them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from dictco_lib.errors import CurveError, quoted
from dictco_lib.evaluation.bdrate import Curve
from dictco_lib.evaluation.metrics import decibels
from dictco_lib.evaluation.rows import conditions_of
from dictco_lib.files import data_file, read_json

#: Where results keep the points of a metric; MS-SSIM is linear but under the first of its keys.
_KEYS = {
    "PSNR": ("psnr-rgb", "psnr"),
    "MS-SSIM": ("ms-ssim-db", "ms-ssim-rgb", "ms-ssim"),
    "SSIMULACRA 2": ("ssimulacra2",),
}


@cache
def _data() -> dict[str, dict]:
    return read_json(data_file("published_kodak.json"), CurveError, "install it again")


def _records() -> dict[str, dict]:
    return _data()["curves"]


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
            f"no published curve {quoted(name)}; known on Kodak are {', '.join(published_names())}"
        )
    return _records()[name.lower()]


def published(name: str, metric: str = "PSNR") -> Curve:
    """A curve of mean RGB PSNR, or MS-SSIM in dB, over mean bpp of the 24 Kodak images.

    Args:
        name: such as ``vtm`` or ``dcae``, in any case.
        metric: ``PSNR`` or ``MS-SSIM``.

    Raises:
        CurveError: for a name that is not there, or whose curve is not one of the metric.
    """
    found = record(name)
    values = qualities(found, metric)
    if values is None:
        other = "PSNR" if "psnr-rgb" in found else "MS-SSIM"
        raise CurveError(f"published curve {name!r} is one of {other} and has no {metric}")
    conditions = conditions_of(_data() | {"results": found}, f"published:{name}", metric)
    conditions = replace(conditions, space="RGB")
    return Curve(
        found["name"], found["bpp"], values, is_published=True, metric=metric,
        conditions=conditions,
    )  # fmt: skip


def qualities(results: dict, metric: str) -> object:
    """What a metric says of a result's points, in dB where it has them; None if it says nothing.

    Raises:
        CurveError: for a metric that is none of ``PSNR``, ``MS-SSIM`` and ``SSIMULACRA 2``.
    """
    if metric not in _KEYS:
        raise CurveError(f"no metric {metric!r}; choose {' or '.join(_KEYS)}")
    key = next((key for key in _KEYS[metric] if key in results), None)
    values = results.get(key)
    if key not in ("ms-ssim-rgb", "ms-ssim"):
        return values
    # What is no number is left as it is, for Curve to name.
    if isinstance(values, list):
        return [decibels(v) if isinstance(v, int | float) else v for v in values]
    return decibels(values) if isinstance(values, int | float) else values
