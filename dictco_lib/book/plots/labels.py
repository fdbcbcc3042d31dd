"""Names beside curves, where a legend would make the reader look back and forth."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

#: Height of a line of text over the size of its letters, both in points.
_LEADING = 1.35


def label_curves(axis: Axes, size: float = 10) -> None:
    """Name every line that has a label, in its colour, to the right of the axes.

    A name stands as high as its curve ends, or leaves the axes; a thin line leads to it. Names
    that would overlap are moved apart, in the order of the ends.

    Args:
        axis: with its limits as they stay.
        size: of the letters, in points.
    """
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    ends = {line: _end(axis, line) for line in lines}
    lines = [line for line in lines if ends[line] is not None]
    if not lines:
        return
    place = (axis.transData + axis.transAxes.inverted()).transform
    at = {line: place(ends[line]) for line in lines}
    # From below; of those that leave through the top, the one furthest to the left is highest.
    order = sorted(lines, key=lambda line: (round(at[line][1], 3), -at[line][0]))
    inches = axis.figure.get_size_inches()[1] * axis.get_position().height
    heights = _apart(np.array([at[line][1] for line in order]), _LEADING * size / 72 / inches)
    height = dict(zip(order, heights, strict=True))
    for line in lines:
        color = line.get_color()
        axis.annotate(
            line.get_label(), ends[line], (1.04, height[line]), textcoords="axes fraction",
            va="center", fontsize=size, color=color, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.7, "alpha": 0.5,
                        "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 3},
        )  # fmt: skip


def _end(axis: Axes, line: Line2D) -> tuple[float, float] | None:
    """Where a line ends or last leaves the axes; None if it is never inside them."""
    points = np.column_stack([np.asarray(line.get_xdata(), float), line.get_ydata()])
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    inside = [left <= x <= right and low <= y <= high for x, y in points]
    if not any(inside):
        return None
    last = len(inside) - 1 - inside[::-1].index(True)
    if last == len(points) - 1:
        return tuple(points[last])
    start, step = points[last], points[last + 1] - points[last]
    edges = zip(start, step, (left, low), (right, high), strict=True)
    shares = [((b if d > 0 else a) - p) / d for p, d, a, b in edges if d]
    return tuple(start + min(1.0, *shares, 1.0) * step)


def _apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Rising heights as near to the wanted ones as they can be, at least ``gap`` apart."""
    shifted = wanted - gap * np.arange(len(wanted))
    groups: list[list[float]] = []
    for value in shifted:  # those that would overlap share the mean of what they want
        groups.append([value])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    means = itertools.chain.from_iterable([np.mean(group)] * len(group) for group in groups)
    return np.array(list(means)) + gap * np.arange(len(wanted))
