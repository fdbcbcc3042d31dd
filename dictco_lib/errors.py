"""Every error this library raises on purpose, and how it quotes what came from elsewhere.

A message says three things: what came, what was expected, what to do.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager

MAX_MESSAGE = 2000
MAX_QUOTE = 80
_MAX_LISTED = 8


def printable(text: str, limit: int = MAX_MESSAGE) -> str:
    """Text that is safe to print: bounded, the middle left out; control characters escaped.

    A file's bytes find their way into messages; on a terminal, some of them are commands.
    """
    text = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    if len(text) <= limit:
        return text
    half = limit // 2 - 20
    return f"{text[:half]}[... {len(text) - 2 * half} characters ...]{text[-half:]}"


class _Quoting(reprlib.Repr):
    """A repr of bounded depth, breadth and length."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = limit

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out very large numbers.
        return repr(x) if x.bit_length() < 128 else f"<a number of {x.bit_length()} bits>"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring])

    def repr_instance(self, x: object, level: int) -> str:
        if x is None or isinstance(x, (bool, float, complex)):
            return repr(x)
        return f"<{type(x).__name__}>"  # its own repr may be long, slow, or fail


def quoted(value: object, limit: int = MAX_QUOTE) -> str:
    """How a message shows a value that came from a file or a user: bounded and printable."""
    return printable(_Quoting(limit).repr(value), 2 * limit)


def listed(names: Collection[object]) -> str:
    """The first of many names or values, and how many more there are."""
    first = [quoted(name, 200) for name, _ in zip(names, range(_MAX_LISTED), strict=False)]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


class LossWarning(UserWarning):
    """Something of an image is left out of its file; the warning's text names it."""


class PortWarning(UserWarning):
    """CompressAI's port of a model computes something else with the same weights."""


class DictcoError(Exception):
    """Base of all errors raised on purpose; the command line prints them as one line.

    Whatever a message quotes, it is bounded and printable: the last line of defence.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class ConfigError(DictcoError):
    """A model or training configuration is inconsistent or has unknown keys."""


class ShapeError(DictcoError):
    """A tensor has the wrong number of dimensions, channels or dtype."""


class QualityError(DictcoError):
    """A quality was asked for that the model cannot give."""


class TargetError(DictcoError):
    """No quality of the model gives the size, rate or PSNR that was asked for."""


class OptionError(DictcoError):
    """An option is out of range, contradicts another one, or would be ignored."""


class ImageError(DictcoError):
    """An image cannot be read, or holds something that would be lost in silence."""


class CheckpointError(DictcoError):
    """A checkpoint is missing, damaged, or of a layout that is not known."""


class NotUpdatedError(DictcoError):
    """The integer frequency tables were not built yet; call ``model.update()``."""


class TrainingModeError(DictcoError):
    """A model in training mode was asked to code; call ``model.eval()``."""


class RecipeError(DictcoError):
    """A training recipe is wrong, or training cannot go on."""


class CurveError(DictcoError):
    """A rate-distortion curve is missing or damaged, or two of them cannot be compared."""


class DatasetError(DictcoError):
    """A public set cannot be fetched, or what lies in its folder is not the set."""


class OutputError(DictcoError, OSError):
    """A file cannot be written, or would replace what is not ours to replace."""


class DiskFull(OutputError):
    """There is no room for a file: no space, no quota, or a limit on its size."""


class BitstreamError(DictcoError):
    """A compressed file cannot be decoded."""


class Truncated(BitstreamError):
    """The file ends before its chunk table says it should."""


class BadMagic(BitstreamError):
    """The file is not a .dco file at all."""


class BadVersion(BitstreamError):
    """The file was written by a format version that this library does not know."""


class BadChecksum(BitstreamError):
    """Bytes or decoded symbols differ from what the encoder wrote."""


class BadHeader(BitstreamError):
    """A header field is outside its allowed range."""


class WrongModel(BitstreamError):
    """The file was made with other weights than the ones that are loaded."""


@contextmanager
def foreign(what: str, kind: type[DictcoError], advice: str) -> Iterator[None]:
    """Give a name of ours to whatever a library raises over a file that others made.

    Libraries trust their input: over damaged files they raise nearly anything, so that a list of
    exceptions is never complete.

    Args:
        what: the file or the part of it, and what cannot be done: "a.json cannot be read".
        kind: the error to raise.
        advice: what to do.
    """
    try:
        yield
    except (DictcoError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of a Rust library is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{what}: {reason(error)}; {advice}") from None


def reason(error: BaseException) -> str:
    """What an error of a library says, in its first line, without its advice."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).splitlines() or [""])[0].split(". ")[0]
    return printable(f"{type(error).__name__}: {first}" if first else type(error).__name__, 200)
