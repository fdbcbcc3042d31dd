"""Images to leaf through: a slider that works in a notebook and in its HTML page alike.

The widgets of :mod:`dictco_lib.book.widgets` compute when they are moved, and need a kernel. Here
every image is made beforehand, so a page without a kernel can show them, too.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from IPython.display import HTML
from matplotlib.figure import Figure

from dictco_lib.book import plots
from dictco_lib.book.plots.alt import describe

_MOVED = (
    "var i=+this.value;this.parentNode.parentNode.querySelectorAll('figure').forEach("
    "function(f,k){f.style.display=k===i?'block':'none'})"
)


@dataclass(frozen=True)
class Leaf:
    """One image: a PNG file, the text above it, and what it shows in words."""

    png: bytes
    caption: str
    alt: str


def leaf(figure: Figure, caption: str) -> Leaf:
    """A leaf of a figure, which is closed."""
    return Leaf(alt=describe(figure), png=plots.png(figure), caption=caption)


def leaf_through(leaves: Sequence[Leaf], name: str, start: int = 0) -> HTML:
    """A slider over images, without a kernel.

    Args:
        leaves: the images, in the order of the slider.
        name: what the slider moves through.
        start: the leaf that is shown at first.
    """
    figures = [_figure(leaf, shown=i == start) for i, leaf in enumerate(leaves)]
    slider = (
        f'<input type="range" min="0" max="{len(leaves) - 1}" value="{start}" '
        f'aria-label="{html.escape(name)}" oninput="{html.escape(_MOVED)}" style="width:420px">'
    )
    label = f"<label>{html.escape(name)} {slider}</label>"
    return HTML(f'<div class="leaves">{label}{"".join(figures)}</div>')


def _figure(leaf: Leaf, *, shown: bool) -> str:
    data = base64.b64encode(leaf.png).decode()
    display = "block" if shown else "none"
    return (
        f'<figure style="display:{display};margin:0.5em 0"><figcaption>{html.escape(leaf.caption)}'
        f'</figcaption><img src="data:image/png;base64,{data}" alt="{html.escape(leaf.alt)}">'
        "</figure>"
    )
