"""Figures about parts switched off: what each costs, where on an image, and its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dictco_lib.book.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

_SERIES = ((VERMILION, "o"), (BLUE, "D"), (GREEN, "s"), (PURPLE, "^"))


def cost_dots(costs: dict[str, dict[str, Sequence[float]]], label: str) -> Figure:
    """A row per part; small dots are images, the large one with its number is their mean.

    The axis is linear up to 1 % and logarithmic beyond.

    Args:
        costs: part -> way of removing it -> percent of each image.
        label: of the axis.
    """
    ways = list(dict.fromkeys(way for row in costs.values() for way in row))
    figure, axis = plt.subplots(figsize=(9, 0.62 * len(costs) + 1.2))
    for i, way in enumerate(ways):
        color, marker = _SERIES[i % len(_SERIES)]
        rows = [row for row, found in enumerate(costs.values()) if way in found]
        values = [np.asarray(found[way]) for found in costs.values() if way in found]
        heights = [row + 0.26 * (i - (len(ways) - 1) / 2) for row in rows]
        means = [value.mean() for value in values]
        axis.plot(means, heights, marker, color=color, ms=8, label=way)
        for value, mean, y in zip(values, means, heights, strict=True):
            axis.plot(value, [y] * len(value), "|", color=color, ms=9)
            axis.annotate(
                f"{mean:+.1f}", (value.max(), y), (7, 0), textcoords="offset points",
                va="center", fontsize=9,
            )  # fmt: skip
    axis.axvline(0, color=BLACK, lw=1)
    axis.set_xscale("symlog", linthresh=1)
    ticks = [t for t in (-10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000) if _inside(axis, t)]
    axis.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
    axis.minorticks_off()
    axis.margins(x=0.12)
    axis.set_yticks(range(len(costs)), list(costs))
    axis.set_ylim(len(costs) - 0.5, -0.5)
    axis.set_xlabel(label)
    axis.grid(axis="x", alpha=0.3)
    if len(ways) > 1:
        figure.legend(frameon=False, ncols=len(ways), loc="outside upper center", fontsize=10)
    return figure


def _inside(axis, tick: float) -> bool:
    low, high = axis.get_xlim()
    return low <= tick <= 1.2 * high


def extra_bits(
    image: np.ndarray,
    maps: dict[str, np.ndarray],
    limit: float | None = None,
    width: float = 10,
) -> Figure:
    """An image, and over it in grey how many bits more each place costs; one colour range.

    Args:
        image: (H, W, 3) uint8.
        maps: title -> difference of bits, (h, w).
        limit: ends of the colour range, in bits; where most places lie if left out.
        width: of the figure in inches.
    """
    columns = 1 + len(maps)
    size = (width, (width - 0.8) / columns * image.shape[0] / image.shape[1] + 0.5)
    figure, axes = plt.subplots(1, columns, figsize=size)
    if limit is None:
        limit = float(np.percentile(np.abs(list(maps.values())), 98))
    extent = (0, image.shape[1], image.shape[0], 0)
    axes[0].imshow(image, extent=extent)
    for axis, (title, values) in zip(axes[1:], maps.items(), strict=True):
        axis.imshow(image.mean(2), cmap="gray", extent=extent)
        drawn = axis.imshow(
            values, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=0.75, extent=extent
        )
        axis.set_title(title)
    for axis in axes:
        axis.axis("off")
    figure.colorbar(drawn, ax=axes, label="extra bits per 16x16 pixels", shrink=0.85)
    return figure


def marked_bars(values: dict[str, float], label: str, marked: str) -> Figure:
    """A bar per part with its share of the sum; one of them stands out."""
    total = sum(values.values())
    shares = [100 * value / total for value in values.values()]
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(values) + 0.9))
    colors = [ORANGE if name == marked else SKY for name in values]
    bars = axis.barh(list(values), shares, color=colors)
    axis.bar_label(bars, [f" {share:.1f} %" for share in shares], fontsize=9)
    axis.set_xlim(0, 1.15 * max(shares))
    axis.invert_yaxis()
    axis.set_xlabel(label)
    return figure
