"""Images for training: tar shards and folders, random crops that a step number determines."""

from __future__ import annotations

import io
import logging
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dictco_lib.errors import RecipeError, foreign, quoted
from dictco_lib.files import special_kind
from dictco_lib.images import demo_images, find_images, readable_formats
from dictco_lib.images.formats import is_image, why_unread
from dictco_lib.images.search import is_hidden

log = logging.getLogger(__name__)
#: Bytes that nearly always hold the size of an image.
_HEADER = 2**16
#: A source that needs no files: the photographs packaged in scikit-image.
DEMO = "scikit-image"


class _Item(NamedTuple):
    """Where an image lies; size -1 is a whole file."""

    path: str
    offset: int
    size: int
    name: str


class TrainingImages:
    """Images in tar shards and folders, decoded on demand and kept in memory up to a limit.

    Args:
        sources: paths of tar files and folders (folders are searched with their sub-folders), or
            ``"scikit-image"`` for the photographs packaged there.
        cache_mb: decoded pixels to keep, in MiB.
    """

    def __init__(self, sources: tuple[str, ...], cache_mb: int = 1024) -> None:
        self.items = [item for source in sources for item in _index(Path(source))]
        if not self.items:
            raise RecipeError(f"no images in {list(sources)}; give tar shards or folders")
        self.damaged: dict[str, str] = {}  # name of an image -> what is wrong with it
        self.useless: set[int] = set()  # damaged, or too small for a crop
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._room = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self.items)

    def read(self, i: int) -> np.ndarray | None:
        """Pixels of an image, (H, W, 3) uint8; None if it is damaged, see ``damaged``."""
        if self.items[i].name in self.damaged:  # listed twice, perhaps
            self.useless.add(i)
            return None
        if i not in self._cache:
            try:
                pixels = self._decode(i)
            except Exception as error:  # damaged files make Pillow raise nearly anything
                self.damaged[self.items[i].name] = str(error)
                self.useless.add(i)
                return None
            self._cache[i] = pixels
            self._room -= pixels.nbytes
            while self._room < 0 and len(self._cache) > 1:
                self._room += self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(i)
        return self._cache[i]

    def _decode(self, i: int) -> np.ndarray:
        item = self.items[i]
        with open(item.path, "rb") as file:
            file.seek(item.offset)
            data = file.read(item.size)
        image = Image.open(io.BytesIO(data), formats=readable_formats(item.name))
        if image.mode.startswith("I"):
            raise ValueError("16-bit grey, which would lose its shades; convert it to 8 bits")
        return np.asarray(image.convert("RGB"))

    def below(self, size: int) -> list[str]:
        """Names of the images with a side below ``size``, by their headers alone.

        Images without a readable header are not among them: they are damaged, not small.
        """
        sizes = ((item.name, self._size(item)) for item in self.items)
        return [name for name, sides in sizes if sides and min(sides) < size]

    @staticmethod
    def _size(item: _Item) -> tuple[int, int] | None:
        with open(item.path, "rb") as file:
            for most in (_HEADER, item.size):  # the second time, all of it: the size may lie behind
                file.seek(item.offset)
                data = file.read(most if item.size < 0 else min(most, item.size))
                try:
                    with Image.open(io.BytesIO(data)) as image:
                        return image.size
                except Exception:  # cut or damaged files make Pillow raise nearly anything
                    continue
        return None


def name_small(images: TrainingImages, crop: int) -> None:
    """Say in one line which images no crop fits into: training never draws them.

    Raises:
        RecipeError: if none is left.
    """
    small = images.below(crop)
    if not small:
        return
    shown = ", ".join(small[:3]) + (", ..." if len(small) > 3 else "")
    text = f"{len(small)} of {len(images)} training images are smaller than the crop of {crop}"
    if len(small) == len(images):
        raise RecipeError(f"{text}: {shown}; lower `crop` in the recipe, or give larger images")
    log.warning("%s pixels and are left out: %s", text, shown)


def _index(source: Path) -> list[_Item]:
    if str(source) == DEMO:
        return [_Item(str(path), 0, -1, path.name) for path in demo_images().values()]
    if source.is_dir():
        found = find_images(source)
        for path, reason in found.skipped.items():
            log.warning("skipped %s: it %s", path, reason)
        return [_Item(str(p), 0, -1, str(p)) for p in found.taken]
    if not source.exists():
        raise RecipeError(f"training data {source} does not exist; correct `data` in the recipe")
    return _members(source)


def _members(source: Path) -> list[_Item]:
    """The images in a tar shard, which are read where they lie: it must not be compressed."""
    advice = "make it again with tar cf, without compression"
    with foreign(f"training data {source} cannot be read", RecipeError, advice):
        if special_kind(source) or not tarfile.is_tarfile(source):  # a pipe would wait for ever
            raise RecipeError(f"training data {source} is neither a folder nor a tar file")
        size = source.stat().st_size
        with tarfile.open(source, "r:") as tar:
            members = [m for m in tar if m.isfile() and not is_hidden(m.name)]
            members = [m for m in members if m.issparse() or _is_taken(tar, m)]
    for m in members:
        if m.issparse() or m.offset_data + m.size > size:
            raise RecipeError(f"{quoted(m.name)} in {source} is not whole; {advice}")
    return [_Item(str(source), m.offset_data, m.size, f"{source}/{m.name}") for m in members]


