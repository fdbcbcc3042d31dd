"""Checkpoints: our own (safetensors with the config inside) and the published layouts."""

from dictco_lib.checkpoints.native import (
    export,
    fingerprint,
    is_halved,
    is_published,
    load,
    load_checkpoint,
    own_state,
    save_checkpoint,
    shipped_models,
)
from dictco_lib.checkpoints.published import load_published, to_compressai, to_published

__all__ = [
    "export",
    "fingerprint",
    "is_halved",
    "is_published",
    "load",
    "load_checkpoint",
    "load_published",
    "own_state",
    "save_checkpoint",
    "shipped_models",
    "to_compressai",
    "to_published",
]
