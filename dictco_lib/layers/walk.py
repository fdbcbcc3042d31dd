"""All parts and tensors of a model, quickly.

``nn.Module.modules()`` and ``parameters()`` put the names of a thousand tensors together: for
every file that is made or read that took a twentieth of the time of a small image.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


def walk(module: nn.Module) -> Iterator[nn.Module]:
    """A module and everything inside, each once, in the order of ``module.modules()``."""
    seen: set[nn.Module] = set()
    waiting = [module]
    while waiting:
        part = waiting.pop()
        if part is not None and part not in seen:
            seen.add(part)
            yield part
            waiting.extend(reversed(part._modules.values()))


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers of a module and everything inside, always in the same order."""
    found: dict[int, Tensor] = {}
    for part in walk(module):
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None:
                found[id(tensor)] = tensor
    return list(found.values())
