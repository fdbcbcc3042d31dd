"""Figures about the experts: who wins where, how much, on what, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from dictco_lib.book.inspect.structure import Agreement
from dictco_lib.book.plots import BLACK, BLUE, EXPERT_COLORS, SKY, VERMILION, YELLOW


def expert_colors(experts: int) -> list[str]:
    """Colours of the experts of one slice."""
    return [EXPERT_COLORS[e % len(EXPERT_COLORS)] for e in range(experts)]


def winner_maps(
    photo: np.ndarray, gates: dict[str, np.ndarray], width: float = 9, opacity: float = 0.6
) -> Figure:
    """The expert with the largest gate at each place, in its colour, over the photo in grey.

    Args:
        photo: (H, W, 3) uint8.
        gates: title -> gates of one slice, (K, h, w).
        width: of the figure in inches.
        opacity: of the colours, 0 to 1.
    """
    experts = max(len(g) for g in gates.values())
    colors = expert_colors(experts)
    size = (width, width / len(gates) * photo.shape[0] / photo.shape[1] + 0.75)
    figure, axes = plt.subplots(1, len(gates), figsize=size, squeeze=False)
    extent = (0, photo.shape[1], photo.shape[0], 0)
    for axis, (title, maps) in zip(axes[0], gates.items(), strict=True):
        axis.imshow(photo.mean(2), cmap="gray", extent=extent)
        look = {"cmap": ListedColormap(colors), "vmin": -0.5, "vmax": experts - 0.5}
        axis.imshow(maps.argmax(0), alpha=opacity, extent=extent, **look)
        axis.set_title(title)
        axis.axis("off")
    handles = [Patch(color=color, label=f"expert {e}") for e, color in enumerate(colors)]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=experts, frameon=False, fontsize=9
    )
    return figure


def load_bars(loads: dict[str, np.ndarray]) -> Figure:
    """Share of each expert in each slice, a bar per image.

    Args:
        loads: image -> mean gates, (slices, K).
    """
    slices, experts = next(iter(loads.values())).shape
    figure, axes = plt.subplots(1, slices, figsize=(11, 0.34 * len(loads) + 1.1), sharey=True)
    names, colors = list(loads), expert_colors(experts)
    for k, axis in enumerate(np.atleast_1d(axes)):
        left = np.zeros(len(loads))
        for e in range(experts):
            part = np.array([load[k, e] for load in loads.values()])
            axis.barh(names, part, left=left, color=colors[e], label=f"expert {e}")
            left += part
        for share in np.arange(1, experts) / experts:
            axis.axvline(share, color=BLACK, ls=":", lw=1)
        axis.set(title=f"slice {k}", xlim=(0, 1), xlabel="share of the gates")
    axis.invert_yaxis()
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=experts, frameon=False, fontsize=9
    )
    return figure


def signed_table(
    values: np.ndarray, rows: Sequence[str], columns: Sequence[str], label: str, form: str = "+.2f"
) -> Figure:
    """Signed numbers in cells, coloured on a scale that is centred on 0.

    Args:
        values: (rows, columns).
        rows: their names.
        columns: their names.
        label: what the numbers are, with their unit.
        form: how a number is written.
    """
    size = (0.8 * len(columns) + 2.4, 0.24 * len(rows) + 1.0)
    figure, axis = plt.subplots(figsize=size)
    top = np.abs(values).max()
    image = axis.imshow(values, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        color = "white" if abs(value) > 0.55 * top else BLACK
        axis.text(j, i, format(value, form), ha="center", va="center", fontsize=8, color=color)
    axis.set_xticks(range(len(columns)), columns, fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=9)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, label=label)
    return figure


def against_chance(
    fair: Sequence[dict[str, Agreement]], naive: Sequence[dict[str, Agreement]]
) -> Figure:
    """Bits that each slice's map tells about each property, beside what chance tells.

    Args:
        fair: per slice, property -> agreement, chance being moved maps.
        naive: the same with shuffled maps.
    """
    names = list(fair[0])
    figure, axes = plt.subplots(1, len(fair), figsize=(11, 0.3 * len(names) + 1.3), sharex=True)
    at = np.arange(len(names))
    for k, axis in enumerate(axes):
        draws = np.array([found.by_chance for found in fair[k].values()])
        low, high = draws.min(1), draws.max(1)
        axis.barh(at, high - low, left=low, height=0.5, color=SKY, label="same map, moved")
        plain = [found.by_chance.max() for found in naive[k].values()]
        axis.plot(plain, at, "|", color=BLACK, ms=9, label="places shuffled")
        bits = [found.bits for found in fair[k].values()]
        axis.plot(bits, at, "o", color=VERMILION, ms=6, label="the map")
        axis.set(title=f"slice {k}", xlabel="bits", ylim=(len(names) - 0.5, -0.5))
        axis.set_yticks(at, names if k == 0 else [], fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def effect_bars(panels: dict[str, dict[str, np.ndarray]]) -> Figure:
    """What interventions change: a bar for the mean over images, a dot for each.

    Args:
        panels: label with unit -> name of the intervention -> a value per image.
    """
    names = list(next(iter(panels.values())))
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(min(11, 3.5 + 3 * len(panels)), 0.36 * len(names) + 1),
        sharey=True,
        squeeze=False,
    )
    for axis, (label, effects) in zip(axes[0], panels.items(), strict=True):
        axis.barh(names, [values.mean() for values in effects.values()], color=SKY)
        for i, values in enumerate(effects.values()):
            axis.plot(values, [i] * len(values), "o", color=BLUE, ms=4, alpha=0.8)
        axis.axvline(0, color=BLACK, lw=1)
        axis.set_xlabel(label)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].invert_yaxis()
    return figure


def sharpness_curve(powers: Sequence[float], change: np.ndarray) -> Figure:
    """Change of the rate in percent, (powers, images), over the power of the gates."""
    figure, axis = plt.subplots(figsize=(7, 3))
    at = np.arange(len(powers))
    axis.plot(at, change, color=SKY, lw=1)
    axis.plot(at, change.mean(1), "o-", color=BLUE, lw=2, label="mean of the photos")
    axis.axhline(0, color=BLACK, lw=1)
    axis.set_xticks(at, [{0: "0\nuniform", np.inf: "∞\nwinner"}.get(p, f"{p:g}") for p in powers])
    axis.set(xlabel="power of the gates; 1 is the router's own", ylabel="change of rate (%)")
    axis.legend(frameon=False)
    return figure


def dictionary_look(
    photo: np.ndarray, place: tuple[int, int], weights: np.ndarray, gates: np.ndarray, expert: int
) -> Figure:
    """A place of the photo, the gates there, and its attention within one expert.

    Args:
        photo: (H, W, 3) uint8.
        place: row and column, in steps of 16 pixels.
        weights: (heads, N), adding up to 1 over the entries.
        gates: (K,).
        expert: whose dictionary it is.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.4), width_ratios=(1.5, 0.9, 2.6))
    axes[0].imshow(photo)
    corner = (16 * place[1], 16 * place[0])
    for width, color in ((4, BLACK), (2, YELLOW)):
        axes[0].add_patch(Rectangle(corner, 16, 16, fill=False, ec=color, lw=width))
    axes[0].axis("off")
    axes[0].set_title(f"row {place[0]}, column {place[1]}")
    bars = axes[1].bar(range(len(gates)), gates, color=expert_colors(len(gates)))
    bars[expert].set(ec=BLACK, lw=2)
    axes[1].axhline(1 / len(gates), color=BLACK, ls=":", lw=1)
    axes[1].set(title="gates", xlabel="expert", ylim=(0, 1), xticks=range(len(gates)))
    drawn = axes[2].imshow(weights, cmap="cividis", vmin=0, aspect="auto")
    axes[2].set(title=f"inside expert {expert}", xlabel="entry of its dictionary", ylabel="head")
    axes[2].set_yticks(range(len(weights)))
    figure.colorbar(drawn, ax=axes[2], label="weight")
    return figure
