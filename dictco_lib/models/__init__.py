"""The codecs: a page for each member of the family, and the one Codec that takes a page."""

from dictco_lib.models.codec import Codec, DictionaryCodec
from dictco_lib.models.family import FAMILIES, PRESETS, config_from_dict, preset

__all__ = ["FAMILIES", "PRESETS", "Codec", "DictionaryCodec", "config_from_dict", "preset"]
