"""Looking on, and stepping in, while a model runs: hooks, hung in and taken out together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@contextlib.contextmanager
def hooked(
    modules: Mapping[Hashable, nn.Module],
    *,
    before: Callable[[Any, tuple], tuple | None] | None = None,
    after: Callable[[Any, tuple, Any], Any] | None = None,
) -> Iterator[None]:
    """Let functions see, and change, what modules get and give; afterwards nobody looks on.

    Args:
        modules: key -> module.
        before: (key, inputs) -> inputs in their place, or None to leave them.
        after: (key, inputs, output) -> output in its place, or None to leave it.
    """
    with contextlib.ExitStack() as stack:
        for key, module in modules.items():
            if before:
                hook = _bound(before, key)
                stack.enter_context(module.register_forward_pre_hook(hook))
            if after:
                stack.enter_context(module.register_forward_hook(_bound(after, key)))
        yield


def _bound(function: Callable, key: Hashable) -> Callable:
    """A function of a key as torch calls hooks: with the module, which is known by its key."""
    return lambda module, *found: function(key, *found)


@dataclass(frozen=True)
class Call:
    """One call of a module: its inputs, and the first tensor of its output."""

    inputs: tuple[Tensor, ...]
    output: Tensor


@contextlib.contextmanager
def watching(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Call]]:
    """Keep the last call of each module while inside.

    Args:
        modules: name -> module.

    Yields:
        Name -> :class:`Call`, filled as the modules run.
    """
    seen: dict[str, Call] = {}

    def keep(name: str, inputs: tuple, output: Tensor | tuple) -> None:
        seen[name] = Call(inputs, first_tensor(output))

    with hooked(modules, after=keep):
        yield seen


def first_tensor(output: Tensor | tuple) -> Tensor:
    """What a module hands on, or the first of several things."""
    return output[0] if isinstance(output, tuple) else output
