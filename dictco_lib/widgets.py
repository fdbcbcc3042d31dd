"""Things to play with in a notebook. No arithmetic: they call the library and show results."""

from __future__ import annotations

import io

import ipywidgets as w
import numpy as np

from dictco_lib.coding import decode, encode
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.models import DictionaryCodec


def quality_slider(model: DictionaryCodec, pixels: np.ndarray, quality: float = 50) -> w.Widget:
    """A slider from 0 to 100 with the decoded picture and its numbers below.

    The picture is coded to a real file and back when the slider is let go.

    Args:
        model: a variable-rate codec.
        pixels: (H, W, 3) uint8.
        quality: where the slider starts.
    """
    slider = w.IntSlider(
        quality, 0, 100, description="quality", continuous_update=False,
        layout=w.Layout(width="420px"),
    )  # fmt: skip
    label = w.HTML()
    picture = w.Image(format="png", layout=w.Layout(max_width="100%"))

    def show(change: dict | None = None) -> None:
        label.value = "coding &hellip;"
        encoded = encode(model, pixels, slider.value)
        image = decode(model, encoded.data)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        picture.value = buffer.getvalue()
        label.value = (
            f"<b>{len(encoded.data):,} bytes</b>, {encoded.bpp:.3f} bpp, "
            f"{psnr(pixels, np.asarray(image)):.2f} dB"
        )

    slider.observe(show, "value")
    show()
    return w.VBox([slider, label, picture])
