"""Figures from plain results: pictures, bars, curves. Calls no model."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

#: Okabe-Ito: told apart by colour-blind readers. One colour and marker per codec, everywhere.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
CODEC_STYLES = {
    "DictCO classroom": {"color": VERMILION, "marker": "o"},
    "JPEG 4:2:0": {"color": BLUE, "marker": "s"},
    "WebP": {"color": GREEN, "marker": "^"},
    "AVIF": {"color": PURPLE, "marker": "D"},
}


def use_style() -> None:
    """The look of all figures of the book."""
    sns.set_theme(style="ticks", context="notebook")
    plt.rcParams.update(
        {
            "figure.dpi": 72,
            "savefig.dpi": 150,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 9,
            "axes.labelsize": 11,
            "image.interpolation": "nearest",
            "figure.constrained_layout.use": True,
        }
    )


def pictures(images: Sequence[np.ndarray], captions: Sequence[str], width: float = 9) -> Figure:
    """Pictures (H, W, 3) side by side, each with a caption."""
    height = width / len(images) * images[0].shape[0] / images[0].shape[1] + 0.5
    figure, axes = plt.subplots(1, len(images), figsize=(width, height), squeeze=False)
    for axis, image, caption in zip(axes[0], images, captions, strict=True):
        axis.imshow(image)
        axis.set_title(caption)
        axis.axis("off")
    return figure


def zoom(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    box: tuple[int, int, int],
    width: float = 9,
) -> Figure:
    """The first picture whole with a marked square, then the square of every picture, enlarged.

    Args:
        images: pictures of one size, (H, W, 3).
        captions: one for each.
        box: top, left and side of the square in pixels.
        width: of the figure in inches.
    """
    top, left, side = box
    ratio = images[0].shape[1] / images[0].shape[0]
    height = width / (ratio + len(images)) + 0.5
    figure, axes = plt.subplots(
        1, len(images) + 1, figsize=(width, height), width_ratios=[ratio] + [1] * len(images)
    )
    axes[0].imshow(images[0])
    axes[0].add_patch(Rectangle((left, top), side, side, fill=False, ec=YELLOW, lw=2))
    axes[0].set_title("where")
    for axis, image, caption in zip(axes[1:], images, captions, strict=True):
        axis.imshow(image[top : top + side, left : left + side])
        axis.set_title(caption)
    for axis in axes:
        axis.axis("off")
    return figure


def bit_bars(bits: dict[str, int], pixels: int) -> Figure:
    """Where the bits of a file are: a bar per part, labelled with bytes and share."""
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(bits) + 1))
    names, values = list(bits), np.array(list(bits.values())) / pixels
    colors = [BLUE if name.startswith("slice") else ORANGE for name in names]
    bars = axis.barh(names, values, color=colors)
    total = sum(bits.values())
    labels = [f" {b // 8} bytes, {b / total:.1%}" for b in bits.values()]
    axis.bar_label(bars, labels, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.3 * values.max())
    axis.set_xlabel("bits per pixel of the picture")
    return figure


def rd_curves(
    curves: dict[str, tuple[Sequence[float], Sequence[float]]], axis: Axes | None = None
) -> Figure:
    """Rate-distortion curves, name -> (bpp, PSNR in dB), on the axes that the field uses."""
    if axis is None:
        _, axis = plt.subplots(figsize=(7, 4.5))
    for name, (bpp, psnr) in curves.items():
        axis.plot(bpp, psnr, label=name, **CODEC_STYLES.get(name, {"marker": "x"}))
    axis.set_xlabel("rate (bits per pixel)")
    axis.set_ylabel("PSNR, RGB (dB)")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    return axis.figure


def training_log(rows: Sequence[dict], window: int = 10) -> Figure:
    """Loss, rate and quality of a training run over its steps, from the lines of its log."""
    train = [row for row in rows if row["kind"] == "train"]
    validation = [row for row in rows if row["kind"] == "validation"]
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    panels = [("loss", "loss"), ("bpp", "rate (bits per pixel)"), ("psnr", "PSNR, RGB (dB)")]
    steps = [row["step"] for row in train]
    smooth = min(window, max(1, len(train) // 5))
    kernel = np.ones(smooth) / smooth
    for axis, (key, label) in zip(axes, panels, strict=True):
        values = np.array([row[key] for row in train])
        axis.plot(steps, values, color=SKY, lw=0.7, label="training, all rates")
        middle = np.convolve(values, kernel, "valid")
        axis.plot(steps[smooth - 1 :], middle, color=BLUE, label="its moving mean")
        for tag, color in (("@0", ORANGE), ("@50", GREEN), ("@100", VERMILION)):
            points = [(r["step"], r[key + tag]) for r in validation if key + tag in r]
            if points:
                name = f"validation, quality {tag[1:]}"
                axis.plot(*zip(*points, strict=True), "o-", color=color, ms=3.5, label=name)
        axis.set_xlabel("step")
        axis.set_ylabel(label)
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure
