"""Rows of a report: what one image costs and how good it comes back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from dictco_lib.coding import decode_image, encode
from dictco_lib.errors import DictcoError
from dictco_lib.evaluation.estimate import read_out
from dictco_lib.evaluation.metrics import decibels, ms_ssim, psnr, ssimulacra2
from dictco_lib.evaluation.rate import rate
from dictco_lib.evaluation.report import identity
from dictco_lib.evaluation.timing import synchronize
from dictco_lib.images import ImageData, eight_bit, image_size, read_image
from dictco_lib.models import DictionaryCodec


def batches(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Images of equal width and height together, up to ``size`` of them."""
    groups: dict[tuple[int, int] | None, list[Path]] = {}
    for path in paths:
        groups.setdefault(image_size(path) if size > 1 else None, []).append(path)
    return [g[i : i + size] for g in groups.values() for i in range(0, len(g), size)]


def measure(
    model: DictionaryCodec,
    paths: Sequence[Path],
    quality: float | None,
    mode: str,
    *,
    perceptual: bool = False,
) -> tuple[dict[Path, dict], dict[Path, str]]:
    """Rows of images of one size, and what is wrong with those that cannot be measured.

    Args:
        model: a loaded codec.
        paths: in real mode one by one, in estimated mode one batch.
        quality: 0-100, or None for a fixed-rate model.
        mode: see :func:`real_rows` and :func:`estimated_rows`.
        perceptual: see :func:`distortion`.
    """
    images: dict[Path, ImageData] = {}
    failed: dict[Path, str] = {}
    for path in paths:
        try:
            images[path] = read_image(path)
        except (DictcoError, OSError) as error:
            failed[path] = str(error)
    if not images:
        return {}, failed
    try:
        rows = MODES[mode](model, list(images.values()), quality, perceptual)
    except DictcoError as error:
        return {}, failed | dict.fromkeys(images, str(error))
    memory = peak_memory_mb(next(model.parameters()).device)
    named = {
        path: {"quality": quality, **row, "peak_memory_mb": memory}
        for path, row in zip(images, rows, strict=True)
    }
    return named, failed


def real_rows(
    model: DictionaryCodec,
    images: Sequence[ImageData],
    quality: float | None,
    perceptual: bool = False,
) -> list[dict]:
    """Code images to files in memory and back: every bit is a bit of a file.

    ``encode_s`` and ``decode_s`` are from pixels to bytes and back, without reading the image;
    ``network`` is the transform (g_a, g_s), ``entropy`` all between latent and bytes: the hyper
    and context networks, which run slice by slice with the range coder, and the coder itself.
    """
    rows = []
    for image in images:
        encoded = encode(model, image, quality)
        decoded, decode_seconds = decode_image(model, encoded.data)
        rows.append(
            rate(image.size, encoded.data)
            | distortion(image, decoded, perceptual)
            | _seconds("encode", encoded.seconds)
            | _seconds("decode", decode_seconds)
        )
    return rows


@torch.no_grad()
def estimated_rows(
    model: DictionaryCodec,
    images: Sequence[ImageData],
    quality: float | None,
    perceptual: bool = False,
) -> list[dict]:
    """Estimate the rate of a batch of images of one size from likelihoods, in float32.

    One forward pass in evaluation mode; the reconstruction is rounded to 8 bits like a real one.
    A real file is larger by header, checksums, the coder's last words and the 64 steps of its
    scale table: with ``classroom`` by 96 to 197 bytes on Kodak, 0.2 to 2.0 %. Large images are
    not cut into tiles, so memory grows with their size.
    """
    weight = next(model.parameters())
    model.check_eval()
    x = torch.stack([image.pixels for image in images])
    synchronize(weight.device)
    start = time.perf_counter()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        x_in = x.to(weight, memory_format=torch.channels_last)
        out = model(x_in, quality, return_routing=True)
        synchronize(weight.device)
    seconds = (time.perf_counter() - start) / len(images)
    found = read_out(model, out, images)
    return [
        rate(image.size, one.bits)
        | distortion(image, ImageData(one.pixels), perceptual)
        | {"forward_s": seconds}
        | ({} if one.gate_entropy is None else {"gate_entropy": one.gate_entropy})
        for image, one in zip(images, found, strict=True)
    ]


#: How rows come about, by name.
MODES = {"real": real_rows, "estimated": estimated_rows}


def warm_up(model: DictionaryCodec, quality: float | None, mode: str) -> None:
    """Do once, on a small grey square, what only a first run pays for: tables, kernels, memory."""
    MODES[mode](model, [read_image(torch.full((3, 64, 64), 0.5))], quality)


def distortion(image: ImageData, decoded: ImageData, perceptual: bool = False) -> dict[str, object]:
    """How good an image came back: the same pixels and metrics for every codec.

    Both are looked at as they are shown, in 8 bits: 16 bits are rounded, grey has three equal
    colours, and alpha is left out (the colours under transparent places count like others).

    Args:
        image: the original.
        decoded: what came back.
        perceptual: measure SSIMULACRA 2 too, which takes longer than all the rest.

    Returns:
        What :func:`dictco_lib.evaluation.report.identity` tells of the image, ``psnr-rgb`` in dB,
        ``ms-ssim-rgb`` and ``ms-ssim-db``, and ``ssimulacra2`` where it was asked for; None where
        a side is too small for the scales of a metric.
    """
    a, b = eight_bit(image), eight_bit(decoded)
    similarity = ms_ssim(a, b)
    found = identity(a) | {
        "psnr-rgb": psnr(a, b),
        "ms-ssim-rgb": similarity,
        "ms-ssim-db": None if similarity is None else decibels(similarity),
    }
    return found | ({"ssimulacra2": ssimulacra2(a, b)} if perceptual else {})


def _seconds(verb: str, seconds: dict[str, float]) -> dict[str, float]:
    network, entropy = seconds["network"], seconds["entropy coding"]
    return {
        f"{verb}_s": network + entropy,
        f"{verb}_network_s": network,
        f"{verb}_entropy_s": entropy,
    }


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak on a GPU; a process's own peak cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float | None:
    """Peak memory in MB (10**6 bytes): allocated on a GPU, or of this process on a CPU.

    That of a process is its largest resident set since it began: it never falls, and holds the
    interpreter and all libraries. None where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
        import sys
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
