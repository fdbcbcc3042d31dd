"""Curves of the classical codecs over a folder, in the layout of ``dictco evaluate``.

A report depends on the pictures and on the versions it names, on nothing else: no timings, and
the same numbers with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from dictco_lib.errors import DictcoError
from dictco_lib.evaluation.classical import CODECS, Codec, decode_image, versions
from dictco_lib.evaluation.metrics import ms_ssim, psnr
from dictco_lib.images import read_picture, to_uint8

#: float32 metrics differ between thread counts in the seventh digit.
_DIGITS = 6


def measure_anchor(codec: Codec, path: Path) -> list[dict]:
    """Code one picture at each step of a codec's ladder; one row of the report each."""
    pixels = to_uint8(read_picture(path).pixels)
    rows = []
    for quality in codec.ladder:
        try:
            data = codec.encode(pixels, quality)
        except DictcoError as error:
            raise DictcoError(f"{path}: {error}") from None
        decoded = decode_image(data)
        similarity = ms_ssim(pixels, decoded)
        rows.append(
            {
                "image": path.name,
                "quality": quality,
                "bytes": len(data),
                "bpp": round(8 * len(data) / (pixels.shape[0] * pixels.shape[1]), _DIGITS),
                "psnr-rgb": round(psnr(pixels, decoded), _DIGITS),
                "ms-ssim-rgb": None if similarity is None else round(similarity, _DIGITS),
            }
        )
    return rows


def anchors(
    keys: Sequence[str],
    paths: Sequence[Path],
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, dict]]:
    """Reports of classical codecs over pictures.

    Args:
        keys: of ``classical.CODECS``.
        paths: pictures.
        workers: processes; a script that asks for more than one needs the usual
            ``if __name__ == "__main__"``.
        progress: called after each codec of each picture.

    Yields:
        Key and report, in the order of ``keys``, as soon as each is complete.
    """
    if workers < 1:
        raise DictcoError(f"{workers} workers cannot work; give 1 or more")
    for path in paths:
        read_picture(path)  # a damaged one is named before hours of work
    with _mapper(workers) as run:
        measured = run(_work, [(key, path) for key in keys for path in paths])
        for key in keys:
            by_picture = []
            for _ in paths:
                by_picture.append(next(measured))
                progress()
            # From picture by picture to quality by quality, as `dictco evaluate` orders rows.
            yield key, _report(CODECS[key], list(zip(*by_picture, strict=True)))


def _work(job: tuple[str, Path]) -> list[dict]:
    return measure_anchor(CODECS[job[0]], job[1])


@contextmanager
def _mapper(workers: int) -> Iterator[Callable]:
    if workers == 1:
        yield map
        return
    # Fresh processes: a forked copy of a process that runs torch's threads may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _report(codec: Codec, groups: list[tuple[dict, ...]]) -> dict:
    def means(key: str) -> list[float]:
        return [round(float(np.mean([row[key] for row in group])), _DIGITS) for group in groups]

    results = {"quality": list(codec.ladder), "bpp": means("bpp"), "psnr-rgb": means("psnr-rgb")}
    if all(row["ms-ssim-rgb"] is not None for group in groups for row in group):
        results["ms-ssim-rgb"] = means("ms-ssim-rgb")
    return {
        "name": codec.name,
        "description": f"real files, {len(groups[0])} pictures, RGB PSNR of 8-bit pictures",
        "settings": {"format": codec.format, codec.dial.option: codec.dial.formula}
        | codec.settings,
        "versions": versions(codec),
        "results": results,
        "per_image": [row for group in groups for row in group],
    }
