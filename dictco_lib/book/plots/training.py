"""Figures about training: learning rates, what stands in for rounding, and what that gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dictco_lib.book.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

_LINES = (VERMILION, BLUE, GREEN, PURPLE)


def schedule(rates: Mapping[str, Sequence[float]], warmup: int) -> Figure:
    """Learning rates over the steps of a run, on a logarithmic axis, named at the curves.

    Args:
        rates: part of the model -> its rate at each step, from step 0.
        warmup: steps until the rates are at their peak.
    """
    figure, axis = plt.subplots(figsize=(8, 3.4))
    for (name, values), color in zip(rates.items(), _LINES, strict=False):
        peak = int(np.argmax(values))
        axis.plot(values, color=color)
        axis.annotate(
            f"{name}: peak {values[peak]:g}", (0.45 * len(values), values[int(0.45 * len(values))]),
            (0, 8), textcoords="offset points", color=color, fontsize=10,
        )  # fmt: skip
    axis.axvspan(0, warmup, color=SKY, alpha=0.15, lw=0)
    axis.text(warmup / 2, 0.03, "warm-up", rotation=90, fontsize=9, ha="center", va="bottom",
              transform=axis.get_xaxis_transform())  # fmt: skip
    axis.set(yscale="log", xlabel="step", ylabel="learning rate", xlim=(0, len(values) - 1))
    ends = [
        f"{n} rises from {v[0]:.2g} to {max(v):g}, ends at {v[-1]:.2g}" for n, v in rates.items()
    ]
    figure.set_label(
        f"Chart of learning rates over {len(values)} steps: a straight rise over {warmup} steps, "
        f"then a cosine down. {'; '.join(ends)}."
    )
    return figure


def stand_ins(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], reach: float = 1.6) -> Figure:
    """What stands in for rounding: its value, beside the slope that the gradient is taken with.

    Args:
        curves: name -> values and slopes at equally spaced places from ``-reach`` to ``reach``.
        reach: ends of the axis.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    colors = (BLACK, BLUE, ORANGE, VERMILION, GREEN)
    for (name, (values, slopes)), color in zip(curves.items(), colors, strict=False):
        v = np.linspace(-reach, reach, len(values))
        style = {"color": color, "lw": 1.4}
        left.plot(v, values, label=name, **style)
        right.plot(v, slopes, **style)
    v = np.linspace(-reach, reach, 2)
    left.fill_between(v, v - 0.5, v + 0.5, color=SKY, alpha=0.3, lw=0, label="noise: anywhere here")
    left.set(xlabel="v, distance from the mean", ylabel="what stands in for it")
    right.set(xlabel="v, distance from the mean", ylabel="slope")
    right.set_ylim(-0.3, None)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5,
                  frameon=False, fontsize=9)  # fmt: skip
    figure.set_label(
        f"Two charts over v from {-reach} to {reach}. Left, values: rounding is a staircase, soft "
        "rounding a smooth one, steeper for a larger alpha; noise lies in a band of width 1 around "
        "the diagonal. Right, slopes: highest of soft rounding half-way between whole numbers."
    )
    return figure


def gaps(found: Mapping[str, Sequence[tuple[float, float]]], qualities: Sequence[float]) -> Figure:
    """By how much training misjudges rate and PSNR: a bar for each stand-in and quality.

    Args:
        found: name -> at each quality, the rate in training against the real one in percent, and
            the PSNR in training less the real one in dB.
        qualities: of the values, in their order.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.75 * len(found) + 1.2), sharey=True)
    labels = ("rate: training against real (%)", "PSNR: training less real (dB)")
    size = 0.8 / len(qualities)
    for i, (quality, color) in enumerate(zip(qualities, (ORANGE, GREEN, VERMILION), strict=False)):
        places = np.arange(len(found)) + (i - (len(qualities) - 1) / 2) * size
        for part, axis in enumerate(axes):
            values = [gap[i][part] for gap in found.values()]
            axis.barh(places, values, 0.9 * size, color=color, label=f"quality {quality:g}")
            for place, value in zip(places, values, strict=True):
                away, side = (3, "left") if value >= 0 else (-3, "right")
                text = f"{round(value, 1 + part) + 0.0:+.{1 + part}f}"  # no -0.0
                axis.annotate(text, (value, place), (away, 0), textcoords="offset points",
                              ha=side, va="center", fontsize=8)  # fmt: skip
    for axis, label in zip(axes, labels, strict=True):
        axis.axvline(0, color=BLACK, lw=1)
        axis.margins(x=0.2)
        axis.set_xlabel(label)
    axes[0].set_yticks(range(len(found)), list(found))
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
                  frameon=False, fontsize=9)  # fmt: skip
    told = [
        f"{name}: rate {', '.join(f'{r:+.1f}' for r, _ in gap)} %, "
        f"PSNR {', '.join(f'{p:+.2f}' for _, p in gap)} dB"
        for name, gap in found.items()
    ]
    order = ", ".join(f"{q:g}" for q in qualities)
    figure.set_label(f"Bars of gaps at the qualities {order}. {'; '.join(told)}.")
    return figure
