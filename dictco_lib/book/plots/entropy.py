"""Figures about entropy models: what is known at a place, and what each step saves."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dictco_lib.book.plots import BLACK, BLUE, GREEN, ORANGE, SKY


def known_places(masks: Mapping[str, np.ndarray], width: float = 8) -> Figure:
    """What a decoder knows around the place that it is at: a small grid for each title.

    Args:
        masks: title -> (rows, columns), 1 where a place is known.
        width: of the figure in inches.
    """
    figure, axes = plt.subplots(1, len(masks), figsize=(width, width / len(masks)), squeeze=False)
    for axis, (title, mask) in zip(axes[0], masks.items(), strict=True):
        rows, columns = mask.shape
        middle = rows // 2, columns // 2
        for row, column in np.ndindex(rows, columns):
            color = BLUE if mask[row, column] else "white"
            color = ORANGE if (row, column) == middle else color
            axis.add_patch(Rectangle((column, row), 1, 1, fc=color, ec="gray", alpha=0.8))
        axis.text(middle[1] + 0.5, middle[0] + 0.5, "?", ha="center", va="center", weight="bold")
        axis.set(xlim=(-0.1, columns + 0.1), ylim=(rows + 0.1, -0.1), aspect="equal")
        axis.set_title(title)
        axis.axis("off")
    known = [f"{title}: {int(mask.sum())} of {mask.size}" for title, mask in masks.items()]
    figure.set_label(
        "Grids of places around one that is decoded, the middle one; those that are known "
        f"already are filled. {'; '.join(known)}."
    )
    return figure


def step_bars(steps: Mapping[str, tuple[float, float]], own: int, places: int) -> Figure:
    """Bits after each step, those of z on top of those of y.

    Args:
        steps: name -> bits of y and of z.
        own: so many of the last steps use the trained model's own networks.
        places: of y, to turn bits into bits per place on a second axis.
    """
    names = list(steps)
    y, z = (np.array([bits[i] for bits in steps.values()]) for i in (0, 1))
    colors = [SKY] * (len(names) - own) + [BLUE] * own
    figure, axis = plt.subplots(figsize=(9, 0.45 * len(names) + 1.1))
    axis.barh(names, y, color=colors)
    axis.barh(names, z, left=y, color=GREEN)
    for row, total in enumerate(y + z):
        share = total / (y[0] + z[0])
        axis.text(total, row, f"  {total:,.0f} ({share:.0%})", va="center", fontsize=9)
    shown = ((SKY, "y, fitted in seconds"), (BLUE, "y, the model's own networks"), (GREEN, "z"))
    handles = [Rectangle((0, 0), 1, 1, fc=color) for color, _ in shown]
    figure.legend(handles, [name for _, name in shown], frameon=False, ncols=3, fontsize=9,
                  loc="outside upper center")  # fmt: skip
    axis.set(xlabel="bits", xlim=(0, 1.22 * (y + z).max()), ylim=(len(names) - 0.5, -0.5))
    axis.axvline(y[-1] + z[-1], color=BLACK, ls=":", lw=1)
    top = axis.secondary_xaxis("top", functions=(lambda v: v / places, lambda v: v * places))
    top.set_xlabel("bits per place of 16x16 pixels")
    bars = [f"{name} {total:,.0f}" for name, total in zip(names, y + z, strict=True)]
    figure.set_label(f"Bars of bits after each step, z included: {'; '.join(bars)}.")
    return figure


def table_use(scales: np.ndarray, numbers: np.ndarray, bits: np.ndarray) -> Figure:
    """How often each row of the table of scales is used, and what its symbols cost.

    Args:
        scales: of the rows, (rows,).
        numbers: how many symbols use each row, (rows,).
        bits: what these cost together, (rows,).
    """
    figure, axis = plt.subplots(figsize=(8, 2.8))
    rows = np.arange(len(scales))
    for values, side, color, name in ((numbers, -0.2, SKY, "symbols"), (bits, 0.2, BLUE, "bits")):
        axis.bar(rows + side, 100 * values / values.sum(), 0.4, color=color, label=name)
    shown = rows[:: max(1, len(rows) // 8)]
    digits = [max(0, int(1 - np.floor(np.log10(scale)))) for scale in scales]  # two that count
    axis.set_xticks(shown, [f"{row}\n({scales[row]:.{digits[row]}f})" for row in shown])
    axis.set(xlabel="row of the table (its scale in steps)", ylabel="share of all (%)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    spent = bits / bits.sum()
    shares = numbers[0] / numbers.sum(), spent[0], spent[: len(rows) // 2].sum()
    figure.set_label(
        "Bars for {} rows of the table: row 0 has {:.0%} of the symbols and {:.0%} of the bits; "
        "the lower half of the rows has {:.0%} of the bits.".format(len(rows), *shares)
    )
    return figure
