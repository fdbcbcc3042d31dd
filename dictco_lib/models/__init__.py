"""The codecs: which transforms, which context, which slices."""

from dictco_lib.models.codec import DictionaryCodec

__all__ = ["DictionaryCodec"]
