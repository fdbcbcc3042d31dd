"""Rate-distortion reports, and what can be told from two of them."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from dictco_lib import __version__
from dictco_lib.checkpoints import fingerprint
from dictco_lib.errors import DictcoError, ImageError
from dictco_lib.evaluation.measure import MODES, batches, measure, reset_peak_memory, warm_up
from dictco_lib.evaluation.report import finish, image_names
from dictco_lib.evaluation.sharding import ALONE, Team
from dictco_lib.files import write_atomic
from dictco_lib.images import find_images
from dictco_lib.models import DictionaryCodec

#: The qualities of the six lambda anchors.
DEFAULT_QUALITIES = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)


def images_in(folder: str | Path) -> list[Path]:
    """The images of a folder and its sub-folders, sorted: all that `compress` would take.

    Raises:
        ImageError: if the folder is missing or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is no folder; give a folder of images")
    found = find_images(folder).taken
    if not found:
        raise ImageError(f"no images in {folder}; give a folder of PNG files or the like")
    return found


def evaluate(
    model: DictionaryCodec,
    paths: Iterable[Path],
    qualities: Iterable[float | None] = DEFAULT_QUALITIES,
    *,
    mode: str = "real",
    perceptual: bool = False,
    batch_size: int = 1,
    folder: str | Path | None = None,
    team: Team = ALONE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Rate-distortion report of a model over images.

    Args:
        model: a loaded codec, on the team's device.
        paths: images.
        qualities: the points of the curve; ``(None,)`` for a fixed-rate model.
        mode: ``"real"``, bits of files that are decoded again, or ``"estimated"``, bits from
            likelihoods (see :func:`dictco_lib.evaluation.measure.estimated_rows`).
        perceptual: measure ``ssimulacra2`` too.
        batch_size: images of equal size that go through the model together (estimated mode).
        folder: what the names in the report are relative to, see :func:`image_names`.
        team: the processes that share the work; all get the same report. They agree with one
            process that has as many threads as each of them.
        progress: called with the number of this process's measurements, done and in total.

    Returns:
        ``name``; ``results`` in the layout of CompressAI's plot tool (lists with one entry per
        quality: means of the images' bpp as :mod:`dictco_lib.evaluation.rate` counts them, PSNR,
        linear MS-SSIM and seconds; ``ms-ssim-db`` is the mean MS-SSIM in decibels, as that tool
        draws it; peak memory is the largest); ``failed``, image -> reason, left out everywhere;
        ``setup``; and what :func:`dictco_lib.evaluation.report.finish` adds.

    Raises:
        DictcoError: if no image can be measured.
    """
    start = time.perf_counter()
    if mode not in MODES or batch_size < 1:
        raise DictcoError(
            f"mode {mode!r} with batches of {batch_size}; expected one of {', '.join(MODES)} and "
            "at least 1"
        )
    names = image_names(paths, folder)  # an image that is listed twice is measured once
    order = {path: i for i, path in enumerate(names)}
    qualities = list(dict.fromkeys(q if q is None else round(float(q), 2) for q in qualities))
    # Batches are made before they are dealt out: their images do not depend on the team.
    share = team.share(batches(list(order), batch_size if mode == "estimated" else 1))
    rows, failed = _measure_all(model, share, qualities, mode, perceptual, progress)
    failed = dict(team.gather(list(failed.items())))
    rows = [row for row in team.gather(rows) if row[1] not in failed]
    if not rows:
        reasons = "; ".join(failed.values())
        raise DictcoError(f"none of the {len(order)} images can be measured: {reasons[:500]}")
    rows.sort(key=lambda row: (qualities.index(row[0]), order[row[1]]))
    named = [{"image": names[path], **row} for _, path, row in rows]
    report = _report(model, named, qualities, mode)
    report["failed"] = {names[path]: failed[path] for path in order if path in failed}
    report["setup"] |= {"batch_size": batch_size, "processes": team.count}
    report["setup"]["seconds"] = time.perf_counter() - start
    return report


def _measure_all(
    model: DictionaryCodec,
    share: Sequence[list[Path]],
    qualities: list[float | None],
    mode: str,
    perceptual: bool,
    progress: Callable[[int, int], None],
) -> tuple[list[tuple[float | None, Path, dict]], dict[Path, str]]:
    """(quality, path, row) of all images of this process, and the reasons of failures."""
    rows, failed = [], {}
    done, total = 0, len(qualities) * sum(map(len, share))
    device = next(model.parameters()).device
    for quality in qualities:
        warm_up(model, quality, mode)
        reset_peak_memory(device)
        for unit in share:
            left = [path for path in unit if path not in failed]
            measured, wrong = measure(model, left, quality, mode, perceptual=perceptual)
            rows += [(quality, path, row) for path, row in measured.items()]
            failed |= wrong
            done += len(unit)
            progress(done, total)
    return rows, failed


def _report(
    model: DictionaryCodec, rows: list[dict], qualities: list[float | None], mode: str
) -> dict:
    is_real = mode == "real"
    bits = "real .dco files" if is_real else "bits estimated from likelihoods"
    count = len(rows) // len(qualities)
    report = {
        "name": f"DictCO {model.config.name}" + ("" if is_real else " (estimated)"),
        "description": f"{bits}, {count} images, RGB PSNR of 8-bit images",
        "setup": {"mode": mode} | _setup(model),
    }
    report = finish(report, rows, qualities)
    if all(row["peak_memory_mb"] is not None for row in rows):
        peaks = [[r["peak_memory_mb"] for r in rows if r["quality"] == q] for q in qualities]
        report["results"]["peak_memory_mb"] = [max(values) for values in peaks]
    return report


def _setup(model: DictionaryCodec) -> dict:
    """What a report depends on besides the images."""
    device = next(model.parameters()).device
    packages = ("torch", "compressai", "constriction", "numpy", "pillow")
    packages += ("pytorch-msssim", "ssimulacra2")
    is_cuda = device.type == "cuda"
    return {
        "model": model.config.name,
        "fingerprint": fingerprint(model).hex(),
        "device": torch.cuda.get_device_name(device) if is_cuda else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "dictco_lib": __version__}
        | {name: version(name) for name in packages},
    }


def is_report(path: str | Path) -> bool:
    """Does a file hold what :func:`save_report` writes? Another one is not ours to replace."""
    return {"name", "results", "per_image"} <= json.loads(Path(path).read_bytes()).keys()


def save_report(report: dict, path: str | Path) -> None:
    """Write a report as JSON, all or nothing; infinite values become null."""
    text = json.dumps(_finite(report), indent=1, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
