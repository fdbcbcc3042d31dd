"""What all reports share, of whatever codec: names of images, their identity, means."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dictco_lib.config import MS_SSIM_MIN_SIDE, SSIMULACRA2_MIN_SIDE
from dictco_lib.evaluation.metrics import decibels
from dictco_lib.evaluation.rate import RULE

#: Measures that not every image has; the mean of one is over the images that have it.
PARTIAL = {"psnr-rgb": "PSNR", "ms-ssim-rgb": "MS-SSIM", "ssimulacra2": "SSIMULACRA 2"}
_WHY = {
    "psnr-rgb": "back unchanged",
    "ms-ssim-rgb": f"a side up to {MS_SSIM_MIN_SIDE}",
    "ssimulacra2": f"a side up to {SSIMULACRA2_MIN_SIDE}",
}
_MOST = 1e300  # what JSON holds beyond is no number of Python's floats
_IDENTITY = ("width", "height", "sha256")


def image_names(paths: Iterable[Path], folder: str | Path | None = None) -> dict[Path, str]:
    """Path -> name in a report: relative to a folder, so that sub-folders may repeat names.

    Args:
        paths: images; one that is listed twice is there once.
        folder: what names are relative to; the folder that holds all of them if left out.
    """
    paths = list(dict.fromkeys(map(Path, paths)))
    if folder is None and paths:
        folder = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    return {path: Path(os.path.relpath(path, folder)).as_posix() for path in paths}


def digest(pixels: np.ndarray) -> str:
    """SHA-256 of the (H, W, 3) uint8 colours that are measured, and of their size."""
    found = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}".encode())
    found.update(np.ascontiguousarray(pixels))
    return found.hexdigest()


def identity(pixels: np.ndarray) -> dict[str, object]:
    """What tells an image from others of its name: ``width``, ``height`` and ``sha256``."""
    height, width = pixels.shape[:2]
    return {"width": width, "height": height, "sha256": digest(pixels)}


def finish(report: dict, rows: Sequence[dict], qualities: Sequence[float | None]) -> dict:
    """Add what follows from the rows of single images.

    Args:
        report: what is known beside the rows.
        rows: one per image and quality, with ``image``, ``quality``, what :func:`identity`
            gives and the metrics; all images have all qualities.
        qualities: the points of the curve, in order.

    Returns:
        The report with ``results`` (means, one per quality), ``rate`` (what bpp count),
        ``pictures`` (name -> identity), ``left_out`` (metric -> images that are not in its
        mean) and ``per_image`` (the rows).
    """
    images = {row["image"]: {key: row[key] for key in _IDENTITY} for row in rows}
    measured = [key for key in PARTIAL if any(key in row for row in rows)]
    left_out = {key: missing for key in measured if (missing := without(rows, key))}
    kept = [{k: v for k, v in row.items() if k != "sha256"} for row in rows]
    return report | {
        "rate": RULE,
        "results": _means(rows, qualities, left_out),
        "pictures": images,  # as reports that exist have it
        "left_out": left_out,
        "per_image": kept,
    }


def without(rows: Sequence[dict], key: str) -> list[str]:
    """Images that have no finite value of a metric at some quality.

    These are small images, which have no MS-SSIM, and images that come back unchanged, whose
    PSNR is infinite. They are left out at all qualities, so that each point is of the same ones.
    """
    return list(dict.fromkeys(row["image"] for row in rows if not is_finite(row.get(key))))


def is_finite(value: object) -> bool:
    """Whether a value of a row is a number that can be averaged."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= _MOST


def _means(
    rows: Sequence[dict], qualities: Sequence[float | None], left_out: dict[str, list[str]]
) -> dict[str, list]:
    groups = [[row for row in rows if row["quality"] == quality] for quality in qualities]
    results: dict[str, list] = {"quality": list(qualities)}
    skip = ("image", "quality", *_IDENTITY, "bytes", "ms-ssim-db", "peak_memory_mb")
    for key in (key for key in rows[0] if key not in skip):
        out = left_out.get(key, ())
        counted = [[row[key] for row in group if row["image"] not in out] for group in groups]
        if counted[0] and all(value is not None for values in counted for value in values):
            results[key] = [float(np.mean(values)) for values in counted]
    if not any(results.get("extra_bytes", ())):
        results.pop("extra_bytes", None)
    if "ms-ssim-rgb" in results:
        results["ms-ssim-db"] = [decibels(value) for value in results["ms-ssim-rgb"]]
    return results


def remarks(report: dict) -> list[str]:
    """What a reader of the means must know: lines about images that are not in some of them."""
    total = len(report["pictures"])
    lines = []
    for key, names in report["left_out"].items():
        lines.append(
            f"{PARTIAL[key]} of {total - len(names)} of {total} images; without {listed(names)} "
            f"({_WHY[key]})"
        )
    if extra := sum(row.get("extra_bytes", 0) for row in first_rows(report)):
        lines.append(
            f"bpp count the colours; profiles, alpha and metadata take {extra} more bytes in "
            f"the {total} files of each quality"
        )
    copies: dict[str, list[str]] = {}
    for name, shot in report["pictures"].items():
        copies.setdefault(shot["sha256"], []).append(name)
    lines += [f"counted twice: {listed(n)} are the same" for n in copies.values() if len(n) > 1]
    return lines


def first_rows(report: dict) -> list[dict]:
    """The rows of the first quality."""
    rows = report["per_image"]
    return [row for row in rows if row["quality"] == rows[0]["quality"]]


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few of some names, for a message."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
