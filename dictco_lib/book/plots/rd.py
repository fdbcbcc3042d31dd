"""Figures of rate-distortion evaluation: several metrics, the area of a BD-rate, its spread."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dictco_lib.book.plots import BLACK, BLUE, CODEC_STYLES, SKY, VERMILION, rd_curves
from dictco_lib.evaluation.bdrate import Curve


def rd_panels(
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]],
    max_bpp: float | None = None,
) -> Figure:
    """Rate-distortion curves by several metrics of quality, side by side, with one legend.

    Args:
        panels: label of the quality axis -> curves as :func:`rd_curves` takes them, the same
            codecs in each.
        max_bpp: where the rate axes end.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4.4))
    for axis, (label, curves) in zip(axes, panels.items(), strict=True):
        rd_curves(curves, axis, max_bpp=max_bpp, quality=label)
        axis.get_legend().remove()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
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
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="y", which="minor", labelsize=8)
    axis.set_xlabel(f"{anchor.metric} (dB)")
    axis.set_ylabel("rate (bits per pixel, log)")
    axis.legend(frameon=False, loc="upper left")
    axis.grid(alpha=0.3)
    return figure


def signed_bars(values: dict[str, float], label: str, means: Collection[str] = ()) -> Figure:
    """A bar per name, to the left where the value is below 0; those of ``means`` are black."""
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(values) + 0.9))
    colors = [
        BLACK if name in means else BLUE if value < 0 else VERMILION
        for name, value in values.items()
    ]
    bars = axis.barh(list(values), list(values.values()), color=colors)
    axis.bar_label(bars, [f" {value:+.1f} " for value in values.values()], fontsize=9)
    axis.axvline(0, color=BLACK, lw=1)
    axis.margins(x=0.15)
    axis.invert_yaxis()
    axis.set_xlabel(label)
    return figure
