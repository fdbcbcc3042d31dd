"""What our ways to compute save: real files, the layers' definitions beside the fast ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch

from dictco_lib.coding import decode, encode
from dictco_lib.errors import OptionError
from dictco_lib.evaluation.load import sized_image
from dictco_lib.evaluation.timing import check_bench, synchronize
from dictco_lib.layers.reference import plain_copy
from dictco_lib.memory import kept_memory_off
from dictco_lib.models import Codec
from dictco_lib.training.transforms import set_transforms

#: Each path by name: whether layers compute by definition, float32 coding, bf16 transforms.
PATHS = {
    "plain, float32": (True, True, False),
    "float32 (--fast)": (False, True, False),
    "portable": (False, False, False),
    "float32, bf16 transforms": (False, True, True),
    "portable, bf16 transforms": (False, False, True),
}
PLAIN, FAST, PORTABLE, FAST_BF16, _ = PATHS
#: The sizes of the two that were published.
FULL = ("dcae", "dictco")


@dataclass(frozen=True)
class Speed:
    """One path: medians from pixels to the bytes of a .dco file, and back.

    ``encode_s`` and ``decode_s`` are CPU seconds of this process (on a GPU those of a clock),
    which other programs hardly change; ``wall_s`` is what a clock says of both.
    """

    name: str
    encode_s: float
    decode_s: float
    wall_s: float

    @property
    def both_s(self) -> float:
        """Seconds to encode and decode."""
        return self.encode_s + self.decode_s


@torch.no_grad()
def bench_speed(
    model: Codec,
    size: tuple[int, int] = (768, 512),
    repeats: int = 5,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Speed]:
    """Encode and decode an image in every way, turn by turn, so that a slow machine slows all.

    Args:
        model: a codec with its tables built.
        size: width and height of the image in pixels.
        repeats: turns that count, after one that does not.
        tick: called after every file made and read, ``repeats + 1`` times a path.

    Returns:
        A :class:`Speed` for each path; those with bf16 only where the processor has it.

    Raises:
        OptionError: if there would be nothing to measure.
    """
    check_bench(size, repeats)
    image, plain = sized_image(size), plain_copy(model)
    plain.latent_codec.seal()
    paths = dict(PATHS)
    try:
        set_transforms(model, "bf16")
    except OptionError:
        paths = {name: path for name, path in paths.items() if not path[2]}
    turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in paths}
    try:
        for _ in range(repeats + 1):
            for name, (is_plain, fast, is_bf16) in paths.items():
                model.transform_dtype = torch.bfloat16 if is_bf16 else None
                if is_plain:
                    with kept_memory_off():
                        turns[name].append(_turn(plain, image, fast))
                else:
                    turns[name].append(_turn(model, image, fast))
                tick()
    finally:
        model.transform_dtype = None
    return {
        name: Speed(name, *(median(values) for values in zip(*found[1:], strict=True)))
        for name, found in turns.items()
    }


def verdicts(found: dict[str, Speed], *, is_full: bool) -> Iterator[str]:
    """What was aimed at, and whether it was reached: a line each.

    Args:
        found: what :func:`bench_speed` returned.
        is_full: whether the model has a published size.
    """
    plain, fast, portable = (found[name].both_s for name in (PLAIN, FAST, PORTABLE))
    aims = [("portable / fast", portable / fast, "at most", 1.6 if is_full else 1.25)]
    if is_full:
        aims.append(("plain / float32", plain / fast, "at least", 1.5))
    if is_full and FAST_BF16 in found:
        aims.append(("plain / bf16", plain / found[FAST_BF16].both_s, "at least", 2.5))
    for name, ratio, side, aim in aims:
        is_reached = ratio <= aim if side == "at most" else ratio >= aim
        yield f"{name}: {ratio:.2f}, aim {side} {aim:g}: {'reached' if is_reached else 'MISSED'}"


def _turn(model: Codec, image: object, fast: bool) -> tuple[float, float, float]:
    device = next(model.parameters()).device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times, start = [clock()], time.perf_counter()
    quality = 50.0 if model.config.is_variable_rate else None
    data = encode(model, image, quality, fast=fast).data
    times.append(clock())
    decode(model, data)
    synchronize(device)
    times.append(clock())
    return times[1] - times[0], times[2] - times[1], time.perf_counter() - start
