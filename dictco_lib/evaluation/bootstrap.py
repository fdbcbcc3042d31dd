"""How far a BD-rate depends on the choice of images: the bootstrap over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dictco_lib.errors import CurveError
from dictco_lib.evaluation.bdrate import Curve, compare
from dictco_lib.evaluation.metrics import decibels

#: More draws than this share without a BD-rate, and there is no interval.
_MOST_FAILED = 0.05


@dataclass(frozen=True)
class Interval:
    """Where the BD-rate, in percent, lies for ``level`` of the draws of ``images`` images."""

    low: float
    high: float
    level: float
    images: int
    draws: int


def bootstrap(
    anchor: np.ndarray,
    test: np.ndarray,
    metric: str = "PSNR",
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """A percentile interval of the BD-rate of two mean curves, over the choice of images.

    Each draw takes as many images as there are, with repetition, the same ones for both codecs,
    and compares the means over them as :func:`~dictco_lib.evaluation.bdrate.compare` does. With
    few images the interval is too narrow: of n images, by about a factor of sqrt((n - 1) / n).
    It says nothing of other seeds of a training, nor of images of another kind.

    Args:
        anchor: bits per pixel and quality, linear for MS-SSIM, shape (points, images, 2), as
            ``curves.load_points`` gives them.
        test: the same of the other codec, for the same images in the same order.
        metric: what the qualities are.
        draws: how many.
        seed: of the draws.
        level: share of the draws that lies in the interval.

    Raises:
        CurveError: for shapes that do not agree, fewer than two images, or if more than one draw
            in twenty gives no BD-rate.

    Reference:
        Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1), 1979.
    """
    anchor, test = np.asarray(anchor, float), np.asarray(test, float)
    shapes = anchor.shape, test.shape
    if any(len(shape) != 3 or shape[2] != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise CurveError(f"points of shapes {shapes}; expected (points, images, 2), of same images")
    images = anchor.shape[1]
    if images < 2 or draws < 1 or not 0 < level < 1:
        raise CurveError(
            f"{images} images, {draws} draws, level {level}; an interval needs two images or more, "
            "draws, and a level between 0 and 1"
        )
    generator, rates, reason = np.random.default_rng(seed), [], ""
    for _ in range(draws):
        drawn = generator.integers(images, size=images)
        try:
            curves = (_mean_curve(points[:, drawn], metric) for points in (anchor, test))
            rates.append(compare(*curves).rate)
        except CurveError as error:  # such a mean curve does not rise
            reason = str(error)
    if draws - len(rates) > _MOST_FAILED * draws:
        raise CurveError(f"{draws - len(rates)} of {draws} draws have no BD-rate: {reason}")
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, images, len(rates))


def _mean_curve(points: np.ndarray, metric: str) -> Curve:
    bpp, quality = points.mean(1).T
    values = [decibels(value) for value in quality] if metric == "MS-SSIM" else quality
    return Curve("mean of a draw", bpp, values, metric=metric)
