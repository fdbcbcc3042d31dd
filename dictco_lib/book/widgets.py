"""Things to play with in a notebook. No arithmetic: they call the library and show results."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import ipywidgets as w
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from torch import Tensor

from dictco_lib.bitstream import unpack
from dictco_lib.book import play, plots
from dictco_lib.book.inspect.ablations import (
    PARTS,
    WITHOUT_MEAN,
    Means,
    Result,
    reconstruct,
    switched_off,
)
from dictco_lib.book.inspect.attention import in_use
from dictco_lib.book.inspect.fields import hex_view, prefix, read_fields
from dictco_lib.book.inspect.outcome import Outcome, Subject
from dictco_lib.book.inspect.windows import place_weights
from dictco_lib.book.play import Leaf, Playable, image_slider
from dictco_lib.book.plots.ablations import extra_bits
from dictco_lib.book.plots.model import attention_maps
from dictco_lib.book.plots.routing import dictionary_look
from dictco_lib.coding import code_latent, decode, from_latent, to_latent
from dictco_lib.errors import CurveError
from dictco_lib.evaluation.bdrate import Curve, compare
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.images import ImageData, to_pil, to_uint8
from dictco_lib.layers.attention import WindowAttention
from dictco_lib.models import DictionaryCodec


def quality_slider(
    model: DictionaryCodec, pixels: np.ndarray, quality: float = 50, alt: str = ""
) -> w.Widget:
    """A slider from 0 to 100 with the decoded image and its numbers below.

    The image is analysed once. When the slider is let go, a real file is made; what is shown
    is what its decoder gets, from the same y_hat.

    Args:
        model: a variable-rate codec.
        pixels: (H, W, 3) uint8.
        quality: where the slider starts.
        alt: what the image shows.
    """
    slider = w.IntSlider(
        quality, 0, 100, description="quality", continuous_update=False,
        layout=w.Layout(width="420px"),
    )  # fmt: skip
    latent = to_latent(model, pixels)

    def code(quality: float) -> tuple[np.ndarray, str]:
        encoded, y_hat = code_latent(model, latent, quality)
        decoded = from_latent(model, unpack(encoded.data), y_hat, latent.boxes)
        image = np.asarray(to_pil(decoded))
        caption = (
            f"<b>{len(encoded.data):,} bytes</b>, {encoded.bpp:.3f} bpp, "
            f"{psnr(pixels, image):.2f} dB"
        )
        return image, caption

    return image_slider(code, slider, range(0, 101, 25), alt)


def divider(
    left: np.ndarray, right: np.ndarray, captions: tuple[str, str], alt: str = ""
) -> w.Widget:
    """Two images of the same place, before and after, on either side of a line that moves.

    Args:
        left: (H, W, 3) uint8, say the original.
        right: the same place, say decoded.
        captions: of both; HTML.
        alt: what both images show.
    """
    slider = w.IntSlider(
        50, 0, 100, description="divider", readout=False, layout=w.Layout(width="420px")
    )

    def code(percent: float) -> tuple[np.ndarray, str]:
        at = round(percent / 100 * left.shape[1])
        image = np.concatenate([left[:, :at], right[:, at:]], axis=1)
        image[:, max(at - 1, 0) : at + 1] = 255
        return image, f"{percent} %: {captions[0]} &nbsp;<b>|</b>&nbsp; {captions[1]}"

    return image_slider(code, slider, range(0, 101, 25), alt)


def step_slider(
    code: Callable[[float], tuple[np.ndarray, str]], step: float = 16, alt: str = ""
) -> w.Widget:
    """A logarithmic slider over quantiser steps from 1 to 256 grey levels.

    Args:
        code: step -> image and caption, see :func:`image_slider`.
        step: where the slider starts.
        alt: what the images show.
    """
    slider = w.FloatLogSlider(
        step, base=2, min=0, max=8, step=0.25, description="step", readout_format=".1f",
        continuous_update=False, layout=w.Layout(width="420px"),
    )  # fmt: skip
    return image_slider(code, slider, [2.0**i for i in range(2, 9)], alt)


def prefix_slider(
    model: DictionaryCodec, data: bytes, pixels: np.ndarray, alt: str = ""
) -> w.Widget:
    """A slider over the slices of a file: what its beginning already shows.

    Args:
        model: the codec that made the file.
        data: a .dco file.
        pixels: the original, (H, W, 3) uint8.
        alt: what the image shows.
    """
    slices = len(model.config.groups)
    slider = w.IntSlider(slices, 0, slices, description="slices", continuous_update=False)

    def code(k: float) -> tuple[np.ndarray, str]:
        part = prefix(data, k)
        image = np.asarray(decode(model, part, partial=True))
        share = f"<b>{len(part):,} of {len(data):,} bytes</b> ({len(part) / len(data):.0%})"
        return image, f"{share}, {psnr(pixels, image):.2f} dB"

    return image_slider(code, slider, range(slices + 1), alt)


def field_picker(data: bytes) -> w.Widget:
    """A file as hex; the field that is picked gets a frame."""
    names = [f"{i} {field.name}" for i, field in enumerate(read_fields(data))]
    options = [(name, i) for i, name in enumerate(names)]
    picker = w.Dropdown(options=options, description="field")
    view = w.HTML()

    def show(change: dict | None = None) -> None:
        view.value = hex_view(data, picker.value)

    picker.observe(show, "value")
    show()
    return w.VBox([picker, view])


def expert_picker(subject: Subject, outcome: Outcome, slice_: int = 0) -> w.Widget:
    """The gates of one expert of one slice over the photo, with their mean and the slice's bits.

    Args:
        subject: the photo.
        outcome: what the model made of it; nothing is computed anew.
        slice_: where the slider of the slices starts.
    """
    slices, experts = len(outcome.gates), len(outcome.gates[0])
    opacity = w.IntSlider(70, 0, 100, 5, description="opacity %", continuous_update=False)

    def view(k: int, expert: int, percent: int) -> Leaf:
        gates, bits = outcome.gates[k], outcome.y_bits[k]
        wins = gates.argmax(0) == expert
        caption = (
            f"<b>mean gate {gates[expert].mean():.3f}</b>, {gates[expert].min():.2f} to "
            f"{gates[expert].max():.2f}; the largest of all gates at {wins.mean():.0%} of the "
            f"places.<br>Slice {k} takes {bits.sum():,.0f} bits, {bits[wins].sum():,.0f} of them "
            "there."
        )
        figure = plots.place_maps(
            subject.pixels, {f"slice {k}, expert {expert}": gates[expert]}, "gate", 6,
            limits=(0, gates.max()), opacity=percent / 100,
        )  # fmt: skip
        plots.describe(f"The photo in grey under a map of gates. {play.plain(caption)}", figure)
        return replace(play.leaf(figure, ""), caption=caption)

    sliders = [play.choice("slice", slices, slice_), play.choice("expert", experts), opacity]
    return play.panel(sliders, view, [range(slices), range(experts)])


def attention_picker(
    subject: Subject, outcome: Outcome, attention: Sequence[np.ndarray], slice_: int = 0
) -> w.Widget:
    """Where one place of the photo looks within one expert's dictionary.

    Args:
        subject: the photo.
        outcome: what the model made of it.
        attention: per slice (h, w, heads, K, N), see
            :func:`dictco_lib.book.inspect.attention.expert_attention`.
        slice_: where the slider of the slices starts.
    """
    height, width, _, experts, entries = attention[0].shape

    def view(k: int, expert: int, row: int, column: int) -> Leaf:
        weights = attention[k][row, column, :, expert]
        gates = outcome.gates[k][:, row, column]
        used = in_use(weights)
        caption = (
            f"<b>gate {gates[expert]:.3f}</b>; the heads spread over "
            f"{', '.join(f'{n:.1f}' for n in used)} of {entries} entries"
        )
        figure = dictionary_look(subject.pixels, (row, column), weights, gates, expert)
        plots.describe(f"A place of the photo, and its weights. {play.plain(caption)}.", figure)
        return replace(play.leaf(figure, ""), caption=caption)

    sliders = [
        play.choice("slice", len(attention), slice_),
        play.choice("expert", experts),
        play.choice("row", height, height // 2),
        play.choice("column", width, width // 2),
    ]
    stops = [(), range(experts), (), range(0, width, max(1, width // 4))]
    return play.panel(sliders, view, stops)


def window_picker(
    photo: np.ndarray,
    blocks: Mapping[str, tuple[WindowAttention, Tensor]],
    place: tuple[int, int] = (0, 0),
) -> w.Widget:
    """Two sliders for a place of a photo: what it attends to in each block, mean of the heads.

    Args:
        photo: (H, W, 3) uint8.
        blocks: name -> attention, and what the block hands to it, (1, h, w, C).
        place: row and column to start with.
    """
    height, width = next(iter(blocks.values()))[1].shape[1:3]

    def view(*place: int) -> Leaf:
        weights = {name: place_weights(*block, *place) for name, block in blocks.items()}
        looks = {name: heads.mean(0).cpu().numpy() for name, heads in weights.items()}
        most = ", ".join(f"{name} {look.max():.3f}" for name, look in looks.items())
        figure = attention_maps(photo, looks, place)
        plots.describe(f"Who asks: row {place[0]}, column {place[1]}.", figure)
        return play.leaf(figure, f"largest weight: {most}")

    sliders = [play.choice("row", height, place[0]), play.choice("column", width, place[1])]
    return play.panel(sliders, view, [(), range(3, width, 8)])


class TrainingView:
    """An image of a run that redraws itself with every entry of the log.

    Hand it to :func:`dictco_lib.training.loop.train` as the listener. ``rows`` are the entries so
    far, ``frames`` what the averaged weights made of the image at each of their steps.

    Args:
        pixels: what to reconstruct, (H, W, 3) uint8.
        quality: at which quality; ignored by a fixed-rate model.
        is_shown: False draws nothing, and only keeps the frames.
    """

    def __init__(self, pixels: np.ndarray, quality: float = 50, *, is_shown: bool = True) -> None:
        self.pixels = pixels
        self.quality = quality
        self.is_shown = is_shown
        self.rows: list[dict] = []
        self.frames: dict[int, np.ndarray] = {}
        self._handle = None

    def __call__(self, trainer, entry: dict) -> None:
        """Keep the frame, and draw the run anew."""
        self.rows.append(entry)
        now = self.frames[entry["step"]] = self._reconstruct(trainer.shipped())
        if not self.is_shown:
            return
        if self._handle is None:
            self._handle = display(w.HTML("training &hellip;"), display_id=True)
        first = next(iter(self.frames.values()))
        figure = plots.live_training(self.rows, self.pixels, first, now)
        self._handle.update(figure)
        plt.close(figure)

    @torch.no_grad()
    def _reconstruct(self, model: DictionaryCodec) -> np.ndarray:
        x = torch.from_numpy(self.pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
        x = x.to(next(model.parameters()).device)
        quality = self.quality if model.config.is_variable_rate else None
        return to_uint8(model(x, quality)["x_hat"][0].cpu())


def curve_picker(curves: Sequence[Curve], chosen: Sequence[str], anchor: str) -> w.Widget:
    """Rate-distortion curves to choose from, drawn together, with their BD-rates below.

    Args:
        curves: what can be chosen, all in one metric.
        chosen: names of those that are drawn at first.
        anchor: name of the one that the others are compared with.
    """
    by_name = {curve.name: curve for curve in curves}
    select = w.SelectMultiple(
        options=list(by_name), value=list(chosen), rows=12, layout=w.Layout(width="330px")
    )
    against = w.Dropdown(options=list(by_name), value=anchor, description="against")
    table = w.HTML()
    image = play.image_place()

    def show(change: dict | None = None) -> None:
        names = [against.value, *(name for name in select.value if name != against.value)]
        published = {name for name in names if by_name[name].is_published}
        points = {name: (by_name[name].bpp, by_name[name].psnr) for name in names}
        image.value = plots.png(plots.rd_curves(points, published=published, max_bpp=2.0))
        lines = [_bd_line(by_name[against.value], by_name[name]) for name in names[1:]]
        table.value = "<br>".join(lines)

    select.observe(show, "value")
    against.observe(show, "value")
    show()
    return w.VBox([w.HBox([select, against]), table, image])


def _bd_line(anchor: Curve, test: Curve) -> str:
    try:
        found = compare(anchor, test)
    except CurveError as error:
        return html.escape(f"{test.name}: {error}")
    text = f"{found.rate:+.2f} % over {found.low:.1f}-{found.high:.1f} dB"
    return f"<b>{html.escape(test.name)}</b>: {text}"


def ablation_panel(
    model: DictionaryCodec, image: ImageData, means: Means, quality: float = 50
) -> w.Widget:
    """Parts to switch off, and what the model then makes of an image; bits are estimated.

    Each answer is computed when it is first asked for, and kept.

    Args:
        model: a variable-rate mixture.
        image: small: a forward pass should take well under a second.
        means: what stands in for the parts, from ``mean_outputs``.
        quality: where the slider starts.
    """
    boxes = [w.Checkbox(False, description=part, indent=False) for part in PARTS]
    filler = w.ToggleButtons(options=["means", "zeros"], description="in place")
    slider = w.IntSlider(quality, 0, 100, description="quality", continuous_update=False)
    label, figure = w.HTML(), play.image_place()

    @functools.cache
    def found(off: tuple[str, ...], in_place: str, quality: float) -> Result:
        with switched_off(model, off, means if in_place == "means" else None):
            return reconstruct(model, image, quality)

    @functools.cache
    def answer(*choice) -> Leaf:
        whole, rest = found((), "means", choice[-1]), found(*choice)
        bits, share = rest.bits.sum(), rest.bits.sum() / whole.bits.sum() - 1
        text = f"<b>{bits:,.0f} bits</b>, {rest.psnr:.2f} dB; against the whole model "
        limit = whole.bits.mean()
        shown = extra_bits(rest.pixels, {"off minus on": rest.bits - whole.bits}, limit, width=8)
        text += f"{share:+.1%}, {rest.psnr - whole.psnr:+.2f} dB"
        off = ", ".join(choice[0]) or "nothing"
        plots.describe(f"Off: {off}, {choice[1]} in place. {play.plain(text)}.", shown)
        return replace(play.leaf(shown, ""), caption=text)

    def show(change: dict | None = None) -> None:
        off = tuple(box.description for box in boxes if box.value)
        leaf = answer(off, filler.value, slider.value)
        label.value, figure.value = leaf.caption, leaf.png

    for control in (*boxes, filler, slider):
        control.observe(show, "value")
    show()
    rows = w.Layout(flex_flow="row wrap")
    ways = {"nothing": ((), "means")}  # on the page: one part at a time
    for part in PARTS:
        if part in WITHOUT_MEAN:
            ways[part] = (part,), "zeros"
        else:
            ways |= {f"{part}, {fill} in place": ((part,), fill) for fill in filler.options}

    def one_way(name: str) -> Leaf:
        return answer(*ways[name], quality)

    children = [w.Box(boxes, layout=rows), filler, slider, label, figure]
    return Playable(children, {"off": list(ways)}, ["nothing"], one_way)
