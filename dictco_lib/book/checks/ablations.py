"""Exercises of the page Ablations."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable

import torch
from torch import nn

from dictco_lib.book.checks.checker import (
    PERCENT,
    Complaint,
    called,
    checker,
    number,
    slip,
    whole,
)
from dictco_lib.book.inspect.ablations import Means, switched_off
from dictco_lib.book.inspect.routing import only, rerouted
from dictco_lib.evaluation.estimate import estimate
from dictco_lib.images import ImageData


@checker
def ex_ablations_1(answer: float, first: float, second: float) -> str | None:
    """What do two parts cost together, in percent, if neither minds the other?"""
    answer, factor = number(answer), (1 + first / 100) * (1 + second / 100)
    want = 100 * (factor - 1)
    slips = {
        f"{answer:g} % adds percentages, but they are factors: of what is the second one?": (
            first + second
        ),
        "that is the factor on the rate; the question is for the cost in percent": factor,
        "that is what is left of 100 % and more; a cost begins at 0": 100 * factor,
        "that is a share; in percent it is a hundred times more": factor - 1,
        "that is one cost of the other one, and the parts themselves?": first * second / 100,
        "costs do not average: both parts are off": (first + second) / 2,
    }
    if abs(answer - want) <= 0.05:
        return None
    return slip(answer, slips, 1e-3) or f"{answer:g} % is not it; write both as factors of the rate"


@checker
def ex_ablations_2(answer: Callable) -> str | None:
    """Does the hook put the mean over the places in the place of a map?"""
    if not callable(answer):
        return "expected a function of (module, args, output); give it, do not call it"
    module, x = nn.Conv2d(2, 3, 1), torch.rand(2, 2, 4, 5)
    with torch.no_grad():
        out = module(x)
        with module.register_forward_hook(answer):
            got = called(module, "a hook", x)
    if not isinstance(got, torch.Tensor):
        return f"a map became a {type(got).__name__}; return a tensor"
    if torch.equal(got, out):
        return "the output is as it was: a hook must return what stands in for it"
    if got.shape != out.shape:
        return f"a map of shape {tuple(out.shape)} became {tuple(got.shape)}; see Tensor.expand_as"
    slips = {
        None: (2, 3),
        "that is the mean over everything; each image and channel has its own": (0, 1, 2, 3),
        "that is the mean over the channels; take it over height and width": (1,),
        "that mixes the images of a batch; each has a mean of its own": (0, 2, 3),
        "that is the mean over the height alone; take the width as well": (2,),
        "that is the mean over the width alone; take the height as well": (3,),
    }
    for hint, over in slips.items():
        if torch.allclose(got, out.mean(over, keepdim=True).expand_as(out), atol=1e-6):
            return hint
    return "not the mean over height and width, for each image and channel by itself"


def _bits(model, image: ImageData, quality: float) -> float:
    return estimate(model, [image], quality)[0].bits


@checker
def ex_ablations_3(
    answer: tuple[str, str], model, image: ImageData, means: Means, quality: float
) -> str | None:
    """Which two parts cost least together, held against the product of what each costs alone?"""
    parts = ("dictionary", "LRP", "hyperprior", "slices")
    names = set(answer) & set(parts) if isinstance(answer, tuple | list | set) else set()
    if len(names) != 2 or len(answer) != 2:
        return f"expected two different names of {', '.join(parts)}"
    intact = _bits(model, image, quality)

    def factor(*off: str) -> float:
        with switched_off(model, off, means):
            return _bits(model, image, quality) / intact

    alone = {part: factor(part) for part in parts}
    pairs = {frozenset(pair): factor(*pair) for pair in itertools.combinations(parts, 2)}
    ratios = {pair: cost / math.prod(alone[p] for p in pair) for pair, cost in pairs.items()}
    mine = frozenset(names)
    if ratios[mine] == min(ratios.values()):
        return None
    hint = f"together they cost {ratios[mine]:.3f} times the product; another pair has less"
    if pairs[mine] == min(pairs.values()):
        return f"{hint}: they cost the fewest bits, but that is what the product says too"
    return hint


@checker
def ex_ablations_4(answer: float, macs: dict[str, int], k: int, experts: int) -> str | None:
    """Which share of all arithmetic could top-k routing save, at the very best?"""
    answer, share = number(answer), macs["dictionaries"] / sum(macs.values())
    want = share * (1 - k / experts)
    slips = {
        PERCENT: 100 * want,
        "not all of it: the experts that were chosen are still computed": share,
        "that is in percent, and not all of it: the experts that were chosen are computed": (
            100 * share
        ),
        "that is what remains of the dictionaries' share; the rest is saved": share * k / experts,
        "that is the share of the dictionaries' own products; of *all* arithmetic it is less": (
            1 - k / experts
        ),
        "that is what is left of all arithmetic; the question is what is saved": 1 - want,
        "those are operations; divide by all of them": want * sum(macs.values()),
    }
    if abs(answer - want) <= 0.01 * want:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:.4f} is not it; which part gets smaller, and by how much?"
    )


@checker
def ex_ablations_5(answer: list[int], model, image: ImageData, quality: float) -> str | None:
    """Does one expert per slice cost less than the best single number for all slices?"""

    def forced(experts: list[int]) -> float:
        with contextlib.ExitStack() as stack:
            for k, expert in enumerate(experts):
                stack.enter_context(rerouted(model, only(expert), [k]))
            return _bits(model, image, quality)

    slices, experts = len(model.config.groups), model.config.experts
    expected = f"expected {slices} numbers from 0 to {experts - 1}, one expert a slice"
    if not hasattr(answer, "__len__") or len(answer) != slices:
        return expected
    try:
        chosen = [whole(expert, experts) for expert in answer]
    except Complaint as found:
        return f"{expected}; {found}"
    best, got = min(forced([e] * slices) for e in range(experts)), forced(chosen)
    if got >= best:
        alike = "; yours is the same one everywhere" if len(set(chosen)) == 1 else ""
        return f"{got:.0f} bits; the same expert for all slices can do with {best:.0f}{alike}"
    return None
