"""TeX in the text of a page as images: no typesetter runs in the reader's browser.

matplotlib sets a formula; what its mathtext does not know stops the book, with the formula named.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import re

from dictco_lib.errors import DictcoError

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image

POINTS = 12  #: size of the type, near that of the text
#: Code, which is left alone; then a formula of its own line; then one in the text.
_PARTS = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^\s$](?:[^$]*[^\s$])?)\$(?!\d)",
    re.DOTALL,
)


class FormulaError(DictcoError):
    """A formula that cannot be typeset."""


def typeset(markdown: str) -> str:
    """Markdown with an image, described by its TeX, in the place of every formula.

    Raises:
        FormulaError: if a formula holds TeX that mathtext does not know.
    """
    return _PARTS.sub(_replaced, markdown)


def _replaced(found: re.Match) -> str:
    if found["code"]:
        return found["code"]
    if found["display"]:
        return f'<p style="text-align:center">{_image(found["display"])}</p>'
    return _image(found["inline"])


@functools.cache
def _image(tex: str) -> str:
    tex = " ".join(tex.split())
    file, font = io.BytesIO(), FontProperties(size=POINTS, math_fontfamily="cm")
    settings = {
        "svg.fonttype": "path",
        "svg.hashsalt": "formula",
        "savefig.transparent": True,
        "figure.constrained_layout.use": False,
    }
    try:
        with matplotlib.rc_context(settings):
            depth = math_to_image(f"${tex}$", file, font, format="svg")
    except ValueError as error:
        raise FormulaError(
            f"the formula ${tex}$ cannot be typeset ({str(error).splitlines()[-1]}); "
            "write it with what matplotlib's mathtext knows"
        ) from None
    data = base64.b64encode(file.getvalue()).decode()
    style = f"display:inline;vertical-align:-{depth:.2f}pt"
    source = f"data:image/svg+xml;base64,{data}"
    return f'<img src="{source}" alt="{html.escape(tex)}" style="{style}">'
