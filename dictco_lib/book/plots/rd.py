"""Figures of rate-distortion evaluation: several metrics, the area of a BD-rate, its spread."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dictco_lib.book.plots import BLACK, BLUE, CODEC_STYLES, PURPLE, SKY, VERMILION, rd_curves
from dictco_lib.book.plots.labels import label_curves
from dictco_lib.evaluation.bdrate import Curve


def rd_panels(
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]],
    max_bpp: float | None = None,
) -> Figure:
    """Rate-distortion curves by several metrics of quality, side by side.

    Args:
        panels: label of the quality axis -> curves as :func:`rd_curves` takes them, the same
            codecs in each.
        max_bpp: where the rate axes end.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(4.8 * len(panels), 3.8))
    for axis, (label, curves) in zip(axes, panels.items(), strict=True):
        rd_curves(curves, axis, max_bpp=max_bpp, quality=label)
    return figure


def bd_area(anchor: Curve, test: Curve, low: float, high: float) -> Figure:
    """What BD-rate measures: the area between two curves of log-rate over quality.

    Args:
        anchor: what is compared with.
        test: what is judged.
        low: where the area starts, in dB.
        high: where it ends.
    """
    figure, axis = plt.subplots(figsize=(7, 4.5))
    grid = np.linspace(low, high, 200)
    rates = {curve.name: curve.rates_at(grid) for curve in (anchor, test)}
    axis.fill_between(grid, *rates.values(), color=SKY, alpha=0.3, lw=0)
    for curve in (anchor, test):
        style = CODEC_STYLES.get(curve.name, {"color": BLACK, "marker": "o"})
        axis.plot(grid, rates[curve.name], color=style["color"], lw=1.5)
        near = [
            (q, r) for q, r in zip(curve.psnr, curve.bpp, strict=True) if low - 2 < q < high + 2
        ]
        axis.plot(*zip(*near, strict=True), ls="", ms=8, label=curve.name, **style)
    axis.set_xlim(low - 0.5, high + 0.5)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="y", which="minor", labelsize=8)
    axis.set_xlabel(f"{anchor.metric} (dB)")
    axis.set_ylabel("rate (bits per pixel, log)")
    axis.grid(alpha=0.3)
    label_curves(axis)
    return figure


def signed_bars(
    values: dict[str, float],
    label: str,
    means: Collection[str] = (),
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """A bar per name, to the left where the value is below 0.

    Args:
        values: name -> value.
        label: what the values are, with their unit.
        means: names whose bars are black.
        intervals: name -> low and high, drawn below the bar.
    """
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(values) + 0.9))
    colors = [
        BLACK if name in means else BLUE if value < 0 else VERMILION
        for name, value in values.items()
    ]
    bars = axis.barh(list(values), list(values.values()), color=colors)
    axis.bar_label(bars, [f" {value:+.1f} " for value in values.values()], fontsize=9)
    for name, (low, high) in (intervals or {}).items():
        row = list(values).index(name) + 0.62  # between the bars, where it hides no number
        axis.plot((low, high), (row, row), "|-", color=PURPLE, lw=2, ms=9)
    axis.axvline(0, color=BLACK, lw=1)
    axis.margins(x=0.15)
    axis.invert_yaxis()
    axis.set_xlabel(label)
    return figure


def rate_and_cost(
    seconds: Mapping[str, tuple[float, float, float]],
    work: Mapping[str, tuple[float, float]],
    quality: str,
) -> Figure:
    """What bits cost: rate against seconds, measured, and against multiplications, published.

    Args:
        seconds: name of a codec -> seconds to encode and to decode, and bits per pixel.
        work: name of a codec -> thousand multiply-accumulates per pixel, of encoder and decoder
            together, and BD-rate in percent.
        quality: at which the bits per pixel are, such as "32 dB".
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    for name, (encode, decode, bpp) in seconds.items():
        style = CODEC_STYLES.get(name, {"color": BLACK})
        left.plot((decode, encode), (bpp, bpp), "-", lw=1, color=style["color"], label=name)
        for x, fill in ((encode, style["color"]), (decode, "white")):
            left.plot(x, bpp, "o", color=style["color"], mfc=fill, ms=8)
    left.set_xscale("log")
    left.set(xlabel="seconds (filled: encode, open: decode)", ylabel=f"bits per pixel at {quality}")
    for name, point in work.items():
        color = CODEC_STYLES.get(name, {"color": BLACK})["color"]
        right.plot(*zip(point, strict=True), "o", color=color, ms=8, label=name)
    right.set(xlabel="thousand multiply-accumulates per pixel", xlim=(0, None))
    right.set_ylabel("BD-rate against VTM (%)")
    for axis in (left, right):
        axis.margins(y=0.15)
        axis.grid(alpha=0.3)
        label_curves(axis)
    return figure
