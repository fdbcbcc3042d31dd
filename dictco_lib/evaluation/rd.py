"""Rate-distortion points: every bit is a bit of a real file that was decoded again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from dictco_lib.coding import decode_picture, encode
from dictco_lib.errors import ImageError
from dictco_lib.evaluation.metrics import ms_ssim, psnr
from dictco_lib.files import write_atomic
from dictco_lib.images import SUFFIXES, eight_bit, read_picture
from dictco_lib.models import DictionaryCodec

#: The qualities of the six lambda anchors.
DEFAULT_QUALITIES = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)


def pictures_in(folder: str | Path) -> list[Path]:
    """The picture files of a folder, sorted.

    Raises:
        ImageError: if the folder is missing or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is no folder; give a folder of pictures")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise ImageError(
            f"no pictures in {folder}; known suffixes are {', '.join(sorted(SUFFIXES))}"
        )
    return found


def measure(model: DictionaryCodec, path: Path, quality: float | None) -> dict:
    """Code one picture to a file in memory and back; returns one row of the report."""
    start = time.perf_counter()
    encoded = encode(model, path, quality)
    middle = time.perf_counter()
    picture, seconds = decode_picture(model, encoded.data)
    end = time.perf_counter()
    original, decoded = eight_bit(read_picture(path)), eight_bit(picture)
    return {
        "image": path.name,
        "quality": quality,
        "bytes": len(encoded.data),
        "bpp": encoded.bpp,
        "psnr": psnr(original, decoded),
        "ms_ssim": ms_ssim(original, decoded),
        "encode_s": middle - start,
        "encode_network_s": encoded.seconds["network"],
        "decode_s": end - middle,
        "decode_network_s": seconds["network"],
    }


def evaluate(
    model: DictionaryCodec,
    paths: Iterable[Path],
    qualities: Iterable[float | None] = DEFAULT_QUALITIES,
    progress: Callable[[dict], None] = lambda row: None,
) -> dict:
    """Rate-distortion report of a model over pictures.

    Args:
        model: a loaded codec.
        paths: pictures.
        qualities: the points of the curve; ``(None,)`` for a fixed-rate model.
        progress: called with each row as it is measured.

    Returns:
        ``name``; ``results`` in the layout of CompressAI's plot tool (lists ``bpp``,
        ``psnr-rgb``, ``ms-ssim-rgb``, one entry per quality, each a mean over pictures);
        ``per_image`` rows.
    """
    rows = []
    paths = list(paths)
    for quality in qualities:
        for path in paths:
            rows.append(measure(model, path, quality))
            progress(rows[-1])
    grouped = [[row for row in rows if row["quality"] == q] for q in qualities]

    def means(key: str) -> list[float]:
        return [float(np.mean([row[key] for row in group])) for group in grouped]

    results = {"quality": list(qualities), "bpp": means("bpp"), "psnr-rgb": means("psnr")}
    if all(row["ms_ssim"] is not None for row in rows):
        results["ms-ssim-rgb"] = means("ms_ssim")
    for key in ("encode_s", "encode_network_s", "decode_s", "decode_network_s"):
        results[key] = means(key)
    return {
        "name": f"DictCO {model.config.name}",
        "description": f"real .dco files, {len(paths)} pictures, RGB PSNR of 8-bit pictures",
        "results": results,
        "per_image": rows,
    }


def save_report(report: dict, path: str | Path) -> None:
    """Write a report as JSON, all or nothing."""
    write_atomic(path, (json.dumps(report, indent=1) + "\n").encode())
