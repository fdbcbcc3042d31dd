"""What large images take: memory and seconds of the commands, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dictco_lib.errors import DictcoError, OptionError
from dictco_lib.images import demo_images, read_image

#: The first shows what starting takes.
MEGAPIXELS = (0.01, 4, 16, 100)


@dataclass(frozen=True)
class Cost:
    """One command on one image.

    ``peak_mb`` is the largest resident set of its process (10**6 bytes), interpreter and
    libraries included; ``seconds`` those of the processor, which other work hardly moves.
    """

    command: str
    megapixels: float
    peak_mb: float
    seconds: float


def measure_memory(
    megapixels: Sequence[float] = MEGAPIXELS, options: Sequence[str] = ()
) -> Iterator[Cost]:
    """Compress and decompress square images, from file to file.

    Args:
        megapixels: their sizes, in 10**6 pixels; they are demo photographs side by side.
        options: of both commands, such as ``("--model", "nano.safetensors")``.

    Yields:
        Each cost when it is known.

    Raises:
        OptionError: for a size that is no image, or where the system does not count (Windows).
        DictcoError: if a command fails.
    """
    if not hasattr(os, "wait4"):
        raise OptionError("this system does not tell what a process took; measure on Linux or mac")
    if not megapixels or min(megapixels) <= 0:
        raise OptionError(f"got {list(megapixels)} megapixels, expected numbers above 0")
    with tempfile.TemporaryDirectory() as folder:
        for i, size in enumerate(megapixels):
            names = (f"{i}.png", f"{i}.dco", f"{i}_back.png")
            image, coded, back = (Path(folder, name) for name in names)
            side = max(1, round((size * 1e6) ** 0.5))
            Image.fromarray(large_image(side, side)).save(image, compress_level=1)
            for command, source, target in (
                ("compress", image, coded),
                ("decompress", coded, back),
            ):
                peak, seconds = _cost([command, str(source), str(target), *options])
                yield Cost(command, side * side / 1e6, peak, seconds)


def large_image(width: int, height: int) -> np.ndarray:
    """Demo photographs side by side, shifted from row to row, (H, W, 3) uint8."""
    parts = [read_image(path).samples[:400] for path in demo_images().values()]
    row = np.concatenate([part for part in parts if part.ndim == 3 and len(part) == 400], axis=1)
    row = np.tile(row, (1, -(-width // row.shape[1]), 1))
    image = np.empty((height, width, 3), np.uint8)
    for i, top in enumerate(range(0, height, 400)):
        part = np.roll(row, 137 * i, axis=1)[:, :width]
        image[top : top + 400] = part[: height - top]
    return image


# The largest set of a process counts from before its program began, when it was a copy of its
# parent: so a small parent starts it.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def _cost(arguments: list[str]) -> tuple[float, float]:
    """Peak MB and processor seconds of a command."""
    command = [sys.executable, "-c", _LAUNCHER, sys.executable, "-m", "dictco_lib", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise DictcoError(f"dictco {arguments[0]} failed: {last}")
    peak, seconds = map(float, done.stdout.split())
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6, seconds
