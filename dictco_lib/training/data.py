"""Photographs for training: tar shards and folders, random crops that a step number determines."""

from __future__ import annotations

import io
import logging
import tarfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dictco_lib.errors import RecipeError
from dictco_lib.images import SUFFIXES, demo_photos

log = logging.getLogger(__name__)
#: A source that needs no files: the photographs packaged in scikit-image.
DEMO = "scikit-image"


class Photos:
    """Pictures in tar shards and folders, decoded on demand and kept in memory up to a limit.

    Args:
        sources: paths of tar files and folders (folders are searched with their sub-folders), or
            ``"scikit-image"`` for the photographs packaged there.
        cache_mb: decoded pixels to keep, in MiB.
    """

    def __init__(self, sources: tuple[str, ...], cache_mb: int = 1024) -> None:
        self.items: list[tuple[str, int, int]] = []  # path, offset, size (-1: the whole file)
        for source in sources:
            self.items += _index(Path(source))
        if not self.items:
            raise RecipeError(f"no pictures in {list(sources)}; give tar shards or folders")
        self.damaged: set[int] = set()
        self.useless: set[int] = set()  # damaged, or too small for a crop
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._room = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """Where a picture is, for messages."""
        path, offset, _ = self.items[i]
        return f"{path}@{offset}"

    def read(self, i: int) -> np.ndarray | None:
        """Pixels of a picture, (H, W, 3) uint8; None (counted and named once) if it is damaged."""
        if i in self.damaged:
            return None
        if i not in self._cache:
            try:
                pixels = self._decode(i)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                self.damaged.add(i)
                self.useless.add(i)
                log.warning("skipped damaged picture %s: %s", self.name(i), error)
                return None
            self._cache[i] = pixels
            self._room -= pixels.nbytes
            while self._room < 0 and len(self._cache) > 1:
                self._room += self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(i)
        return self._cache[i]

    def _decode(self, i: int) -> np.ndarray:
        path, offset, size = self.items[i]
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _index(source: Path) -> list[tuple[str, int, int]]:
    if str(source) == DEMO:
        return [(str(path), 0, -1) for path in demo_photos().values()]
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
        return [(str(p), 0, -1) for p in files]
    if not source.exists():
        raise RecipeError(f"training data {source} does not exist; correct `data` in the recipe")
    if not tarfile.is_tarfile(source):
        raise RecipeError(f"training data {source} is neither a folder nor a tar file")
    with tarfile.open(source) as tar:
        members = [m for m in tar if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES]
    return [(str(source), m.offset_data, m.size) for m in members]


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def random_crop(photos: Photos, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of a random picture, flipped by chance, (size, size, 3) uint8."""
    while len(photos.useless) < len(photos):
        i = int(rng.integers(len(photos)))
        pixels = photos.read(i)
        if pixels is None:
            continue
        if min(pixels.shape[:2]) < size:
            photos.useless.add(i)
            continue
        top = int(rng.integers(pixels.shape[0] - size + 1))
        left = int(rng.integers(pixels.shape[1] - size + 1))
        crop = pixels[top : top + size, left : left + size]
        return crop[:, ::-1] if rng.random() < 0.5 else crop
    raise RecipeError(
        f"every picture of the training data is damaged or smaller than {size} pixels"
    )


def batch(photos: Photos, step: int, *, size: int, crop: int, seed: int) -> tuple[Tensor, Tensor]:
    """The batch of one step: a function of seed and step alone, so a resumed run sees the same.

    Returns:
        Crops (B, 3, crop, crop) in [0, 1], and a uniform number in [0, 1) per image, (B,),
        which variable-rate training turns into a quality.
    """
    rng = np.random.default_rng([seed, step])
    x = torch.stack([to_tensor(random_crop(photos, crop, rng)) for _ in range(size)])
    return x, torch.from_numpy(rng.random(size, dtype=np.float32))
