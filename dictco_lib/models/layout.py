"""How a member's tensors are called and laid out in its authors' checkpoints: data, on the pages.

Only one direction of names is written down, from ours to theirs; loading builds the model that
the tensors describe and looks every name of ours up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from dictco_lib.config import CodecConfig

#: A pattern and what replaces it.
Rule = tuple[str, str | Callable[[re.Match], str]]
SLICE = r"^latent_codec\.slices\.(\d+)\."


def skeleton(mean: str = "h_mean_s", scale: str = "h_scale_s") -> tuple[Rule, ...]:
    """What all members share; ``mean`` and ``scale`` are the names of the hyper-synthesis."""
    return (
        (SLICE + r"(mean|scale)\.", r"cc_\2_transforms.\1."),
        (SLICE + r"lrp\.", r"lrp_transforms.\1."),
        (r"^latent_codec\.h_a\.", "h_a."),
        (r"^latent_codec\.h_scale\.", f"{scale}."),
        (r"^latent_codec\.h_mean\.", f"{mean}."),
        (r"^latent_codec\.entropy_bottleneck\.", "entropy_bottleneck."),
        (r"^latent_codec\.gaussian\.", "gaussian_conditional."),
    )


def _nothing(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {}


def _always(config: CodecConfig) -> bool:
    return True


@dataclass(frozen=True)
class Layout:
    """The checkpoints of one member.

    ``marks`` are keys that tell it from all others; ``rules`` are applied in order. ``config``
    reads the numbers of a model off the tensors; ``fits`` says whether a configuration has a
    published form. ``bias``: the last part of the name of position biases, which are laid out as
    rows, ((2w - 1)**2, heads), with an index beside them, if ``has_rows``. ``aliases``: second
    names of tensors. ``constants``: what their files hold and ours need not, from the other keys.
    """

    name: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    config: Callable[[Sizes], CodecConfig]
    fits: Callable[[CodecConfig], bool] = _always
    has_rows: bool = True
    aliases: tuple[Rule, ...] = ()
    constants: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = _nothing

    def key(self, ours: str) -> str:
        """Their name of a tensor of ours."""
        for pattern, replacement in self.rules:
            ours = re.sub(pattern, replacement, ours)
        return ours

    def alias(self, theirs: str) -> str | None:
        """The second name of a tensor of theirs, if it has one."""
        for pattern, replacement in self.aliases:
            if re.match(pattern, theirs):
                return re.sub(pattern, replacement, theirs)
        return None

    def is_of(self, state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict is of this layout."""
        return all(mark in state for mark in self.marks)


class Sizes:
    """Reads the numbers of a configuration off the shapes of published tensors, by our names."""

    def __init__(self, state: Mapping[str, Tensor], layout: Layout) -> None:
        self.state, self.layout = state, layout

    def _find(self, ours: str) -> str:
        key = self.layout.key(ours)
        return key if key in self.state else self.layout.alias(key) or key

    def has(self, ours: str) -> bool:
        """Whether there is such a tensor."""
        return self._find(ours) in self.state

    def shape(self, ours: str) -> tuple[int, ...]:
        """Shape of a tensor; KeyError if it is missing."""
        return tuple(self.state[self._find(ours)].shape)

    def count(self, template: str) -> int:
        """How many tensors there are of ``template.format(0)``, ``template.format(1)``, ..."""
        return next(i for i in range(1000) if not self.has(template.format(i)))

    def common(self) -> dict:
        """``N``, ``M``, ``groups`` and ``parameter_widths``, which every member has."""
        slices = self.count("latent_codec.slices.{}.mean.0.weight")
        convs = next(
            i for i in range(9) if not self.has(f"latent_codec.slices.0.mean.{2 * i}.bias")
        )
        net = "latent_codec.slices.{}.mean.{}.weight"
        groups = tuple(self.shape(net.format(k, 2 * convs - 2))[0] for k in range(slices))
        return {
            "N": self.shape("latent_codec.entropy_bottleneck.quantiles")[0],
            "M": sum(groups),
            "groups": groups,
            "parameter_widths": tuple(
                self.shape(net.format(0, 2 * i))[0] for i in range(convs - 1)
            ),
        }

    def window_and_heads(self, ours: str) -> tuple[int, int]:
        """Side of the window and number of heads, from position biases."""
        shape = self.shape(ours)
        if self.layout.has_rows:
            return (round(shape[0] ** 0.5) + 1) // 2, shape[1]
        return (shape[1] + 1) // 2, shape[0]

    def seen(self, side: int, groups: tuple[int, ...]) -> int:
        """How many of the first slices the last one sees, beside ``side`` channels.

        Raises:
            LookupError: if that is no whole number of slices.
        """
        last = f"latent_codec.slices.{len(groups) - 1}.mean.0.weight"
        channels = self.shape(last)[1] - side
        for n in range(len(groups)):
            if sum(groups[:n]) == channels:
                return n
        raise LookupError(f"{last} sees {channels} channels of earlier slices, which no few have")
