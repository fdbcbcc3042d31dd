"""Reading a report: its rows of single images, and the conditions that it states."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from dictco_lib.errors import CurveError
from dictco_lib.evaluation.conditions import Conditions, Shot
from dictco_lib.evaluation.metrics import decibels
from dictco_lib.evaluation.report import is_finite

#: Where rows keep a metric, what can be averaged first.
_KEYS = {
    "PSNR": ("psnr-rgb", "psnr"),
    "MS-SSIM": ("ms-ssim-rgb", "ms-ssim", "ms-ssim-db"),
    "SSIMULACRA 2": ("ssimulacra2",),
}


def rows_of(data: dict, source: str) -> list[dict]:
    """The rows of single images; none if the file has none.

    Raises:
        CurveError: if they are not rows of images.
    """
    rows = data.get("per_image") or []
    is_list = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    if not is_list or not all(isinstance(row.get("image"), str) for row in rows):
        raise CurveError(
            f"{source}: a row of per_image lacks the name of its image; expected a list of rows "
            "as `dictco evaluate --out` writes it"
        )
    return rows


def lacking(rows: Sequence[dict], metric: str) -> list[str]:
    """Images whose row says at some quality that there is no finite value of the metric."""
    return list(
        dict.fromkeys(
            row["image"] for row in rows if _has(row, metric) and _is_void(linear(row, metric))
        )
    )


def _is_void(value: object) -> bool:
    """Whether a row says that there is no value; what is no number at all is damage."""
    return value is None or isinstance(value, float) and not is_finite(value)


def _has(row: dict, metric: str) -> bool:
    return any(key in row for key in _KEYS[metric])


def linear(row: dict, metric: str) -> object:
    """What is averaged over images: PSNR in dB, MS-SSIM as it is and not in dB."""
    key = next(key for key in _KEYS[metric] if key in row)
    value = row[key]
    # Below 0 dB there is no MS-SSIM; a damaged one must not overflow.
    is_db = key == "ms-ssim-db" and is_finite(value)
    return 1 - 10 ** (-max(value, -100) / 10) if is_db else value


def mean_points(
    rows: Sequence[dict], metric: str, names: Collection[str], source: str
) -> tuple[list[float], list[float]]:
    """Rates and dB of the points of a curve: means over some images at each quality.

    Raises:
        CurveError: if an image has no row at some quality, or a row no numbers.
    """
    bpp, values = points(rows, metric, names, source).mean(1).T.tolist()
    return bpp, [decibels(value) for value in values] if metric == "MS-SSIM" else values


def points(rows: Sequence[dict], metric: str, names: Collection[str], source: str) -> np.ndarray:
    """Rates and qualities of some images, shape (qualities, images, 2), images as in ``names``.

    What is in dB of MS-SSIM in a row is linear here, for it is to be averaged.

    Raises:
        CurveError: if an image has no row at some quality, or a row no numbers.
    """
    kept = set(names)
    groups: dict[object, dict[str, tuple[float, float]]] = {}
    for row in rows:
        if row["image"] in kept:
            pair = row.get("bpp"), linear(row, metric) if _has(row, metric) else None
            group = groups.setdefault(str(row.get("quality")), {})
            if not all(map(is_finite, pair)) or "quality" not in row or row["image"] in group:
                raise CurveError(
                    f"{source}: {row['image']} needs one row a quality, with quality, bpp and "
                    f"{metric}; measure it anew"
                )
            group[row["image"]] = pair
    for quality, group in groups.items():
        if missing := [name for name in names if name not in group]:
            raise CurveError(f"{source}: {missing[0]} has no row at quality {quality}")
    return np.array([[group[name] for name in names] for group in groups.values()], float)


def conditions_of(
    data: dict,
    source: str,
    metric: str,
    left_out: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Conditions:
    """What a report says of its measurement; reports of before say less.

    Args:
        data: the report.
        source: its file, for messages.
        metric: which curve is made of it.
        left_out: images that have no value of the metric.
        only: the images that the curve is of, if not all others.
    """
    setup, failed = (_dict(data.get(key)) for key in ("setup", "failed"))
    images = _images(data)
    if images is not None:
        kept = only if only is not None else images.keys() - set(left_out)
        images = {name: shot for name, shot in images.items() if name in kept}
    results = _dict(data.get("results", data))
    return Conditions(
        source=source,
        images=images,
        left_out=tuple(left_out if only is None else ()),
        failed=failed,
        mode=setup.get("mode") if setup.get("mode") in ("real", "estimated") else None,
        gates=setup.get("gates") if isinstance(setup.get("gates"), str) else None,
        rate=data.get("rate") if isinstance(data.get("rate"), str) else None,
        space="RGB" if f"{metric.lower()}-rgb" in results else None,
    )


def _images(data: dict) -> dict[str, Shot] | None:
    table = data.get("pictures")
    if not isinstance(table, dict) or not table:
        table = {row["image"]: row for row in rows_of(data, "")}
    return {name: _shot(_dict(entry)) for name, entry in table.items()} or None


def _shot(entry: dict) -> Shot:
    size, sha256 = (entry.get("width"), entry.get("height")), entry.get("sha256")
    return Shot(
        size if all(is_finite(side) for side in size) else None,
        sha256 if isinstance(sha256, str) and sha256 else None,
    )


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}
