"""Looking on while a model runs: what a module got and what it gave."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """One call of a module: its inputs, and the first tensor of its output."""

    inputs: tuple[Tensor, ...]
    output: Tensor


@contextlib.contextmanager
def watching(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Call]]:
    """Keep the last call of each module while inside; afterwards nobody looks on.

    Args:
        modules: name -> module.

    Yields:
        Name -> :class:`Call`, filled as the modules run.
    """
    seen: dict[str, Call] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            seen[name] = Call(inputs, output[0] if isinstance(output, tuple) else output)

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
