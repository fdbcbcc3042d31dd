"""Figures in words, for readers who do not see them: the alt text of every figure of the book."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def add_alt_text() -> None:
    """Let every figure that a notebook displays carry its alt text, under ``image/png``."""
    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.mimebundle_formatter.for_type(Figure, _with_alt_text)


def _with_alt_text(figure: Figure) -> tuple[dict, dict]:
    return {}, {"image/png": {"alt": alt_text(figure)}}


def describe(text: str, figure: Figure | None = None) -> None:
    """Say by hand what there is to see on a figure, for readers who do not see it.

    Names and numbers that stand on the figure follow by themselves.

    Args:
        text: whole sentences.
        figure: the one drawn last, by default.
    """
    figure = figure or plt.gcf()
    figure.set_label(f"{text} {alt_text(figure)}".strip())


def alt_text(figure: Figure) -> str:
    """What a figure shows, from its own titles, labels and names; or its label, if it has one."""
    if figure.get_label():
        return str(figure.get_label())
    parts, images = [], []
    for axis in figure.axes:
        if axis.get_label() == "<colorbar>":
            parts.append(f"Colours: {axis.get_ylabel() or axis.get_xlabel()}")
        elif axis.axison:
            parts.append(_chart(axis))
        else:
            images.append(_title(axis))
    if images:
        count = f"{len(images)} images" if len(images) > 1 else "Image"
        parts.insert(0, ": ".join(filter(None, [count, "; ".join(filter(None, images))])))
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    if names:
        parts.append(f"Legend: {'; '.join(names)}")
    return " ".join(f"{part.rstrip('.')}." for part in parts).replace("\n", " ")


def _chart(axis: Axes) -> str:
    """Title, labels and names of one pair of axes."""
    title = f"Chart “{_title(axis)}”" if _title(axis) else "Chart"
    labels = {"x": axis.get_xlabel(), "y": axis.get_ylabel()}
    ways = [f"{way}: {label}" for way, label in labels.items() if label]
    legend = axis.get_legend()
    names = [text.get_text() for text in legend.get_texts()] if legend else _bars(axis)
    shown = [f"showing {'; '.join(names)}"] if names else []
    return ", ".join([title, *ways, *shown])


def _title(axis: Axes) -> str:
    titles = (axis.get_title(place) for place in ("left", "center", "right"))
    return " ".join(filter(None, titles))


def _bars(axis: Axes) -> list[str]:
    """Names of bars with what is written at them."""
    ticks = [*axis.get_yticklabels(), *axis.get_xticklabels()]
    names = [t.get_text() for t in ticks if re.search("[a-z]", t.get_text().partition("$")[0])]
    values = [text.get_text().strip() for text in axis.texts]
    if len(values) == len(names):
        return [f"{name}, {value}" for name, value in zip(names, values, strict=True)]
    return names or [value for value in values if value]
