"""What callers hand in, checked once: what is wrong is said in one named error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dictco_lib.bitstream import Container, Sliceable
from dictco_lib.checkpoints import fingerprint
from dictco_lib.errors import (
    BadHeader,
    BitstreamError,
    OptionError,
    QualityError,
    WrongModel,
)
from dictco_lib.models.codec import DictionaryCodec
from dictco_lib.tiles import Box

_FILE = "bytes, a path, an open binary file or what encode() returned"


def check_codec(model: object) -> None:
    """Raise OptionError unless this is a codec."""
    if not isinstance(model, DictionaryCodec):
        raise OptionError(
            f"got {_kind(model)} as the model, expected a codec: dictco_lib.load('classroom')"
        )


def check_model(model: DictionaryCodec, container: Container) -> None:
    """Raise WrongModel unless the file was made by this model."""
    own = fingerprint(model)
    if container.fingerprint != own:
        raise WrongModel(
            f"the file was made by model {container.fingerprint.hex()}, loaded is "
            f"{model.config.name!r} {own.hex()}; give the checkpoint that made it (--model)"
        )
    if (container.quality is None) == model.config.is_variable_rate:
        raise BadHeader("the file's quality does not fit the model's kind; get the file again")


def rate_of(model: DictionaryCodec, quality: float | None) -> tuple[float | None, Tensor | None]:
    """A quality as a file holds it, in hundredths, and its level.

    Raises:
        QualityError: if it is none that this model can give.
    """
    if quality is not None and model.config.is_variable_rate:
        as_float = as_number(quality)
        if as_float is None or not 0 <= as_float <= 100:
            raise QualityError(f"quality is {quoted(quality)}, expected a number from 0 to 100")
        quality = round(as_float, 2)
    return quality, level_of(model, quality)


def level_of(model: DictionaryCodec, quality: float | None) -> Tensor | None:
    """The level of encoder and decoder alike, in float64: the gain of z depends on it."""
    weight = next(model.parameters())
    return model.level(quality, torch.empty(1, dtype=torch.float64, device=weight.device))


def as_number(value: object) -> float | None:
    """A real number as Python's, and a tensor or array of one; None for all else, True too."""
    try:
        one = value if isinstance(value, Real) else value.item()
        is_number = isinstance(one, Real) and not isinstance(one, (bool, np.bool_))
        return float(one) if is_number else None
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError):
        return None


def whole_number(value: object, name: str) -> int:
    """An integer, as Python's.

    Raises:
        OptionError: for anything else; True and 1.0 are none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise OptionError(f"{name} is {quoted(value)}, expected a whole number")
    return int(value)


def window_of(crop: object, container: Container) -> Box:
    """A crop (x, y, width, height) as top, left, bottom, right; None is the whole image.

    Raises:
        OptionError: if it is anything else, or not inside the image.
    """
    if crop is None:
        return 0, 0, container.height, container.width
    try:
        x, y, width, height = (whole_number(side, "crop") for side in crop)
    except (TypeError, ValueError):
        raise OptionError(
            f"got {quoted(crop)} as the crop, expected four whole numbers: x, y, width, height"
        ) from None
    inside = 0 <= x < x + width <= container.width and 0 <= y < y + height <= container.height
    if not inside:
        raise OptionError(
            f"the crop {x},{y},{width},{height} (x, y, width, height) is not inside the image, "
            f"which has {container.width}x{container.height} pixels"
        )
    return y, x, y + height, x + width


@contextmanager
def file_bytes(source: object, whole: bool = True) -> Iterator[Sliceable]:
    """The bytes of a file, wherever they are.

    Args:
        source: bytes or the like, a path, an open binary file (read from where it stands), or
            anything with such bytes as ``data``.
        whole: read them all; else they are read piece by piece, as far as the file allows it.

    Raises:
        BitstreamError: if there is no such file, or it cannot be read.
        OptionError: if the source is something else.
    """
    data = getattr(source, "data", None)
    if isinstance(data, bytes):
        yield data
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield _as_bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        with _opened(source) as file:
            yield _read(file) if whole else _Pieces(file)
    elif callable(getattr(source, "read", None)):
        yield _Pieces(source) if not whole and _can_seek(source) else _read(source)
    else:
        raise OptionError(f"got {_kind(source)} as the file, expected {_FILE}")


@contextmanager
def _opened(path: str | os.PathLike):
    try:
        path = Path(path)
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise BitstreamError(f"{path} is {kind}, expected a .dco file")
        file = path.open("rb")
    except FileNotFoundError:
        raise BitstreamError(f"{path} does not exist, expected a .dco file") from None
    except (OSError, TypeError, ValueError) as error:  # such as a name with a NUL
        reason = getattr(error, "strerror", None) or error
        raise BitstreamError(f"{path!r} cannot be read: {reason}") from None
    with file:
        yield file


def _as_bytes(source: object) -> bytes:
    try:
        return bytes(source)
    except ValueError as error:  # such as a memoryview that was released
        raise OptionError(f"got bytes that cannot be read: {error}") from None


def _read(file) -> bytes:
    try:
        data = file.read()
    except Exception as error:  # of a file of the caller's, anything
        raise BitstreamError(f"the file cannot be read: {error or _kind(error)}") from None
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise OptionError(f"the open file gives {_kind(data)}, expected bytes: open it with 'rb'")
    return bytes(data)


def _can_seek(file) -> bool:
    try:
        return bool(file.seekable()) and isinstance(file.read(0), bytes)
    except Exception:  # of a file of the caller's, anything; reading it says what is wrong
        return False


class _Pieces:
    """Bytes of an open file from where it stands, read when they are asked for."""

    def __init__(self, file) -> None:
        self.file = file
        self.start = file.tell()
        self.length = file.seek(0, os.SEEK_END) - self.start

    def __len__(self) -> int:
        return max(0, self.length)

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        found = b""
        try:
            self.file.seek(self.start + start)
            while len(found) < stop - start and (more := self.file.read(stop - start - len(found))):
                found += more
        except Exception as error:  # of a file of the caller's, anything
            raise BitstreamError(f"the file cannot be read: {error or _kind(error)}") from None
        return found


def _kind(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"


def quoted(value: object) -> str:
    """A short value as it is written, and the kind of any other."""
    if isinstance(value, (int, float, complex, str)) and len(text := repr(value)) <= 40:
        return text
    return _kind(value)
