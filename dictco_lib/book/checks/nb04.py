"""Exercises of notebook 04, The experts."""

from __future__ import annotations

import math

import numpy as np
import torch

from dictco_lib.book.checks.checker import checker
from dictco_lib.book.inspect.outcome import Subject, measure, prepare
from dictco_lib.book.inspect.routing import Rule, choice_bits, rerouted


@checker
def ex_04_1(answer: float, gates: list[float]) -> str | None:
    """How many experts are in use at a place with these gates?"""
    entropy = -sum(g * math.log2(g) for g in gates if g)
    if abs(answer - entropy) < 0.005:
        return f"{answer:.2f} is the entropy in bits; so many bits choose among how many?"
    if abs(answer - 2**entropy) > 0.01:
        return f"{answer:.2f} is not it; 2 to the power of the entropy in bits"
    return None


@checker
def ex_04_2(answer: float, model, pixels: np.ndarray, k: int) -> str | None:
    """How much more does a place tell about the expert of slice k at quality 100 than at 0?"""
    low, high = (
        choice_bits([measure(model, prepare(model, pixels, quality)).gates[k]])
        for quality in (0, 100)
    )
    if abs(answer - (high - low)) <= 0.005:
        return None
    if abs(answer + (high - low)) <= 0.005:
        return "the sign is wrong: take quality 100 minus quality 0"
    return f"{answer:.3f} bits is not it; prepare and measure the photo at both qualities"


@checker
def ex_04_3(answer: Rule) -> str | None:
    """Does the rule keep the two largest gates of each place, in their proportion?"""
    gates = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    got = answer(gates.clone())
    if got.shape != gates.shape or not torch.allclose(got.sum(-1), torch.ones(2, 3, 5)):
        return "the new gates do not add up to 1 over the experts; scale them"
    if not bool(((got > 0).sum(-1) == 2).all()):
        return "not two experts a place: all others get a gate of 0"
    kept = gates.where(gates >= gates.topk(2, -1).values[..., 1:], 0)
    if not torch.allclose(got, kept / kept.sum(-1, keepdim=True)):
        return "two experts a place, but not the largest ones in their old proportion"
    return None


@checker
def ex_04_4(answer: torch.Tensor, model, subject: Subject, k: int) -> str | None:
    """Do these gates (h, w, K) save 4 % of the bits of slice k against the router's?"""
    gates = torch.as_tensor(answer).detach()
    if bool((gates < 0).any()) or not torch.allclose(gates.sum(-1), torch.ones(gates.shape[:2])):
        return "gates are not negative and add up to 1 over the experts; a softmax makes them so"
    before = measure(model, subject).y_bits[k].sum()
    with rerouted(model, lambda old: gates.to(old).expand_as(old), [k]):
        saved = 1 - measure(model, subject).y_bits[k].sum() / before
    return None if saved >= 0.04 else f"that saves {saved:.1%} of slice {k}; 4 % were asked for"
