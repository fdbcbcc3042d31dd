"""Figures about a model: its plan, where its numbers are, what its parts look at."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from dictco_lib.book.plots import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    SLICE_COLORS,
    VERMILION,
    YELLOW,
)

PART_COLORS = {"g_a": BLUE, "h_a": SKY, "h_s": GREEN, "slices": ORANGE, "g_s": PURPLE}


def _canvas(width: float, height: float) -> Axes:
    """Empty axes whose units are tenths of an inch."""
    _, axis = plt.subplots(figsize=(width, height))
    axis.set(xlim=(0, 10 * width), ylim=(10 * height, 0))
    axis.axis("off")
    return axis


def _box(axis: Axes, x: float, y: float, text: str, color: str, width: float = 9) -> None:
    """A rounded box around (x, y)."""
    shape = FancyBboxPatch(
        (x - width / 2, y - 2.4), width, 4.8, boxstyle="round,pad=0,rounding_size=1",
        fc=color, ec=BLACK, lw=0.8, alpha=0.35,
    )  # fmt: skip
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", fontsize=9, linespacing=1.25)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    look = {"arrowstyle": "-|>", "color": BLACK, "lw": 1.1, "shrinkA": 0, "shrinkB": 0} | style
    axis.annotate("", end, start, arrowprops=look)


def floor_plan(shapes: dict[str, str]) -> Figure:
    """The way of an image through the codec.

    Args:
        shapes: text below ``x``, ``y``, ``z``, ``side``, ``y_hat`` and ``x_hat``.
    """
    axis = _canvas(11, 3.2)
    top, low = 6, 23
    places = {"x": (7, top), "y": (33, top), "z": (33, low), "side": (63, low)}
    places |= {"y_hat": (77, top), "x_hat": (103, top)}
    for name, (x, y) in places.items():
        axis.text(x, y - 0.9, name, ha="center", va="center", fontsize=11, weight="bold")
        axis.text(x, y + 1.7, shapes[name], ha="center", va="center", fontsize=8)
    _box(axis, 20, top, "g_a", PART_COLORS["g_a"])
    _box(axis, 33, 15, "h_a", PART_COLORS["h_a"])
    _box(axis, 48, low, "round,\nh_s", PART_COLORS["h_s"])
    _box(axis, 56, top, "slices: predict,\nround, LRP", PART_COLORS["slices"], 17)
    _box(axis, 90, top, "g_s", PART_COLORS["g_s"])
    for start, end in (
        ((11.5, top), (15, top)), ((25, top), (28.2, top)), ((38, top), (47, top)),
        ((65, top), (72, top)), ((82, top), (85, top)), ((95, top), (98.5, top)),
        ((33, 9.7), (33, 12.4)), ((33, 17.6), (33, 20.4)), ((37.5, low), (43, low)),
        ((53, low), (57.5, low)), ((63, 20.4), (63, 8.8)),
    ):  # fmt: skip
        _arrow(axis, start, end)
    for x, text in ((56, "bits of y"), (48, "bits of z")):
        y = top if x == 56 else low
        _arrow(axis, (x - 2, y + 2.6), (x - 2, y + 5.6), color=VERMILION)
        axis.text(x - 1, y + 5, text, color=VERMILION, fontsize=9, va="center")
    axis.figure.set_label(
        "Diagram: x goes through g_a to y, y through the slices to y_hat, y_hat through g_s to "
        "x_hat; y goes through h_a to z, z through rounding and h_s to side, side to the slices."
    )
    return axis.figure


def share_bars(panels: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """Shares of the parts, a stacked bar per model, with its total in front.

    Args:
        panels: title -> name of a model, with its total -> part -> value.
    """
    models = max(len(panel) for panel in panels.values())
    size = (11, 0.5 * models + 1.3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
    for axis, (title, bars) in zip(axes[0], panels.items(), strict=True):
        left = np.zeros(len(bars))
        for part, color in PART_COLORS.items():
            values = np.array([bar[part] / sum(bar.values()) for bar in bars.values()])
            drawn = axis.barh(list(bars), values, left=left, color=color, alpha=0.8, label=part)
            labels = [f"{v:.0%}" if v > 0.06 else "" for v in values]
            axis.bar_label(drawn, labels, label_type="center", fontsize=9)
            left += values
        axis.invert_yaxis()
        axis.set(title=title, xlabel="share of the whole", xlim=(0, 1))
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def influence_maps(
    photo: np.ndarray,
    maps: dict[str, np.ndarray],
    boxes: Sequence[tuple[int, int, int]],
    width: float = 8.5,
) -> Figure:
    """How strongly pixels and one place have to do with each other, on one logarithmic scale.

    Args:
        photo: (H, W, 3) uint8.
        maps: title -> strength of each pixel, (H, W); each is shown relative to its largest.
        boxes: top, left and side of each map's place in pixels.
        width: of the figure in inches.
    """
    ratio = photo.shape[0] / photo.shape[1]
    size = (width, width / len(maps) * ratio + 0.3)
    figure, axes = plt.subplots(1, len(maps), figsize=size, squeeze=False)
    for axis, (title, values), (top, left, side) in zip(axes[0], maps.items(), boxes, strict=True):
        axis.imshow(photo.mean(2), cmap="gray")
        shown = np.ma.masked_less_equal(values / values.max(), 0)
        norm = LogNorm(1e-5, 1, clip=True)
        drawn = axis.imshow(shown, cmap="cividis", norm=norm, alpha=0.8)
        axis.add_patch(Rectangle((left, top), side, side, fill=False, ec=VERMILION, lw=1.5))
        axis.set_title(title)
        axis.axis("off")
    figure.colorbar(drawn, ax=axes[0], label="strength, largest = 1", shrink=0.85)
    return figure


def signal_maps(
    photo: np.ndarray, maps: dict[str, np.ndarray], label: str = "steps of the quantiser"
) -> Figure:
    """The photo and some maps beside it, each with its own scale; signed ones centred on 0.

    Args:
        photo: (H, W, 3) uint8.
        maps: title -> values, (h, w).
        label: their unit.
    """
    columns = 4
    rows = -(-(len(maps) + 1) // columns)
    ratio = photo.shape[0] / photo.shape[1]
    figure, axes = plt.subplots(rows, columns, figsize=(9.5, rows * (2 * ratio + 0.5)))
    for axis in axes.flat:
        axis.axis("off")
    axes.flat[0].imshow(photo)
    axes.flat[0].set_title("the photo")
    for axis, (title, values) in zip(axes.flat[1:], maps.items(), strict=False):
        if values.min() < 0:
            top = np.abs(values).max()
            drawn = axis.imshow(values, cmap="PuOr_r", vmin=-top, vmax=top)
        else:
            drawn = axis.imshow(values, cmap="cividis")
        axis.set_title(title)
        figure.colorbar(drawn, ax=axis, shrink=0.8).set_label(label, fontsize=7)
    return figure


def window_grid(photo: np.ndarray, window: int, box: tuple[int, int, int]) -> Figure:
    """Windows over a photo, and the windows of the next block, shifted by half.

    Args:
        photo: (H, W, 3) uint8.
        window: side in pixels.
        box: top, left and side of a place to mark, in pixels.
    """
    height, width = photo.shape[:2]
    figure, axis = plt.subplots(figsize=(4.8, 4.8 * height / width + 0.5))
    axis.imshow(photo.mean(2), cmap="gray")
    looks = {"windows of a plain block": {"color": YELLOW, "lw": 2}}
    looks["of a shifted block"] = {"color": SKY, "lw": 2, "ls": "--"}
    for shift, (name, look) in zip((0, window // 2), looks.items(), strict=True):
        axis.vlines(np.arange(shift, width + 1, window) - 0.5, 0, height - 1, label=name, **look)
        axis.hlines(np.arange(shift, height + 1, window) - 0.5, 0, width - 1, **look)
    top, left, side = box
    axis.add_patch(Rectangle((left, top), side, side, fc=VERMILION, ec="white", label="a place"))
    axis.axis("off")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def attention_maps(
    photo: np.ndarray, weights: dict[str, np.ndarray], place: tuple[int, int]
) -> Figure:
    """Where one place looks: attention weights over the photo in grey, enlarged around the place.

    Args:
        photo: (H, W, 3) uint8.
        weights: title -> (h, w), adding up to 1; 0 is left blank.
        place: row and column of the query.
    """
    figure, axes = plt.subplots(1, len(weights), figsize=(3.2 * len(weights) + 1, 3.2))
    top = max(values.max() for values in weights.values())
    height, width = photo.shape[:2]
    for axis, (title, values) in zip(np.atleast_1d(axes), weights.items(), strict=True):
        side = height // values.shape[0]
        extent = (0, width, height, 0)
        axis.imshow(photo.mean(2), cmap="gray", extent=extent)
        shown = np.ma.masked_less_equal(values, 0)
        drawn = axis.imshow(shown, cmap="cividis", vmin=0, vmax=top, alpha=0.7, extent=extent)
        y, x = (i * side for i in place)
        axis.add_patch(Rectangle((x, y), side, side, fill=False, ec=VERMILION, lw=2))
        half = 9 * side  # whatever the window, it reaches 8 places at most
        axis.set(xlim=(x - half, x + half), ylim=(y + half, y - half), title=title)
        axis.axis("off")
    figure.colorbar(drawn, ax=axes, label="attention weight", shrink=0.85)
    return figure


def slice_flow(groups: Sequence[int]) -> Figure:
    """Who sees whom in the slice loop: every slice sees the side information and earlier slices.

    Args:
        groups: channels of each slice.
    """
    step, count = 19, len(groups)
    axis = _canvas((step * count + 14) / 10, 2.9)
    axis.text(4, 3, "side\n(from z)", ha="center", va="center", fontsize=9)
    _arrow(axis, (8, 3), (step * count + 8, 3), color=GREEN, arrowstyle="-")
    for k, size in enumerate(groups):
        x, color = 16 + step * k, SLICE_COLORS[k % len(SLICE_COLORS)]
        _arrow(axis, (x, 3), (x, 8), color=GREEN)
        _box(axis, x, 10.5, f"slice {k}: dictionary,\nmean, scale", color, 15.5)
        _arrow(axis, (x, 13), (x, 17))
        _box(axis, x, 19.5, f"code {size} channels,\nLRP", color, 15.5)
        if k + 1 == count:
            continue
        track, line = 24 + 1.1 * k, {"color": color, "arrowstyle": "-"}
        bends = [16 + step * later - 8.6 - 0.8 * k for later in range(k + 1, count)]
        _arrow(axis, (x, 22), (x, track), **line)
        _arrow(axis, (x, track), (bends[-1], track), **line)
        for bend in bends:
            height = 9.2 + 0.9 * k
            _arrow(axis, (bend, track), (bend, height), **line)
            _arrow(axis, (bend, height), (bend + 0.8 * k + 0.9, height), color=color)
    axis.figure.set_label(
        f"Diagram: {count} slices in a row; each gets the side information, and y_hat of all the "
        "slices left of it."
    )
    return axis.figure


def dependence(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Measured dependence of what is predicted (rows) on what is known (columns); blank is 0.

    Args:
        matrix: (rows, columns), all in one unit.
        rows: names of what is predicted.
        columns: names of what is known.
    """
    figure, axis = plt.subplots(figsize=(1.05 * len(columns) + 2, 0.5 * len(rows) + 1.1))
    shown = np.ma.masked_equal(matrix, 0)
    image = axis.imshow(shown, cmap="cividis", norm=LogNorm(), aspect="auto")
    for (i, j), value in np.ndenumerate(matrix):
        dark = value > 0 and image.norm(value) < 0.6
        axis.text(
            j, i, f"{value:.2g}", ha="center", va="center", fontsize=9,
            color="white" if dark else BLACK,
        )  # fmt: skip
    axis.set_xticks(range(len(columns)), columns, fontsize=9)
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, label="derivative x spread (steps)")
    return figure


