"""Curves of the classical codecs over a folder, in the layout of ``dictco evaluate``.

A report depends on the images and on the versions it names, on nothing else: no timings, and
the same numbers with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch

from dictco_lib.errors import DictcoError
from dictco_lib.evaluation.classical import CODECS, Codec, decode_image, versions
from dictco_lib.evaluation.measure import distortion
from dictco_lib.evaluation.rate import rate
from dictco_lib.evaluation.report import finish, image_names
from dictco_lib.images import ImageData, eight_bit, read_image

#: float32 metrics differ between thread counts in the seventh digit.
_DIGITS = 6


def measure_anchor(codec: Codec, path: Path, perceptual: bool = False) -> list[dict]:
    """Code one image at each step of a codec's ladder; one row of the report each.

    The codec gets the colours as :func:`dictco_lib.evaluation.measure.distortion` looks at them,
    8 bits without alpha and profile; one plane of a grey image. ``perceptual`` adds SSIMULACRA 2.
    """
    image = read_image(path)
    pixels = eight_bit(image)
    rows = []
    for quality in codec.ladder:
        try:
            data = codec.encode(pixels[..., 0] if image.is_grey else pixels, quality)
        except DictcoError as error:
            raise DictcoError(f"{path}: {error}") from None
        decoded = ImageData(decode_image(data), is_grey=image.is_grey)
        row = rate(image.size, data) | distortion(image, decoded, perceptual)
        del row["ms-ssim-db"]
        rows.append({"image": path.name, "quality": quality} | _rounded(row))
    return rows


def _rounded(row: dict) -> dict:
    return {k: round(v, _DIGITS) if isinstance(v, float) else v for k, v in row.items()}


def anchors(
    keys: Sequence[str],
    paths: Sequence[Path],
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
    *,
    folder: str | Path | None = None,
    perceptual: bool = False,
) -> Iterator[tuple[str, dict]]:
    """Reports of classical codecs over images.

    Args:
        keys: of ``classical.CODECS``.
        paths: images.
        workers: processes; a script that asks for more than one needs the usual
            ``if __name__ == "__main__"``.
        progress: called after each codec of each image.
        folder: what the names in the reports are relative to, see :func:`image_names`.
        perceptual: measure ``ssimulacra2`` too.

    Yields:
        Key and report, in the order of ``keys``, as soon as each is complete; ``failed`` names
        the images that cannot be read, or not be written by this codec, with the reason. Where
        that is all of them, there are no ``results``.

    Raises:
        DictcoError: if no image can be read.
    """
    if workers < 1:
        raise DictcoError(f"{workers} workers cannot work; give 1 or more")
    names = image_names(paths, folder)
    damaged = {}
    for path in names:  # named before hours of work
        try:
            read_image(path)
        except (DictcoError, OSError) as error:
            damaged[path] = str(error)
    whole = [path for path in names if path not in damaged]
    if not whole:
        reasons = "; ".join(damaged.values())
        raise DictcoError(f"none of the {len(names)} images can be measured: {reasons[:500]}")
    with _mapper(workers) as run:
        measured = run(_work, [(key, path, perceptual) for key in keys for path in whole])
        for key in keys:
            found: dict[Path, list[dict] | str] = dict(damaged)
            for path in whole:
                found[path] = next(measured)
                progress()
            yield key, _report(CODECS[key], {names[path]: found[path] for path in names})


def _work(job: tuple[str, Path, bool]) -> list[dict] | str:
    """The rows of an image, or why there are none."""
    try:
        return measure_anchor(CODECS[job[0]], *job[1:])
    except (DictcoError, OSError) as error:
        return str(error)


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


def _report(codec: Codec, found: dict[str, list[dict] | str]) -> dict:
    """The report of one codec, from the rows or the failure of each image by name."""
    failed = {name: rows for name, rows in found.items() if isinstance(rows, str)}
    by_image = [
        [row | {"image": name} for row in rows]
        for name, rows in found.items()
        if not isinstance(rows, str)
    ]
    report = {
        "name": codec.name,
        "description": f"real files, {len(by_image)} images, RGB PSNR of 8-bit images",
        "settings": {"format": codec.format, codec.dial.option: codec.dial.formula}
        | codec.settings,
        "versions": versions(codec),
    }
    if by_image:
        # From image by image to quality by quality, as `dictco evaluate` orders rows.
        rows = [row for group in zip(*by_image, strict=True) for row in group]
        report = finish(report, rows, codec.ladder)
        results = report["results"]
        for key, values in results.items():
            results[key] = [round(value, _DIGITS) for value in values]
    return report | {"failed": failed}