def _is_taken(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """Is a member of a tar file what a folder search would take?"""
    stream = tar.extractfile(member)
    reason = why_unread(member.name, stream.read(64))
    if reason:
        log.warning("skipped %s/%s: it %s", tar.name, member.name, reason)
        return False
    stream.seek(0)
    return is_image(stream, member.name)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def random_crop(
    images: TrainingImages, size: int, rng: np.random.Generator, *, scale: float = 1.0
) -> np.ndarray:
    """A random square of a random image, flipped by chance, (size, size, 3) uint8.

    Args:
        images: where from.
        size: side in pixels.
        rng: decides everything.
        scale: images are shrunk by a random factor from this one to 1; 1 leaves them as they are.
    """
    while len(images.useless) < len(images):
        i = int(rng.integers(len(images)))
        pixels = images.read(i)
        if pixels is None:
            continue
        if min(pixels.shape[:2]) < size:
            images.useless.add(i)
            continue
        factor = rng.uniform(scale, 1) if scale < 1 else 1.0
        side = min(round(size / factor), *pixels.shape[:2])
        top = int(rng.integers(pixels.shape[0] - side + 1))
        left = int(rng.integers(pixels.shape[1] - side + 1))
        crop = pixels[top : top + side, left : left + side]
        if side > size:
            crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
        return crop[:, ::-1] if rng.random() < 0.5 else crop
    raise RecipeError(
        f"every image of the training data is damaged or smaller than {size} pixels"
        + "".join(f"; {name}: {reason}" for name, reason in list(images.damaged.items())[:1])
    )


def uniforms(step: int, *, size: int, seed: int) -> Tensor:
    """A number in [0, 1) per image of a batch, (B,), which training turns into a quality.

    Each image draws from another B-th of the range, so that every batch covers all rates.
    """
    rng = np.random.default_rng([seed, step])
    return torch.from_numpy((rng.permutation(size) + rng.random(size)).astype(np.float32) / size)


def noise_seed(step: int, *, seed: int) -> int:
    """What torch is seeded with before the forward pass of a step.

    Every step has a seed of its own: whoever shares its batch, and whoever resumes, draws the same
    noise.
    """
    return seed * 2**32 + step


def sample(
    images: TrainingImages, step: int, index: int, *, crop: int, seed: int, scale: float = 1.0
) -> Tensor:
    """Image ``index`` of the batch of one step, (3, crop, crop) in [0, 1].

    A function of seed, step and index alone: a resumed run sees the same, and so do workers and
    processes that share a batch.
    """
    rng = np.random.default_rng([seed, step, index])
    return to_tensor(random_crop(images, crop, rng, scale=scale))


class Share(NamedTuple):
    """Which images of every batch one process computes, in which order.

    A batch is cut into ``accumulate * processes`` equal parts; in its accumulation step ``a``,
    process ``rank`` takes part ``a * processes + rank``.
    """

    size: int  # images of the whole batch
    rank: int = 0
    processes: int = 1
    accumulate: int = 1

    def indices(self) -> list[int]:
        """Positions in the batch of this process's images."""
        n = self.size // (self.processes * self.accumulate)
        parts = range(self.rank, self.processes * self.accumulate, self.processes)
        return [part * n + j for part in parts for j in range(n)]


class Batches(Dataset):
    """The training crops, by step: item s is this process's share of the batch of step s.

    Args:
        sources: tar shards and folders, as :class:`TrainingImages` takes them.
        share: which images of a batch.
        crop, scale, seed, cache_mb: as in a recipe.
    """

    def __init__(
        self, sources: tuple[str, ...], share: Share, *, crop: int, scale: float = 1.0,
        seed: int = 0, cache_mb: int = 1024,
    ) -> None:  # fmt: skip
        self.images = TrainingImages(sources, cache_mb)
        self.share, self.crop, self.scale, self.seed = share, crop, scale, seed

    def __getitem__(self, step: int) -> tuple[Tensor, dict[str, str]]:
        """Images (b, 3, crop, crop) in [0, 1], and the damaged images known so far."""
        images = [
            sample(self.images, step, j, crop=self.crop, seed=self.seed, scale=self.scale)
            for j in self.share.indices()
        ]
        return torch.stack(images), dict(self.images.damaged)

    def from_step(
        self, start: int, stop: int, workers: int = 0
    ) -> Iterator[tuple[Tensor, dict[str, str]]]:
        """Items ``start`` to ``stop``, decoded ahead of time by worker processes."""
        loader = DataLoader(
            self,
            sampler=range(start, stop),
            batch_size=None,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )
        return iter(loader)
