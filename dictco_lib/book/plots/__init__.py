"""Figures from plain results: images, bars, curves. Calls no model."""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogFormatter
from PIL import Image

from dictco_lib.book.plots.alt import add_alt_text, describe
from dictco_lib.book.plots.labels import label_curves

#: Okabe-Ito: told apart by colour-blind readers. One colour and marker per codec, everywhere.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
#: For curves beside many others (Tol's "muted"): no two of one figure may share a colour.
INDIGO, WINE, OLIVE, GREY = "#332288", "#882255", "#999933", "#888888"
#: Slices of y, by number.
SLICE_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
#: Experts of a slice, by number. Those of different slices have nothing in common.
EXPERT_COLORS = (BLUE, ORANGE, GREEN, PURPLE)
CODEC_STYLES = {
    name: {"color": color, "marker": marker}
    for name, color, marker in (
        ("DictCO classroom", VERMILION, "o"),
        ("JPEG 4:2:0", BLUE, "s"),
        ("JPEG 4:4:4", BLUE, "D"),
        ("JPEG 2000", SKY, "v"),
        ("JPEG XL", ORANGE, "P"),
        ("WebP", GREEN, "^"),
        ("AVIF", PURPLE, "D"),
        ("AVIF 4:2:0", PURPLE, "s"),
        ("AVIF, default tune", PURPLE, "P"),
        ("AVIF 4:2:0, default tune", PURPLE, "X"),
        ("HEIC", GREY, "X"),
        # Notebook 01, on one grey image.
        ("JPEG, grey", BLUE, "^"),
        ("grey values", BLACK, "o"),
        ("block DCT", GREEN, "D"),
        ("block PCA", SKY, "s"),
        ("tiny learned", ORANGE, "D"),
        # Published curves, by the names in data/published_kodak.json.
        ("VTM (VVC)", BLACK, "*"),
        ("HM (HEVC)", BLACK, "s"),
        ("BPG 4:4:4 (x265)", BLACK, "D"),
        ("AV1", PURPLE, "*"),
        ("JPEG (CompressAI)", BLUE, "p"),
        ("WebP (CompressAI)", GREEN, "p"),
        ("JPEG 2000 (CompressAI)", SKY, "p"),
        ("DCAE (CVPR 2025)", WINE, "p"),
        ("SAAF", ORANGE, "*"),
        ("CCA (NeurIPS 2024)", GREEN, "*"),
        ("TCM Large (CVPR 2023)", SKY, "*"),
        ("TCM Middle (CVPR 2023)", SKY, "o"),
        ("TCM Small (CVPR 2023)", SKY, "X"),
        ("ELIC (CVPR 2022)", INDIGO, "h"),
        ("STF (CVPR 2022)", GREEN, "o"),
        ("WACNN (CVPR 2022)", GREEN, "X"),
        ("cheng2020-anchor (CompressAI, MSE)", ORANGE, "o"),
        ("cheng2020-anchor (CompressAI, MSE, 8-bit decoded)", ORANGE, "s"),
        ("cheng2020-attn (CompressAI, MSE)", ORANGE, "X"),
        ("mbt2018 (CompressAI, MSE)", BLUE, "o"),
        ("mbt2018-mean (CompressAI, MSE)", BLUE, "X"),
        ("mbt2018-mean (CompressAI, MSE, 8-bit decoded)", BLUE, "v"),
        ("bmshj2018-hyperprior (CompressAI, MSE)", OLIVE, "o"),
        ("bmshj2018-hyperprior (CompressAI, MSE, 8-bit decoded)", OLIVE, "v"),
        ("bmshj2018-factorized (CompressAI, MSE)", PURPLE, "^"),
    )
}
#: For curves that have no style of their own, in the order of the figure.
_OTHER_STYLES = [
    {"color": color, "marker": marker}
    for marker in ("<", ">")
    for color in (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
]


def is_figure(path: str | Path) -> bool:
    """Did matplotlib draw this PNG? Any other image is not ours to replace."""
    with Image.open(path, formats=["PNG"]) as image:
        return image.info.get("Software", "").startswith("Matplotlib")


def use_style() -> None:
    """The look of all figures of the book, and an alt text for each."""
    add_alt_text()
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


def image_row(images: Sequence[np.ndarray], captions: Sequence[str], width: float = 9) -> Figure:
    """Images (H, W, 3), or grey (H, W), side by side, each with a caption."""
    height = width / len(images) * images[0].shape[0] / images[0].shape[1] + 0.5
    figure, axes = plt.subplots(1, len(images), figsize=(width, height), squeeze=False)
    for axis, image, caption in zip(axes[0], images, captions, strict=True):
        _show(axis, image, width / len(images))
        axis.set_title(caption)
        axis.axis("off")
    return figure


def _show(axis: Axes, image: np.ndarray, width: float) -> None:
    """An image on about ``width`` inches: its pixels as they are, or fewer without aliasing."""
    is_smaller = width * plt.rcParams["figure.dpi"] < image.shape[1]
    way = "auto" if is_smaller else "nearest"
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=way)  # grey: 0 to 255


