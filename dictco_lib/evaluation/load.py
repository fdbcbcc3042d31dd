"""Coding beside other programs: the seconds of an image alone, and beside programs without rest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage import data

from dictco_lib.coding import decode, encode
from dictco_lib.evaluation.timing import check_bench, median_seconds
from dictco_lib.models import DictionaryCodec

#: Other programs beside which the coding is measured, and how much longer it may take there.
LIMITS = {0: 1.0, 1: 2.0, 2: 3.0}
#: Seconds after which a busy program ends, whatever became of who started it.
LONGEST = 3600
# Looks at the clock and for its parent now and then: it must not outlive a killed benchmark.
_BUSY = """
import os, sys, time
parent, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
print(flush=True)
while os.getppid() == parent and time.monotonic() < end:
    for _ in range(1_000_000):
        pass
"""


@dataclass(frozen=True)
class Load:
    """Median seconds beside a number of busy programs, and how often longer than alone that is."""

    busy: int
    encode_s: float
    decode_s: float
    encode_ratio: float
    decode_ratio: float

    @property
    def is_within_limit(self) -> bool:
        """Whether both take no longer than they may."""
        return max(self.encode_ratio, self.decode_ratio) <= LIMITS[self.busy]


@contextmanager
def busy_programs(count: int, longest: float = LONGEST) -> Iterator[list[subprocess.Popen]]:
    """Keep cores busy with programs in sessions of their own, like those of other terminals.

    Linux shares the cores among sessions first: programs of this session would disturb it less.

    Args:
        count: how many programs.
        longest: seconds after which they end by themselves.
    """
    programs: list[subprocess.Popen] = []
    try:
        for _ in range(count):
            command = [sys.executable, "-c", _BUSY, str(os.getpid()), str(longest)]
            programs.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
            )
        for program in programs:
            program.stdout.readline()  # it has begun
        yield programs
    finally:
        for program in programs:
            program.kill()
        for program in programs:
            program.wait()
            program.stdout.close()


def sized_image(size: tuple[int, int]) -> np.ndarray:
    """The image that is coded, (H, W, 3) uint8; ``size`` is its width and height."""
    return np.asarray(Image.fromarray(data.coffee()).resize(size, Image.Resampling.BICUBIC))


def bench_load(
    model: DictionaryCodec, size: tuple[int, int] = (768, 512), repeats: int = 5
) -> Iterator[Load]:
    """Encode and decode an image alone, beside one and beside two busy programs.

    Args:
        model: a codec with its tables built.
        size: width and height of the image in pixels.
        repeats: runs of each, after a warm-up.

    Yields:
        Each measurement when it is done, with nobody busy first.

    Raises:
        OptionError: if there would be nothing to measure.
    """
    check_bench(size, repeats)
    image = sized_image(size)
    quality = 50.0 if model.config.is_variable_rate else None
    coded = encode(model, image, quality=quality).data
    works = {
        "encode": lambda: encode(model, image, quality=quality),
        "decode": lambda: decode(model, coded),
    }
    device = next(model.parameters()).device
    alone: dict[str, float] = {}
    for count in LIMITS:
        with busy_programs(count):
            seconds = median_seconds(works, repeats, device)
        alone = alone or seconds
        ratios = [seconds[name] / alone[name] for name in works]
        yield Load(count, seconds["encode"], seconds["decode"], *ratios)
