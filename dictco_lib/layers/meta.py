"""Modules without memory: to know a model's shapes before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from compressai.ops import NonNegativeParametrizer


@contextmanager
def on_meta() -> Iterator[None]:
    """Modules made inside lie on torch's meta device, CompressAI's GDN among them.

    GDN fills its parameters with the help of a constant that is made on the CPU whatever the
    device; there is nothing to fill here.
    """
    fill = NonNegativeParametrizer.init

    def skip(self: NonNegativeParametrizer, x: torch.Tensor) -> torch.Tensor:
        return x if x.is_meta else fill(self, x)

    with patch.object(NonNegativeParametrizer, "init", skip), torch.device("meta"):
        yield
