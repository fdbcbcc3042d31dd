"""Right and wrong answers to the exercises, a module for each notebook.

Each module has a dictionary ``EXERCISES``: name of a checker -> an :class:`Exercise`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import dictco_lib
from dictco_lib.coding import encode


class World:
    """What the answers are about, made when it is first asked for."""

    @cached_property
    def model(self):
        return dictco_lib.load("classroom").requires_grad_(False)

    @cached_property
    def photo(self) -> np.ndarray:
        """(128, 192, 3) uint8."""
        from skimage import data

        return np.ascontiguousarray(data.coffee()[100:228, 200:392])

    @cached_property
    def other(self) -> np.ndarray:
        """Another photo of the same size."""
        from skimage import data

        return np.ascontiguousarray(data.astronaut()[100:228, 200:392])

    @cached_property
    def file(self):
        return encode(self.model, self.photo, 60)


#: The only one, so that what is expensive is made once.
WORLD = World()


@dataclass(frozen=True)
class Exercise:
    """Answers to one exercise.

    Args:
        right: functions of the context, each of which gives a right answer.
        wrong: what is wrong -> a function of the context that gives the answer, and words that
            must be in what the checker says.
        context: function of the world; what the checker is given beside the answer.
    """

    right: Sequence[Callable]
    wrong: Mapping[str, tuple[Callable, str]]
    context: Callable[[World], tuple] = lambda world: ()
