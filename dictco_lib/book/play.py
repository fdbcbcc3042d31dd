"""Images to leaf through: sliders that work in a notebook and in its HTML page alike.

A widget computes when it is moved, and needs a kernel. :func:`leaf_through` shows images that were
made beforehand; a :class:`Playable` is both: a widget in a running notebook, and some of its images
made beforehand for the page, with one line of JavaScript and nothing from a network.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as w
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image

from dictco_lib.book import plots
from dictco_lib.book.plots.alt import alt_text

#: Of WebP: no difference to be seen, at a fifth of the bytes of a PNG file.
_QUALITY = 90
#: Each slider shows the name of its value; all of them together choose the image.
_MOVED = (
    "var n=JSON.parse(this.dataset.names)[this.value],b=this.closest('.leaves'),i=0;"
    "this.setAttribute('aria-valuetext',n);this.nextElementSibling.textContent=n;"
    "b.querySelectorAll('input').forEach(function(s){i+=s.value*s.dataset.stride});"
    "b.querySelectorAll('figure').forEach("
    "function(f,k){f.style.display=k===i?'block':'none'})"
)


@dataclass(frozen=True)
class Leaf:
    """One image: a PNG file, the text above it (HTML), and what it shows in words."""

    png: bytes
    caption: str
    alt: str


def leaf(figure: Figure, caption: str) -> Leaf:
    """A leaf of a figure, which is closed; the caption is plain text."""
    return Leaf(alt=alt_text(figure), png=plots.png(figure), caption=html.escape(caption))


def leaf_through(leaves: Sequence[Leaf], name: str, start: int = 0) -> HTML:
    """A slider over images, without a kernel.

    Args:
        leaves: the images, in the order of the slider.
        name: what the slider moves through.
        start: the leaf that is shown at first.
    """
    count = len(leaves)
    axes = {name: [f"{i} of {count}" for i in range(1, count + 1)]}
    return HTML(with_sliders(leaves, axes, [start]))


def with_sliders(
    leaves: Sequence[Leaf], axes: Mapping[str, Sequence[str]], start: Sequence[int]
) -> str:
    """HTML of images and of one or several sliders that choose among them.

    Args:
        leaves: an image for each combination; the last slider's values change fastest.
        axes: name of each slider -> names of its values.
        start: which value of each slider comes first.
    """
    counts = [len(names) for names in axes.values()]
    strides = [math.prod(counts[i + 1 :]) for i in range(len(counts))]
    rows = [
        _slider(name, names, at, stride)
        for (name, names), at, stride in zip(axes.items(), start, strides, strict=True)
    ]
    shown = sum(at * stride for at, stride in zip(start, strides, strict=True))
    figures = [_figure(leaf, shown=i == shown) for i, leaf in enumerate(leaves)]
    return f'<div class="leaves">{"".join(rows + figures)}</div>'


def _slider(name: str, names: Sequence[str], at: int, stride: int) -> str:
    quoted = {
        "data-names": json.dumps(list(names)), "data-stride": stride, "min": 0,
        "max": len(names) - 1, "value": at, "aria-valuetext": names[at], "oninput": _MOVED,
        "autocomplete": "off",  # after a reload the slider is where the image is: at the start
        "style": "width:420px;max-width:60%;vertical-align:middle",
    }  # fmt: skip
    marks = " ".join(f'{key}="{html.escape(str(value))}"' for key, value in quoted.items())
    return (
        f'<div><label>{html.escape(name)} <input type="range" {marks}> '
        f"<output>{html.escape(names[at])}</output></label></div>"
    )


def _figure(leaf: Leaf, *, shown: bool) -> str:
    display = "block" if shown else "none"
    return (
        f'<figure style="display:{display};margin:0.5em 0"><figcaption>{leaf.caption}'
        f'</figcaption><img src="data:image/webp;base64,{_webp(leaf.png)}" '
        f'alt="{html.escape(leaf.alt)}" style="max-width:100%"></figure>'
    )


def _webp(png: bytes) -> str:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


class Playable(w.VBox):
    """Controls of a running notebook, with some of their images made beforehand for its page.

    The images are made when the box is displayed: the page of a notebook shows them where there is
    no kernel, with a slider for each of the axes.

    Args:
        children: the controls, and what they change.
        axes: name of a slider -> the values that it has on the page. An axis with one value
            gets no slider.
        start: the values of the first image, one for each axis.
        view: a value of each axis -> the image.
    """

    def __init__(
        self,
        children: Sequence[w.Widget],
        axes: Mapping[str, Sequence],
        start: Sequence,
        view: Callable[..., Leaf],
    ) -> None:
        super().__init__(children)
        self._axes, self._start, self._view = axes, start, view

    def page(self) -> str:
        """The HTML for a page without a kernel."""
        leaves = [self._view(*values) for values in itertools.product(*self._axes.values())]
        places = zip(self._axes.items(), self._start, strict=True)
        many = [
            (name, [f"{v:g}" if isinstance(v, float) else str(v) for v in values], values.index(at))
            for (name, values), at in places
            if len(values) > 1
        ]
        axes = {name: names for name, names, _ in many}
        return with_sliders(leaves, axes, [at for *_, at in many])

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self.page()}


def image_slider(
    code: Callable[[float], tuple[np.ndarray, str]],
    slider: w.Widget,
    stops: Sequence[float] = (),
    alt: str = "",
) -> w.Widget:
    """Any slider with the image and the numbers of its value below.

    Values seen before are kept. While the kernel works, the front end sends no more than the
    last place of the slider.

    Args:
        code: value -> image, (H, W) or (H, W, 3) uint8, and its caption.
        slider: with ``continuous_update=False`` where the work takes longer than a blink.
        stops: the values that the page shows, beside the one that the slider begins with.
        alt: what the images show.
    """
    label, image = w.HTML(), image_place()

    @functools.lru_cache(128)
    def seen(value: float) -> Leaf:
        pixels, caption = code(value)
        return Leaf(png_of(pixels), caption, f"{alt} {plain(caption)}".strip())

    def show(change: dict | None = None) -> None:
        label.value += " &hellip;"
        leaf = seen(slider.value)
        label.value, image.value = leaf.caption, leaf.png

    slider.observe(show, "value")
    show()
    start = slider.value
    values = sorted({*stops, start})
    return Playable([slider, label, image], {slider.description: values}, [start], seen)


def plain(caption: str) -> str:
    """A caption without its marks."""
    return html.unescape(re.sub(r"<[^>]+>", " ", caption)).replace("\xa0", " ").strip()


def image_place() -> w.Image:
    """A place for an image, at its own size where that fits."""
    return w.Image(format="png", layout=w.Layout(max_width="100%", align_self="flex-start"))


def png_of(pixels: np.ndarray) -> bytes:
    """The PNG file of an image, (H, W) or (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # quick, for the way to a browser
    return buffer.getvalue()


def panel(
    sliders: Sequence[w.Widget], view: Callable[..., Leaf], stops: Sequence[Sequence] = ()
) -> w.Widget:
    """Sliders with a caption and an image below.

    Args:
        sliders: what there is to choose.
        view: the values of the sliders -> what is shown.
        stops: for each slider the values that the page shows, beside the one it begins with.
            A slider without a list of its own stays where it is.
    """
    label, image = w.HTML(), image_place()
    view = functools.cache(view)

    def show(change: dict | None = None) -> None:
        leaf = view(*(slider.value for slider in sliders))
        label.value, image.value = leaf.caption, leaf.png

    for slider in sliders:
        slider.observe(show, "value")
    show()
    start = [slider.value for slider in sliders]
    axes = {
        slider.description: sorted({*values, slider.value})
        for slider, values in itertools.zip_longest(sliders, stops, fillvalue=())
    }
    row = w.HBox(sliders, layout=w.Layout(flex_flow="row wrap"))
    return Playable([row, label, image], axes, start, view)


def choice(name: str, count: int, value: int = 0) -> w.IntSlider:
    """A slider over the numbers from 0 to ``count - 1``."""
    return w.IntSlider(value, 0, count - 1, description=name, continuous_update=False)
