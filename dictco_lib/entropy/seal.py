"""Whether weights are still those that coding was prepared for.

Streams decode with the very weights that made them, so coding with changed ones must be noticed.
Two looks, the second only if the first does not settle it: addresses, torch's version counters
and the norm of every tensor, where it lies (3 ms for the 492 tensors of `classroom`'s latent codec
on one thread); then a checksum of all values (8 ms, and on a GPU a copy to the host).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import torch
from torch import Tensor


def content_key(tensors: Iterable[Tensor]) -> int:
    """Checksum of all values: the last word on whether two sets of tensors are equal."""
    key = 0
    for tensor in tensors:
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        key = zlib.crc32(data, zlib.crc32(f"{tensor.dtype}{tensor.shape}".encode(), key))
    return key


class Seal:
    """Remembers the values of some tensors.

    Args:
        tensors: always the same ones, in the same order.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self.content = content_key(tensors)
        self._look = _look(tensors)

    def holds(self, tensors: list[Tensor]) -> bool:
        """Whether the tensors have the values that were sealed, on whatever device."""
        look = _look(tensors)
        if look != self._look:
            # Moved, copied, or added up by another number of threads: perhaps no change at all.
            if content_key(tensors) != self.content:
                return False
            self._look = look
        return True


def _look(tensors: list[Tensor]) -> tuple:
    # Writing through ``weight.data`` changes neither address nor counter, but the norm; tensors
    # made in inference mode have no counter.
    floats = [t for t in tensors if t.is_floating_point() and t.numel()]
    with torch.no_grad():
        norms = torch.stack([n.float() for n in torch._foreach_norm(floats)]).tolist()
    marks = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
    return norms, marks
