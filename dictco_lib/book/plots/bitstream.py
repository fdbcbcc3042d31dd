"""Figures about files: where bits fall on an image, one symbol's distribution, edges of bins."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dictco_lib.book.plots import BLACK, GREEN, PURPLE, SKY, SLICE_COLORS, VERMILION, place_maps


def bit_maps(photo: np.ndarray, maps: dict[str, np.ndarray], width: float = 9) -> Figure:
    """Bits of each place (h, w), laid over the photo in grey; all maps share one colour range."""
    return place_maps(photo, maps, "bits per 16x16 pixels", width)


def channel_bits(bits: np.ndarray, groups: Sequence[int]) -> Figure:
    """Bits of each channel of y (M,), the slices told apart by colour and name."""
    figure, axis = plt.subplots(figsize=(9, 3))
    slice_bars(axis, bits, groups, 1.04 * bits.max())
    axis.set(ylabel="bits", ylim=(0, 1.14 * bits.max()))
    return figure


def slice_bars(axis: Axes, values: np.ndarray, groups: Sequence[int], height: float) -> None:
    """A bar for each channel of y (M,); colours, and names at a height, tell the slices apart."""
    start = 0
    for k, size in enumerate(groups):
        part = np.arange(start, start + size)
        axis.bar(part, values[part], width=1, color=SLICE_COLORS[k % len(SLICE_COLORS)])
        up = 10 * (k % 2)  # points: the names of narrow neighbours stand on two lines
        at = (part.mean(), height)
        axis.annotate(f"slice {k}", at, (0, up), textcoords="offset points", ha="center", size=9)
        start += size
    axis.set_xlabel("channel of y, in coding order")
    axis.margins(x=0.01)


def symbol_distribution(frequencies: np.ndarray, symbol: int, y: float, mean: float) -> Figure:
    """A row of the tables around a symbol, laid where the decoder will put it.

    Args:
        frequencies: of ``-L..L`` and the escape; they add up to a power of two.
        symbol: the one that is coded.
        y: the value before rounding.
        mean: what the symbols are counted from.
    """
    half = (len(frequencies) - 2) // 2
    reach = min(half, abs(symbol) + 5)
    values = np.arange(-reach, reach + 1)
    heights = frequencies[half - reach : half + reach + 1] / frequencies.sum()
    colors = [VERMILION if v == symbol else SKY for v in values]
    figure, axis = plt.subplots(figsize=(8, 3))
    bars = axis.bar(values + mean, heights, width=0.9, color=colors)
    axis.bar_label(bars, [f"{v:+d}" if v else "0" for v in values], fontsize=9)
    axis.axvline(mean, color=BLACK, ls=":", lw=1, label="mean, which the decoder knows")
    axis.axvline(y, color=BLACK, lw=1.5, label="y, which it does not")
    axis.set(xlabel="value of y (gain applied); symbols above the bars", ylabel="probability")
    axis.legend(frameon=False, fontsize=9)
    return figure


def edge_histogram(distances: np.ndarray, marks: dict[str, float]) -> Figure:
    """Distances of log-scales from the nearest edge, and errors of computing to hold them against.

    Args:
        distances: of all symbols, positive.
        marks: name -> size of an error.
    """
    figure, axis = plt.subplots(figsize=(9, 3.4))
    bins = np.logspace(-17, 0, 69)
    axis.hist(distances, bins=bins, color=SKY)
    styles = zip(
        marks.items(), (VERMILION, GREEN, BLACK, PURPLE), ("-", "--", ":", "-."), strict=False
    )
    for (name, value), color, line in styles:
        axis.axvline(value, color=color, ls=line, lw=2, label=f"{name}: {value:.0e}")
    axis.set(xscale="log", yscale="log", xlim=(1e-17, 1))
    axis.set(xlabel="distance of a log-scale from the nearest edge", ylabel="symbols")
    figure.legend(frameon=False, fontsize=9, ncols=len(marks), loc="outside upper center")
    return figure
