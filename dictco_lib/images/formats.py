"""Which files are images: the one list of what is read, what is protected, what is searched.

Read is what Pillow really reads as pixels, with its plugins for HEIC and JPEG XL where they are
installed. What a file is says its content; the suffix decides only for formats that have no mark
of their own, and for camera raw files, in which Pillow would find the preview.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image

#: Formats with a plugin of their own -> module, package, marks of the content.
_PLUGINS = {
    "HEIF": ("pillow_heif", "pillow-heif", (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")),
    "JXL": ("pillow_jxl", "pillow-jxl-plugin", ()),
}
_PLUGIN_SUFFIXES = dict.fromkeys(".heic .heif .hif .heics .heifs .avci .avcs".split(), "HEIF")
_PLUGIN_SUFFIXES |= {".jxl": "JXL"}
_JXL_MARKS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")

_RAW = "is a camera raw file; develop it to PNG or JPEG first"
_LAYERS = "has layers, which would be lost; export it as PNG"
_DRAWING = "is a drawing without pixels; export it as PNG"
_DATA = "holds measurements, no pixels that can be read; export it as PNG"
_UNKNOWN = "is an image that Pillow cannot read; convert it to PNG"
#: Formats that Pillow opens, and that are not read: half of them only by name, or as a preview.
_UNREAD_FORMATS = {
    "PSD": _LAYERS, "EPS": _DRAWING, "WMF": _DRAWING, "BUFR": _DATA, "GRIB": _DATA,
    "HDF5": _DATA, "IPTC": _DATA, "MPEG": "is a film; save the image you want as PNG",
}  # fmt: skip
_UNREAD_SUFFIXES = dict.fromkeys(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw "
    ".orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split(), _RAW
)  # fmt: skip
_UNREAD_SUFFIXES |= dict.fromkeys(
    ".psd .psb .xcf .kra .ora .afphoto .pdn .indd .clip .procreate .sketch".split(), _LAYERS
)
_UNREAD_SUFFIXES |= dict.fromkeys(
    ".svg .svgz .eps .ps .ai .wmf .emf .pdf .cdr .dxf".split(), _DRAWING
)
_UNREAD_SUFFIXES |= dict.fromkeys(
    ".exr .hdr .jxr .wdp .hdp .bpg .flif .jls .jpm .jxs .jph .djvu .dcm .mng .jng .dpx .cin "
    ".pict .pct .wbmp .fpx .ktx .ktx2 .pvr".split(),
    _UNKNOWN,
)
#: The first bytes of such files, for those that go by another name.
_UNREAD_MARKS = {
    b"8BPS": _LAYERS, b"gimp xcf": _LAYERS, b"%!PS": _DRAWING, b"%PDF": _DRAWING,
    b"FUJIFILMCCD-RAW": _RAW, b"\0\0\0\x18ftypcrx ": _RAW, b"v/1\x01": _UNKNOWN,
    b"#?RADIANCE": _UNKNOWN,
}  # fmt: skip


@functools.cache
def _formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here, the plugins' included."""
    for module, _, _ in _PLUGINS.values():
        try:
            plugin = importlib.import_module(module)
        except Exception:  # not there, or broken: what needs it is named when it comes
            continue
        if hasattr(plugin, "register_heif_opener"):
            plugin.register_heif_opener()
    Image.init()
    return tuple(name for name in Image.ID if name not in _UNREAD_FORMATS)


def readable_formats(name: str | Path = "") -> list[str]:
    """The formats that a file of this name may have, for ``Image.open(..., formats=...)``.

    Formats without a mark of their own (TGA) are believed by their suffix only.
    """
    formats = _formats()
    own = Image.registered_extensions().get(Path(name).suffix.lower())
    return [f for f in formats if Image.OPEN[f][1] is not None or f == own]


def looks_like_image(path: str | Path) -> bool:
    """Does the suffix stand for an image, readable or not? No other file is called so."""
    suffix = Path(path).suffix.lower()
    _formats()
    known = Image.registered_extensions()
    return suffix in known or suffix in _PLUGIN_SUFFIXES or suffix in _UNREAD_SUFFIXES


def _is_read_by_suffix(name: str | Path) -> bool:
    formats = _formats()
    suffix = Path(name).suffix.lower()
    return Image.registered_extensions().get(suffix) in formats and suffix not in _UNREAD_SUFFIXES


def why_unread(name: str | Path, head: bytes) -> str | None:
    """Why a file is not read that is an image, or looks like one; None if it is worth a try.

    Args:
        name: of the file.
        head: its first 32 bytes or more.
    """
    suffix = Path(name).suffix.lower()
    kind = _plugin_kind(head) or (_PLUGIN_SUFFIXES.get(suffix) if not _opens(head) else None)
    if kind and kind not in _formats():
        return f"needs {_PLUGINS[kind][1]}"
    marks = (reason for mark, reason in _UNREAD_MARKS.items() if head.startswith(mark))
    if reason := next(marks, None):
        return reason
    reason = _UNREAD_SUFFIXES.get(suffix)
    if reason == _RAW or not _opens(head):  # what looks like TIFF in a raw file is a preview
        return reason
    return None


def _plugin_kind(head: bytes) -> str | None:
    if head.startswith(_JXL_MARKS):
        return "JXL"
    if head[4:8] == b"ftyp":
        brands = [head[i : i + 4] for i in range(8, len(head) - 3, 4)]
        if brands and brands[0] not in (b"avif", b"avis"):
            if any(brand in _PLUGINS["HEIF"][2] for brand in brands):
                return "HEIF"
    return None


def _opens(head: bytes) -> bool:
    """Does the mark of a readable format stand at the beginning?"""
    for name in readable_formats():
        accept = Image.OPEN[name][1]
        try:
            if accept and accept(head[:16]) is True:
                return True
        except Exception:  # marks of formats are looked for beyond a short file
            continue
    return False


def is_image(file: BinaryIO, name: str | Path) -> bool:
    """Is this what a single call would read, or report as a damaged image?

    Args:
        file: opened for reading bytes, at its beginning; not loaded.
        name: its name: a suffix that stands for an image is believed.
    """
    if _is_read_by_suffix(name):
        return True
    try:
        with Image.open(file, formats=readable_formats(name)):
            return True
    except Exception:  # foreign files make Pillow raise nearly anything
        return False