def zoom(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    box: tuple[int, int, int],
    width: float = 9,
) -> Figure:
    """The first image whole with a marked square, then the square of every image, enlarged.

    Args:
        images: images of one size, (H, W, 3) or grey (H, W).
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
    _show(axes[0], images[0], width * ratio / (ratio + len(images)))
    axes[0].add_patch(Rectangle((left, top), side, side, fill=False, ec=YELLOW, lw=2))
    axes[0].set_title("where")
    for axis, image, caption in zip(axes[1:], images, captions, strict=True):
        _show(axis, image[top : top + side, left : left + side], width)
        axis.set_title(caption)
    for axis in axes:
        axis.axis("off")
    return figure


def place_maps(
    photo: np.ndarray,
    maps: dict[str, np.ndarray],
    label: str,
    width: float = 9,
    *,
    limits: tuple[float, float] | None = None,
    opacity: float = 0.7,
) -> Figure:
    """Values of each place (h, w), laid over the photo in grey; all maps share one colour range.

    Args:
        photo: (H, W, 3) uint8.
        maps: title -> values.
        label: what the values are, with their unit.
        width: of the figure in inches.
        limits: ends of the colour range; from 0 to the highest value if left out.
        opacity: of the maps, 0 to 1.
    """
    columns = len(maps)
    size = (width, width / columns * photo.shape[0] / photo.shape[1] + 0.7)
    figure, axes = plt.subplots(1, columns, figsize=size, squeeze=False)
    low, high = limits or (0, max(values.max() for values in maps.values()))
    extent = (0, photo.shape[1], photo.shape[0], 0)
    for axis, (title, values) in zip(axes[0], maps.items(), strict=True):
        axis.imshow(photo.mean(2), cmap="gray", extent=extent)
        drawn = axis.imshow(
            values, cmap="cividis", vmin=low, vmax=high, alpha=opacity, extent=extent
        )
        axis.set_title(title)
        axis.axis("off")
    figure.colorbar(drawn, ax=axes[0], label=label, shrink=0.85)
    return figure


def bit_bars(bits: dict[str, int], pixels: int) -> Figure:
    """Where the bits of a file are: a bar per part, labelled with bytes and share.

    Slices are blue, z is green; what codes no sample (header, sums and the like) is orange.
    """
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(bits) + 1))
    names, values = list(bits), np.array(list(bits.values())) / pixels
    colors = [
        BLUE if name.startswith("slice") else GREEN if name == "z" else ORANGE for name in names
    ]
    bars = axis.barh(names, values, color=colors)
    total = sum(bits.values())
    labels = [f" {b // 8} bytes, {b / total:.1%}" for b in bits.values()]
    axis.bar_label(bars, labels, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.3 * values.max())
    axis.set_xlabel("bits per pixel of the image")
    return figure


def rd_curves(
    curves: dict[str, tuple[Sequence[float], Sequence[float]]],
    axis: Axes | None = None,
    *,
    published: Collection[str] = (),
    max_bpp: float | None = None,
    quality: str = "PSNR, RGB (dB)",
) -> Figure:
    """Rate-distortion curves on the axes that the field uses, each named where it ends.

    Args:
        curves: name -> (bpp, PSNR in dB); the name decides colour and marker.
        axis: where to draw; a new figure by default.
        published: names of curves that others measured; they are thin and dashed.
        max_bpp: where the rate axis ends; the PSNR axis then fits what is left.
        quality: label of the other axis, where it is not PSNR.
    """
    if axis is None:
        _, axis = plt.subplots(figsize=(8.5, 4.5) if len(curves) <= 6 else (9.5, 5.5))
    taken = {CODEC_STYLES[name]["color"] for name in curves if name in CODEC_STYLES}
    free = [style for style in _OTHER_STYLES if style["color"] not in taken]
    unknown = itertools.cycle(free or _OTHER_STYLES)
    for name, (bpp, psnr) in curves.items():
        style = CODEC_STYLES.get(name) or next(unknown)
        line = {"ls": "--", "lw": 1, "ms": 5.5} if name in published else {"lw": 1.8, "ms": 6}
        axis.plot(bpp, psnr, label=name, **style, **line)
    if max_bpp is not None:
        seen = [q for xs, ys in curves.values() for x, q in zip(xs, ys, strict=True) if x < max_bpp]
        gap = min(0.5, 0.1 * (max(seen) - min(seen))) if seen else 0
        axis.set(xlim=(0, max_bpp), ylim=(min(seen) - gap, max(seen) + gap) if gap else None)
    axis.set_xlabel("rate (bits per pixel)")
    axis.set_ylabel(quality)
    axis.grid(alpha=0.3)
    label_curves(axis)
    return axis.figure


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file; the figure is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=plt.rcParams["figure.dpi"])
    plt.close(figure)
    return buffer.getvalue()


_VALIDATION = {"@0": ORANGE, "@50": GREEN, "@100": VERMILION}  # qualities in a log


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
        for tag, color in _VALIDATION.items():
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


def training_gap(rows: Sequence[dict], others: Sequence[dict]) -> Figure:
    """How much larger the validation losses of a run are than those of another one, step by step.

    Args:
        rows: of its log.
        others: of the other one's; steps that only one of them has are left out.
    """
    theirs = {row["step"]: row for row in others if row["kind"] == "validation"}
    ours = [r for r in rows if r["kind"] == "validation" and r["step"] in theirs]
    figure, axis = plt.subplots(figsize=(8, 3.2))
    for tag, color in _VALIDATION.items():
        gaps = [100 * (r["loss" + tag] / theirs[r["step"]]["loss" + tag] - 1) for r in ours]
        steps = [r["step"] for r in ours]
        axis.plot(steps, gaps, "o-", color=color, ms=3.5, label=f"quality {tag[1:]}")
    axis.axhline(0, color=BLACK, lw=1)
    axis.set(xlabel="step", ylabel="larger validation loss (%)")
    axis.legend(frameon=False)
    return figure


def live_training(
    rows: Sequence[dict], original: np.ndarray, first: np.ndarray, now: np.ndarray
) -> Figure:
    """A run so far: its loss, and what it makes of one image, at first and now.

    Args:
        rows: of its log, the first one from before its first step.
        original: (H, W, 3) uint8.
        first: the same image from the untrained model.
        now: the same image from the model as it is.
    """
    figure, axes = plt.subplots(1, 4, figsize=(9.5, 2.5), width_ratios=(1.5, 1, 1, 1))
    train = [row for row in rows if row["kind"] == "train"]
    axes[0].plot([r["step"] for r in train], [r["loss"] for r in train], "o-", color=BLUE, ms=3)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes[0].set_xlabel("step")
    axes[0].set_ylabel("loss")
    titles = ("original", "before the first step", f"after step {rows[-1]['step']}")
    for axis, image, title in zip(axes[1:], (original, first, now), titles, strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    describe(
        "The loss over the steps so far, and one image as it is and as the model makes it.", figure
    )
    return figure


def router_health(rows: Sequence[dict]) -> Figure:
    """Load of the experts of each slice over a run, and how undecided their routers are.

    Args:
        rows: of a training log, with ``load/slice/expert`` and ``gate_entropy/slice``.
    """
    train = [row for row in rows if "gate_entropy/0" in row]
    slices = sum(key.startswith("gate_entropy/") for key in train[0])
    experts = sum(key.startswith("load/0/") for key in train[0])
    steps = [row["step"] for row in train]
    figure, axes = plt.subplots(1, slices + 1, figsize=(13, 3), width_ratios=[1] * slices + [1.6])
    colors = list(itertools.islice(itertools.cycle(EXPERT_COLORS), experts))
    for k, axis in enumerate(axes[:-1]):
        loads = [[row[f"load/{k}/{e}"] for row in train] for e in range(experts)]
        axis.stackplot(steps, loads, colors=colors, alpha=0.85)
        axis.set(title=f"slice {k}", ylim=(0, 1), xlim=(steps[0], steps[-1]), xlabel="step")
        axis.tick_params(labelleft=k == 0)
    axes[0].set_ylabel("share of each expert")
    for k in range(slices):
        entropy = [row[f"gate_entropy/{k}"] for row in train]
        color = SLICE_COLORS[k % len(SLICE_COLORS)]
        axes[-1].plot(steps, entropy, label=f"slice {k}", color=color, lw=1)
    axes[-1].axhline(np.log2(experts), color=BLACK, ls=":", lw=1)
    axes[-1].set(title="how undecided the routers are", xlabel="step", ylabel="entropy (bits)")
    axes[-1].set_ylim(0, 1.1 * np.log2(experts))
    axes[-1].legend(fontsize=8, ncols=2, frameon=False)
    return figure


def patch_rows(rows: dict[str, Sequence[np.ndarray]]) -> Figure:
    """Rows of small images, each row with its name."""
    columns = max(len(row) for row in rows.values())
    size = (0.62 * columns + 2, 0.62 * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, row, strict=False):
            axis.imshow(image)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.set_label(f"Rows of small images: {'; '.join(rows)}".replace("\n", ", "))
    return figure
