"""What runs and commands ask of ``g_a`` and ``g_s`` alone: ceiling, and faster precision."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from dictco_lib.errors import OptionError
from dictco_lib.models import DictionaryCodec
from dictco_lib.models.codec import pad_to_stride

DTYPES = {"float32": None, "bf16": torch.bfloat16}
_TURNS = 3
_SIDE = 128  # pixels of the image that a choice for files is measured on
#: A choice made before is kept unless the other is faster by this factor: noise does not change
#: a run that goes on, another processor does.
_CLEARLY = 2.0


@torch.no_grad()
def unrounded_psnr(model: DictionaryCodec, x: Tensor) -> float:
    """What a model would reach without any quantisation, which bounds its highest quality.

    Args:
        model: any codec.
        x: one image, shape (1, 3, H, W), in [0, 1].

    Returns:
        PSNR in dB of ``g_s(g_a(x))``, with the gain and the inverse gain of the highest quality
        between them: their product is not 1, and ``g_s`` has learned to expect it.
    """
    codec, padded = model.latent_codec, pad_to_stride(x)
    top = model.level(100, padded) if model.config.is_variable_rate else None
    y = codec.unscale_y(codec.scale_y(model.g_a(padded), top), top)
    x_hat = model.g_s(y)[..., : x.shape[-2], : x.shape[-1]]
    mse = (x_hat.clamp(0, 1) - x).square().mean().clamp(min=1e-10)
    return -10 * mse.log10().item()


def set_transforms(model: DictionaryCodec, wanted: str) -> str:
    """Choose the precision of ``g_a`` and ``g_s`` where files are coded: their pixels differ a bit.

    Files decode with either, whichever they were made with.

    Args:
        model: any codec; its :attr:`~dictco_lib.models.codec.Codec.transform_dtype` is set.
        wanted: ``float32``, ``bf16``, or ``auto`` for what is faster on this machine, measured on
            a small image.

    Returns:
        ``float32`` or ``bf16``.

    Raises:
        OptionError: for another name, or if bf16 is clearly slower here than float32.
    """
    if wanted not in (*DTYPES, "auto"):
        raise OptionError(f"transforms is {wanted!r}, expected float32, bf16 or auto")
    name = wanted
    if wanted != "float32":
        weight = next(model.g_a.parameters())
        x = torch.full((1, 3, _SIDE, _SIDE), 0.5).to(weight, memory_format=torch.channels_last)
        seconds = transform_seconds(model, x, has_gradients=False)
        name = faster(seconds) if wanted == "auto" else wanted
        if name == "bf16" and seconds["bf16"] > _CLEARLY * seconds["float32"]:
            raise OptionError(
                f"bf16 takes {seconds['bf16'] / seconds['float32']:.1f} times as long as float32 "
                "on this processor, which has no fast bf16; take auto or float32"
            )
    model.transform_dtype = DTYPES[name]
    return name


def transform_seconds(
    model: DictionaryCodec, x: Tensor, *, has_gradients: bool = True
) -> dict[str, float]:
    """Median seconds of the transforms (and their gradients) in each precision, on this machine.

    On a CPU these are seconds of computing, which other work on the machine does not change.

    Processors with AVX512_BF16 or AMX are up to twice as fast with bf16, others a hundred times
    slower. Weights, gradients and random numbers are left as they are.

    Args:
        model: what is trained, not yet compiled.
        x: a batch as in training, shape (B, 3, H, W).
        has_gradients: whether they are computed too.

    Returns:
        Seconds for each name of :data:`DTYPES`.
    """
    mode, dtype = model.training, model.transform_dtype
    model.eval()  # BatchNorm must not count these
    seconds: dict[str, list[float]] = {name: [] for name in DTYPES}
    try:
        for _ in range(_TURNS + 1):
            for name in DTYPES:
                seconds[name].append(_seconds(model, x, name, has_gradients))
    finally:
        model.train(mode)
        model.transform_dtype = dtype
    return {name: median(values[1:]) for name, values in seconds.items()}


def faster(seconds: dict[str, float], kept: str | None = None) -> str:
    """The name with the least seconds; the one kept from before, unless it is clearly slower."""
    best = min(seconds, key=seconds.get)
    is_kept = kept in seconds and seconds[kept] <= _CLEARLY * seconds[best]
    return kept if is_kept else best


def _seconds(model: DictionaryCodec, x: Tensor, name: str, has_gradients: bool) -> float:
    model.transform_dtype = DTYPES[name]
    weights = [*model.g_a.parameters(), *model.g_s.parameters()]
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    with torch.set_grad_enabled(has_gradients):
        start = clock()
        x_hat = model.transform(model.g_s, model.transform(model.g_a, x))
        loss = x_hat.square().mean()
        if has_gradients:
            loss = torch.autograd.grad(loss, weights)[0].sum()
        loss.item()  # waits for the device
    return clock() - start
