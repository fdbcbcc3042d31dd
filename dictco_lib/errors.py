"""Every error this library raises on purpose.

A message says three things: what came, what was expected, what to do.
"""

from __future__ import annotations


class LossWarning(UserWarning):
    """Something of a picture is left out of its file; the warning's text names it."""


class DictcoError(Exception):
    """Base of all errors raised on purpose; the command line prints them as one line."""


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
    """A picture cannot be read, or holds something that would be lost in silence."""


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
