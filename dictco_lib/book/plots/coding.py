"""Figures about entropy coders: intervals in intervals, coloured numbers, what a coder wastes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from dictco_lib.book.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

#: Letters of an alphabet, in its order.
LETTER_COLORS = (SKY, ORANGE, GREEN, PURPLE, VERMILION, BLUE)


def nested_intervals(counts: dict[str, int], word: str, width: float = 9) -> Figure:
    """Each letter of a word picks a part of the interval, which then fills the next column.

    Args:
        counts: of each letter, in the order in which they share the interval.
        word: made of those letters.
        width: of the figure in inches.
    """
    total = sum(counts.values())
    starts = dict(zip(counts, itertools.accumulate(counts.values(), initial=0), strict=False))
    figure, axis = plt.subplots(figsize=(width, 3.6))
    low, size = Fraction(0), Fraction(1)
    for i in range(len(word) + 1):
        letter = word[i : i + 1]  # none behind the last one
        _bar(axis, 2 * i, counts, letter)
        for y, va, value in ((-0.03, "top", low), (1.03, "bottom", low + size)):
            axis.text(2 * i + 0.5, y, f"{float(value):.5f}", ha="center", va=va, fontsize=9)
        if letter:
            low += size * Fraction(starts[letter], total)
            size *= Fraction(counts[letter], total)
    axis.set(xlim=(-0.6, 2 * len(word) + 1.6), ylim=(-0.14, 1.14))
    axis.axis("off")
    figure.set_label(
        f"{len(word) + 1} bars side by side. The first is the interval from 0 to 1, divided among "
        f"{', '.join(counts)}; the part of each letter of {word or 'the empty word'} is drawn "
        f"enlarged as the next bar. The last one reaches from {float(low):.6g} to "
        f"{float(low + size):.6g}."
    )
    return figure


def _bar(axis: Axes, left: float, counts: dict[str, int], chosen: str) -> None:
    """A bar from 0 to 1 that the letters share; a wedge leads from the chosen one to the next."""
    total, bottom = sum(counts.values()), 0.0
    for (letter, count), color in zip(counts.items(), itertools.cycle(LETTER_COLORS), strict=False):
        top = bottom + count / total
        alpha, weight = (1, "bold") if letter == chosen else (0.3, "normal")
        box = Rectangle((left, bottom), 1, top - bottom, fc=color, ec="white", alpha=alpha)
        axis.add_patch(box)
        middle = (bottom + top) / 2
        axis.text(left + 0.5, middle, letter, ha="center", va="center", weight=weight)
        if letter == chosen:
            corners = [(left + 1, bottom), (left + 2, 0), (left + 2, 1), (left + 1, top)]
            axis.add_patch(Polygon(corners, fc=color, alpha=0.2))
        bottom = top


def coloured_numbers(counts: dict[str, int], path: Sequence[int], rows: int) -> Figure:
    """Whole numbers in rows of ``sum(counts)``, each in its letter's colour, and a way over them.

    Args:
        counts: of each letter, in order; their parts of each row.
        path: the numbers that are gone to, the first one first.
        rows: that are drawn; numbers beyond are left out.
    """
    total = sum(counts.values())
    colors = dict(zip(counts, itertools.cycle(LETTER_COLORS), strict=False))
    letters = [letter for letter, count in counts.items() for _ in range(count)]
    figure, axis = plt.subplots(figsize=(8, 0.3 * rows + 0.3))
    for x in range(rows * total):
        row, column = divmod(x, total)
        on_path = x in path
        color = colors[letters[column]]
        box = Rectangle((column, row), 1, 1, fc=color, ec="white", alpha=1 if on_path else 0.35)
        axis.add_patch(box)
        weight = "bold" if on_path else "normal"
        text = f"{letters[column]} {x}"
        axis.text(
            column + 0.5, row + 0.5, text, ha="center", va="center", weight=weight, fontsize=9
        )
    shown = [divmod(x, total) for x in path if x < rows * total]
    for (row, column), (next_row, next_column) in zip(shown[:-1], shown[1:], strict=True):
        axis.annotate(
            "", (next_column + 0.5, next_row + 0.12), (column + 0.5, row + 0.88),
            arrowprops={"arrowstyle": "-|>", "color": BLACK, "lw": 1.5},
        )  # fmt: skip
    axis.set(xlim=(0, total), ylim=(rows, 0))
    axis.axis("off")
    figure.set_label(
        f"The whole numbers from 0 to {rows * total - 1} in rows of {total}, coloured with "
        f"{', '.join(f'{s} ({n} of {total})' for s, n in counts.items())}. Arrows lead from "
        f"{' to '.join(str(x) for x in path if x < rows * total)}."
    )
    return figure


def excess_curves(
    lengths: Sequence[int], series: dict[str, Sequence[float]], expected: float
) -> Figure:
    """Bits that coders write beyond the ideal, over the length of the message.

    Args:
        lengths: in symbols.
        series: coder -> bits in excess at each length, perhaps at the first few only.
        expected: bits in excess per symbol that theory expects of the first coder, besides its end.
    """
    figure, axis = plt.subplots(figsize=(8, 3.6))
    for (name, values), color, marker in zip(
        series.items(), (BLUE, ORANGE, GREEN), "oDs", strict=False
    ):
        axis.plot(lengths[: len(values)], values, marker, color=color, ls="-", ms=6)
        end = (lengths[len(values) - 1], values[-1])
        axis.annotate(
            name, end, (-8, 6), textcoords="offset points", color=color, ha="right", fontsize=10
        )
    line = np.geomspace(lengths[0], lengths[-1], 100)
    label = f"{1e6 * expected:.0f} bits per million symbols, without an end"
    axis.plot(line, expected * line, color=BLACK, ls=":", label=label)
    axis.axhspan(0, 64, color=SKY, alpha=0.15, lw=0)
    axis.text(lengths[0], 68, "two words of 32 bits", fontsize=9, va="bottom")
    axis.set(xscale="log", xlabel="length (symbols)", ylabel="bits beyond the ideal")
    axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0, 0.8))
    ends = [f"{name} from {v[0]:.0f} to {v[-1]:.0f} bits" for name, v in series.items()]
    figure.set_label(
        f"Chart of the bits beyond the ideal over the length of a message, {lengths[0]} to "
        f"{lengths[-1]:,} symbols: {'; '.join(ends)}. A dotted line rises by {1e6 * expected:.0f} "
        "bits per million symbols; a band marks the height of 64 bits."
    )
    return figure