def gain_curves(
    lmbdas: Sequence[float], gains: np.ndarray, groups: Sequence[int], rule: Sequence[float]
) -> Figure:
    """Gain of every channel at each lambda, coloured by slice.

    Args:
        lmbdas: of the model.
        gains: (lambdas, M).
        groups: channels of each slice.
        rule: the gain that theory gives at each lambda, one for all channels.
    """
    figure, axis = plt.subplots(figsize=(7, 4))
    ends = np.cumsum(groups)
    for k, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        color = SLICE_COLORS[k % len(SLICE_COLORS)]
        lines = axis.plot(lmbdas, gains[:, start:end], color=color, lw=0.6, alpha=0.5)
        lines[0].set_label(f"slice {k}")
    axis.plot(lmbdas, rule, "--", color=BLACK, lw=2, label="rule for one step")
    axis.set(xscale="log", yscale="log", xlabel="lmbda", ylabel="gain (steps per unit of y)")
    axis.set_xticks(lmbdas, [f"{v:g}" for v in lmbdas], fontsize=9)
    axis.minorticks_off()
    ticks = (2, 3, 5, 7, 10, 15)
    axis.set_yticks(ticks, [str(v) for v in ticks])
    for handle in (legend := axis.legend(frameon=False, fontsize=9)).legend_handles:
        handle.set(lw=2, alpha=1)
    legend.set_title(None)
    return figure
