"""What is in an image, place by place, and whether a map of labels has to do with it.

A place is 16x16 pixels: one sample of y. Maps are smooth, so two of them may agree by chance far
more than shuffled ones do; the fair comparison is with the *same* map, moved elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import sobel, uniform_filter
from scipy.stats import rankdata

PLACE = 16  # pixels a side
#: Weights of R, G and B in brightness.
LUMA = np.array([0.299, 0.587, 0.114])

Map = np.ndarray  # (h, w)


def structures(pixels: np.ndarray) -> dict[str, Map]:
    """Properties of each place of an image.

    Args:
        pixels: (16 h, 16 w, 3) uint8.

    Returns:
        Name -> (h, w): ``edges``, the mean size of the brightness gradient; ``texture``, the
        logarithm of the mean variance in 5x5 windows; ``straightness``, 1 where all gradients
        are parallel and 0 where they point anywhere; ``brightness``; ``saturation``, largest
        minus smallest channel; ``warmth``, red minus blue.
    """
    rgb = pixels / 255
    grey = rgb @ LUMA
    across, down = sobel(grey, 1) / 8, sobel(grey, 0) / 8
    variance = np.maximum(uniform_filter(grey**2, 5) - uniform_filter(grey, 5) ** 2, 0)
    xx, yy, xy = (per_place(a) for a in (across**2, down**2, across * down))
    return {
        "edges": per_place(np.hypot(across, down)),
        "texture": np.log(per_place(variance) + 1e-6),
        "straightness": np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-6),
        "brightness": per_place(grey),
        "saturation": per_place(rgb.max(2) - rgb.min(2)),
        "warmth": per_place(rgb[..., 0] - rgb[..., 2]),
    }


def per_place(values: np.ndarray) -> Map:
    """Mean over the pixels of each place, (16 h, 16 w) -> (h, w)."""
    height, width = values.shape
    return values.reshape(height // PLACE, PLACE, width // PLACE, PLACE).mean((1, 3))


def pooled(maps: Sequence[Map]) -> np.ndarray:
    """The values of several maps in one row."""
    return np.concatenate([np.ravel(m) for m in maps])


def rank_correlation(a: Sequence[Map], b: Sequence[Map]) -> float:
    """Spearman's correlation of two sets of maps: 1 if one rises wherever the other does."""
    return float(np.corrcoef(rankdata(pooled(a)), rankdata(pooled(b)))[0, 1])


def quartiles(maps: Sequence[Map]) -> list[Map]:
    """Each value replaced by the quarter it falls in, 0 to 3, counted over all maps."""
    edges = np.quantile(pooled(maps), (0.25, 0.5, 0.75))
    return [np.digitize(m, edges) for m in maps]


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Bits that one row of labels (integers from 0) tells about another."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / a.size)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log2(joint[seen] / apart[seen])))


def moved(maps: Sequence[Map], rng: np.random.Generator) -> list[Map]:
    """The same maps elsewhere: each rolled around its image and perhaps mirrored."""
    found = []
    for m in maps:
        steps = tuple(rng.integers(side) for side in m.shape)
        down, across = rng.choice((-1, 1), 2)
        found.append(np.roll(m, steps, (0, 1))[::down, ::across])
    return found


def shuffled(maps: Sequence[Map], rng: np.random.Generator) -> list[Map]:
    """All places of all images in random order: what maps are compared with too often."""
    places = rng.permutation(pooled(maps))
    ends = np.cumsum([m.size for m in maps])[:-1]
    return [part.reshape(m.shape) for part, m in zip(np.split(places, ends), maps, strict=True)]


@dataclass(frozen=True)
class Agreement:
    """Bits that labels tell about a structure, and what they tell by chance, draw by draw."""

    bits: float
    by_chance: np.ndarray

    @property
    def is_real(self) -> bool:
        """Whether no draw came up to it."""
        return self.bits > self.by_chance.max()


def agreement(
    labels: Sequence[Map],
    values: Sequence[Map],
    *,
    draws: int = 100,
    chance: Callable[[Sequence[Map], np.random.Generator], list[Map]] = moved,
    seed: int = 0,
) -> Agreement:
    """Mutual information of labels with the quartiles of a structure, held against chance.

    Args:
        labels: integer maps, one per image.
        values: the structure's maps of the same images.
        draws: how often chance has a try.
        chance: takes maps away from what they show: :func:`moved` or :func:`shuffled`.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    classes = pooled(quartiles(values))
    tries = [mutual_information(pooled(chance(labels, rng)), classes) for _ in range(draws)]
    return Agreement(mutual_information(pooled(labels), classes), np.array(tries))


def top_places(maps: Sequence[Map], count: int, *, apart: int = 3) -> list[tuple[int, int, int]]:
    """The largest values of several maps, no two of one map close together.

    Args:
        maps: one per image, (h, w).
        count: how many.
        apart: they differ by at least so many places in row or column.

    Returns:
        Image, row and column of each, the largest value first.
    """
    order = np.argsort(pooled(maps))[::-1]
    where = [(n, i, j) for n, m in enumerate(maps) for i, j in np.ndindex(m.shape)]
    chosen: list[tuple[int, int, int]] = []
    for n, i, j in (where[index] for index in order):
        taken = (c for c in chosen if c[0] == n)
        if all(max(abs(i - a), abs(j - b)) >= apart for _, a, b in taken):
            chosen.append((n, i, j))
        if len(chosen) == count:
            break
    return chosen


def patch(photo: np.ndarray, row: int, column: int, side: int = 48) -> np.ndarray:
    """The pixels around a place, (side, side, 3); at a border, as near as there are pixels.

    Of an image that is smaller than that, a square of its shorter side.
    """
    side = min(side, *photo.shape[:2])
    top, left = (
        min(max(PLACE * at + (PLACE - side) // 2, 0), length - side)
        for at, length in zip((row, column), photo.shape[:2], strict=True)
    )
    return photo[top : top + side, left : left + side]


def top_patches(photos: Sequence[np.ndarray], maps: Sequence[Map], count: int) -> list[np.ndarray]:
    """The patches of images, (16 h, 16 w, 3), at the :func:`top_places` of their maps."""
    return [patch(photos[n], row, column) for n, row, column in top_places(maps, count)]
