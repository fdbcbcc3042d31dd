"""Dictionary-based learned image compression: DCAE and its mixture-of-experts form, DictCO.

Three lines from a photo to a file and back::

    import dictco_lib
    model = dictco_lib.load("classroom")
    encoded = dictco_lib.encode(model, "photo.jpg", quality=60)  # encoded.data are the bytes
    image = dictco_lib.decode(model, encoded.data)               # a PIL image
"""

from __future__ import annotations

import importlib
import warnings

from dictco_lib.threads import wait_asleep

__version__ = "0.1.0"

# Before anything here loads torch, whose threads would be slow beside other programs.
wait_asleep()

# compressai decorates two small functions with torch.jit.script; torch 2.10+ says so at import.
warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=FutureWarning)
warnings.filterwarnings("ignore", message=r"`torch\.jit\.script", category=DeprecationWarning)

# Imported on first use, so that `dictco --help` need not wait for torch.
_WHERE = {
    "Codec": "models",
    "DictionaryCodec": "models",
    "Encoded": "coding",
    "ModelConfig": "config",
    "decode": "coding",
    "encode": "coding",
    "encode_to": "rate_control",
    "load": "checkpoints",
    "load_checkpoint": "checkpoints",
    "load_published": "checkpoints",
    "preset": "models",
    "save_checkpoint": "checkpoints",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
