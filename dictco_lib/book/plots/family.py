"""Figures of the family: what slices see, where the work goes, how far transforms see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from dictco_lib.book.plots import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

_NEVER = "#dddddd"
#: One colour for each part of a codec.
_PARTS = {"g_a": BLUE, "h_a": PURPLE, "h_s": ORANGE, "slices": GREEN, "g_s": SKY}


def slice_maps(slices: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> Figure:
    """Who sees whom: a row for each slice of y, as high as its channels are many.

    Args:
        slices: name of a codec -> channels of its slices in coding order, and how many of the
            first slices each of them sees.
    """
    figure, axes = plt.subplots(1, len(slices), figsize=(9, 2.6), squeeze=False)
    for axis, (name, (groups, sees)) in zip(axes[0], slices.items(), strict=True):
        edges = np.concatenate([[0], np.cumsum(groups)])
        for k, seen in enumerate(sees):
            for j in range(k + 1):
                color = ORANGE if j == k else BLUE if j < seen else _NEVER
                corner = (edges[j], edges[k])
                box = Rectangle(corner, groups[j], groups[k], facecolor=color, edgecolor="white")
                axis.add_patch(box)
        axis.set(xlim=(0, edges[-1]), ylim=(edges[-1], 0), aspect="equal")
        axis.set_title(f"{name}\n{len(groups)} slices,\n{edges[-1]} channels")
        axis.axis("off")
    names = {"is coded": ORANGE, "is seen": BLUE, "could be seen, and is not": _NEVER}
    handles = [Patch(color=color, label=name) for name, color in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def work_bars(work: Mapping[str, Mapping[str, float]]) -> Figure:
    """Multiply-accumulates per pixel of every part, one bar for each codec.

    Args:
        work: name of a codec -> part (``g_a``, ``h_a``, ``h_s``, ``slices``, ``g_s``) -> thousands
            of multiply-accumulates per pixel.
    """
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(work) + 1.3))
    left = np.zeros(len(work))
    for part, color in _PARTS.items():
        values = np.array([parts.get(part, 0.0) for parts in work.values()])
        axis.barh(list(work), values, left=left, color=color, label=part)
        left += values
    for row, total in enumerate(left):
        axis.text(total, row, f" {total:.0f}", va="center")
    axis.set(xlabel="thousand multiply-accumulates per pixel", xlim=(0, 1.1 * left.max()))
    axis.invert_yaxis()
    axis.legend(ncols=len(_PARTS), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure


def fields_of_view(maps: Mapping[str, np.ndarray]) -> Figure:
    """How much one place of y depends on every pixel, in decades below the strongest.

    Args:
        maps: name of a codec -> absolute derivatives, (H, W), all of one size.
    """
    figure, axes = plt.subplots(1, len(maps), figsize=(9.5, 2.2), squeeze=False)
    for axis, (name, values) in zip(axes[0], maps.items(), strict=True):
        depth = np.log10(np.maximum(values / values.max(), 1e-5))
        shown = axis.imshow(depth, cmap="magma", vmin=-5, vmax=0, interpolation="nearest")
        axis.set_title(name)
        axis.axis("off")
    figure.colorbar(shown, ax=list(axes[0]), label="decades", ticks=(-4, -2, 0), shrink=0.8)
    return figure


def rate_against_work(points: Mapping[str, tuple[float, float]]) -> Figure:
    """Published BD-rate over multiply-accumulates, every codec named at its point.

    Args:
        points: name of a codec -> thousand multiply-accumulates per pixel (encoder and decoder),
            and BD-rate against VTM in percent.
    """
    figure, axis = plt.subplots(figsize=(7, 3.8))
    furthest, drawn = max(work for work, _ in points.values()), []
    for name, (work, rate) in points.items():
        axis.plot(work, rate, "o", color=VERMILION, ms=8)
        # Two that lie side by side have their names above and below.
        is_close = any(abs(work - w) < furthest / 8 and abs(rate - r) < 1.5 for w, r in drawn)
        drawn.append((work, rate))
        offset, side = ((-7, -14), "right") if is_close else ((7, 4), "left")
        axis.annotate(name, (work, rate), offset, textcoords="offset points", ha=side)
    axis.axhline(0, color="black", lw=0.8)
    axis.annotate("VTM", (0, 0), (4, 4), xycoords=("axes fraction", "data"),
                  textcoords="offset points")  # fmt: skip
    axis.set(xlabel="thousand multiply-accumulates per pixel", ylabel="BD-rate against VTM (%)")
    axis.set_xlim(0, 1.2 * furthest)
    axis.margins(y=0.15)
    return figure
