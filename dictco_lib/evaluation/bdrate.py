"""Bjontegaard's metric: the average difference between two rate-distortion curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bjontegaard import bd_psnr, bd_rate
from scipy.interpolate import PchipInterpolator

from dictco_lib.errors import CurveError
from dictco_lib.evaluation.conditions import Conditions, check_images, unlike
from dictco_lib.evaluation.metrics import UNITS

#: A comparison over less of both ranges than this, or over fewer points, comes with a warning.
MIN_SHARE = 0.5
MIN_POINTS = 4
#: Monotone between the points, so that it never invents a bump; matching points are not needed.
#: The overlap is returned with the value, so the package need not warn about it.
_OPTIONS = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve, sorted by rate.

    ``bpp`` are bits per pixel, ``psnr`` the qualities, PSNR in dB or another, one pair a point;
    ``is_published`` tells numbers of others from what was measured here. ``metric`` names what the
    qualities are, a key of ``metrics.UNITS``: BD-rate is defined for MS-SSIM in dB, and for the
    scores of SSIMULACRA 2, just as for PSNR, but never between two of them.
    ``conditions`` are what a file says of the measurement; a curve made by hand says nothing.
    """

    name: str
    bpp: Sequence[float]
    psnr: Sequence[float]
    is_published: bool = False
    metric: str = "PSNR"
    conditions: Conditions = Conditions()

    def __post_init__(self) -> None:
        bpp, psnr = (self._numbers(key) for key in ("bpp", "psnr"))
        if len(bpp) != len(psnr):
            raise CurveError(
                f"curve {self.name}: {len(bpp)} values of bpp and {len(psnr)} of PSNR; "
                "a point needs both"
            )
        if min(bpp) <= 0:
            raise CurveError(f"curve {self.name}: bpp {min(bpp):g}, but a rate is above 0")
        order = np.argsort(bpp, kind="stable")
        object.__setattr__(self, "bpp", [bpp[i] for i in order])
        object.__setattr__(self, "psnr", [psnr[i] for i in order])

    def _numbers(self, key: str) -> list[float]:
        values = getattr(self, key)
        if not isinstance(values, list | tuple | np.ndarray) or not len(values):
            raise CurveError(f"curve {self.name}: {key} is {values!r}, expected a list of numbers")
        for value in values:
            is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not is_number or not abs(value) <= 1e300:  # whole numbers of JSON have no end
                raise CurveError(f"curve {self.name}: {key} holds {value!r}, expected numbers")
        return [float(value) for value in values]

    def check_is_increasing(self) -> None:
        """Raise CurveError unless each point costs more and is better than the one before it."""
        if len(self.bpp) < 2:
            raise CurveError(f"curve {self.name} is one point; measure more qualities")
        for key, values in (("rate", self.bpp), (self.metric, self.psnr)):
            for i, step in enumerate(np.diff(values)):
                if step <= 0:
                    raise CurveError(
                        f"curve {self.name}: {key} goes from {values[i]:.4f} to "
                        f"{values[i + 1]:.4f} at {self.bpp[i + 1]:.4f} bpp, but a better image "
                        "must cost more; remove one of the points"
                    )

    def rates_at(self, psnr: Sequence[float]) -> np.ndarray:
        """Bits per pixel that the curve needs for each quality, interpolated as BD-rate does.

        Args:
            psnr: qualities in dB within the range of the curve.

        Raises:
            CurveError: if the curve does not rise, or a quality lies outside it.
        """
        self.check_is_increasing()
        low, high = min(psnr), max(psnr)
        if low < self.psnr[0] or high > self.psnr[-1]:
            unit = UNITS[self.metric]
            raise CurveError(
                f"curve {self.name} has points from {self.psnr[0]:.2f} to {self.psnr[-1]:.2f}"
                f"{unit} and says nothing of {low:.2f} to {high:.2f}{unit}; stay inside"
            )
        return np.exp(PchipInterpolator(self.psnr, np.log(self.bpp))(psnr))


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found; ``low`` to ``high`` is the range that both curves cover."""

    rate: float  # difference at equal PSNR in percent; below 0: fewer bits than the anchor
    psnr: float  # difference at equal rate in the metric's unit; NaN where rates do not overlap
    low: float
    high: float
    share: float  # of the overlap in all the qualities that the two curves cover together
    points: int  # in the overlap, of the curve that has fewer of them there
    unlike: tuple[str, ...] = ()  # what differs between the two measurements
    metric: str = "PSNR"

    def doubts(self) -> list[str]:
        """Why the numbers should not be trusted far, one sentence a reason."""
        found = list(self.unlike)
        if self.share < MIN_SHARE:
            found.append(
                f"the overlap, {self.low:.1f}-{self.high:.1f}{UNITS[self.metric]}, is only "
                f"{self.share:.0%} of the range of both curves"
            )
        if self.points < MIN_POINTS:
            found.append(
                f"one curve has {self.points} of its points in the overlap, fewer than {MIN_POINTS}"
            )
        return found


def compare(anchor: Curve, test: Curve) -> Comparison:
    """BD-rate and BD-PSNR of ``test`` against ``anchor``.

    Args:
        anchor: what is compared with.
        test: what is judged.

    Raises:
        CurveError: if a curve does not rise, or the two share no PSNR, or measure another thing,
            or other images.

    Reference:
        Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001.
    """
    for curve in (anchor, test):
        curve.check_is_increasing()
    if anchor.metric != test.metric:
        raise CurveError(
            f"{anchor.name} is a curve of {anchor.metric}, {test.name} one of {test.metric}; "
            "load both in the same metric"
        )
    check_images(anchor.conditions, test.conditions)
    low, high = max(anchor.psnr[0], test.psnr[0]), min(anchor.psnr[-1], test.psnr[-1])
    if low >= high:
        unit = UNITS[anchor.metric]
        raise CurveError(
            f"the curves do not overlap: {anchor.psnr[0]:.2f}-{anchor.psnr[-1]:.2f}{unit} "
            f"({anchor.name}) and {test.psnr[0]:.2f}-{test.psnr[-1]:.2f}{unit} ({test.name}); "
            "measure more qualities"
        )
    union = max(anchor.psnr[-1], test.psnr[-1]) - min(anchor.psnr[0], test.psnr[0])
    values = anchor.bpp, anchor.psnr, test.bpp, test.psnr
    share_rates = max(anchor.bpp[0], test.bpp[0]) < min(anchor.bpp[-1], test.bpp[-1])
    return Comparison(
        rate=float(bd_rate(*values, **_OPTIONS)),
        psnr=float(bd_psnr(*values, **_OPTIONS)) if share_rates else math.nan,
        low=low,
        high=high,
        share=(high - low) / union,
        points=min(sum(low <= p <= high for p in curve.psnr) for curve in (anchor, test)),
        unlike=tuple(unlike(anchor.conditions, test.conditions)),
        metric=anchor.metric,
    )


def compare_per_image(
    anchor: dict[str, Curve], test: dict[str, Curve]
) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Compare image by image.

    Args:
        anchor: image name -> curve, as ``curves.load_per_image`` gives them.
        test: the same of the other codec; images that only one of them has are left out.

    Returns:
        Image name -> comparison, and image name -> reason where there can be none.
    """
    found, failed = {}, {}
    for image in sorted(anchor.keys() & test.keys()):
        try:
            found[image] = compare(anchor[image], test[image])
        except CurveError as error:
            failed[image] = str(error)
    if not found:
        reason = next(iter(failed.values()), "the reports have no image in common")
        raise CurveError(f"no image can be compared: {reason}")
    return found, failed
