"""The experts: their maps, and what happens when the router is overruled."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dictco_lib.errors import OptionError
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.routing import gate_entropy

#: Changes gates (B, H, W, K) that add up to 1 over the experts into others that do.
Rule = Callable[[Tensor], Tensor]


@contextlib.contextmanager
def rerouted(
    model: DictionaryCodec, rule: Rule, slices: list[int] | None = None
) -> Iterator[DictionaryCodec]:
    """Overrule the router of some slices while inside.

    Files that are coded inside can only be decoded inside, with the same rule.

    Args:
        model: a mixture.
        rule: what to do to the gates: :func:`uniform`, :func:`averaged`, :func:`only`,
            :func:`without`, :func:`swapped`, :func:`shuffled`, :func:`sharpened`, or your own.
        slices: which slices; all if left out.
    """
    heads = model.latent_codec.slices
    chosen = [heads[k].attention for k in (range(len(heads)) if slices is None else slices)]
    before = [attention.reroute for attention in chosen]
    try:
        for attention in chosen:
            attention.reroute = rule
        yield model
    finally:
        for attention, old in zip(chosen, before, strict=True):
            attention.reroute = old


def uniform(gates: Tensor) -> Tensor:
    """Every expert counts alike, everywhere."""
    return torch.full_like(gates, 1 / gates.shape[-1])


def averaged(gates: Tensor) -> Tensor:
    """Everywhere the mean gates of the image: the same load, no map left."""
    return gates.mean((1, 2), keepdim=True).expand_as(gates)


def only(expert: int) -> Rule:
    """One expert decides everywhere."""

    def rule(gates: Tensor) -> Tensor:
        forced = torch.zeros_like(gates)
        forced[..., expert] = 1
        return forced

    return rule


def without(expert: int) -> Rule:
    """One of several experts is gone; the others share its part as they stand, or alike."""

    def rule(gates: Tensor) -> Tensor:
        rest, alike = gates.clone(), torch.full_like(gates, 1 / (gates.shape[-1] - 1))
        rest[..., expert] = alike[..., expert] = 0
        total = rest.sum(-1, keepdim=True)
        return torch.where(total > 0, rest / total.clamp(min=1e-30), alike)

    return rule


def swapped(a: int, b: int) -> Rule:
    """Two experts take each other's places."""

    def rule(gates: Tensor) -> Tensor:
        order = list(range(gates.shape[-1]))
        order[a], order[b] = b, a
        return gates[..., order]

    return rule


def shuffled(seed: int = 0) -> Rule:
    """Each place gets the gates of another place: the same load, the map destroyed."""

    def rule(gates: Tensor) -> Tensor:
        b, height, width, k = gates.shape
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(height * width, generator=generator).to(gates.device)
        return gates.reshape(b, -1, k)[:, order].reshape(b, height, width, k)

    return rule


def sharpened(power: float) -> Rule:
    """Gates to a power, and scaled to add up to 1 again.

    A power of 0 is :func:`uniform`, 1 changes nothing, infinity leaves the winner alone.
    """

    def rule(gates: Tensor) -> Tensor:
        if math.isinf(power):
            return F.one_hot(gates.argmax(-1), gates.shape[-1]).to(gates)
        raised = (gates / gates.amax(-1, keepdim=True)) ** power  # no underflow to 0 / 0
        return raised / raised.sum(-1, keepdim=True)

    return rule


def given(experts: Tensor) -> Rule:
    """One expert for each place, chosen from outside.

    Args:
        experts: numbers of experts, shape (H/16, W/16).
    """

    def rule(gates: Tensor) -> Tensor:
        return F.one_hot(experts, gates.shape[-1]).to(gates).expand_as(gates)

    return rule


#: Rules by name; the numbers are those of experts.
_NAMED: dict[str, Callable[..., Rule]] = {
    "uniform": lambda: uniform,
    "averaged": lambda: averaged,
    "shuffled": shuffled,
    "only": only,
    "without": without,
    "swapped": swapped,
}


def rule_named(text: str, experts: int) -> Rule:
    """The rule that a text like ``uniform``, ``only:2`` or ``swapped:0:1`` asks for.

    Args:
        text: a name and its numbers, with colons in between.
        experts: how many there are.

    Raises:
        OptionError: if there is no such rule or no such expert.
    """
    name, *numbers = text.split(":")
    known = "uniform, averaged, shuffled, only:K, without:K, swapped:K:K"
    wanted = {"only": 1, "without": 1, "swapped": 2}.get(name, 0)
    if name not in _NAMED or len(numbers) != wanted:
        raise OptionError(f"no gates {text!r}; choose one of {known}")
    if not all(n.isdecimal() and int(n) < experts for n in numbers):
        raise OptionError(f"gates {text!r}: the experts of this model are 0 to {experts - 1}")
    return _NAMED[name](*map(int, numbers))


def choice_bits(gates: Sequence[Tensor]) -> float:
    """How much the place tells about the expert, in bits: entropy of the load - mean entropy.

    This is the mutual information of place and expert: 0 if the gates are the same everywhere,
    up to log2(K) if every place chooses one expert and all are chosen alike.

    Args:
        gates: maps of one slice, one per image, each (K, H, W).
    """
    places = torch.cat([torch.as_tensor(g).flatten(1) for g in gates], dim=1)  # (K, places)
    load = places.mean(1)
    return (gate_entropy(load[:, None, None]) - gate_entropy(places[..., None]).mean()).item()
