"""Exercises of the page The experts."""

from __future__ import annotations

import math

import numpy as np
import torch

from dictco_lib.book.checks.checker import called, checker, number, slip
from dictco_lib.book.inspect.outcome import Subject, measure, prepare
from dictco_lib.book.inspect.routing import Rule, choice_bits, rerouted


@checker
def ex_experts_1(answer: float, gates: list[float]) -> str | None:
    """How many experts are in use at a place with these gates?"""
    answer = number(answer)
    entropy = -sum(g * math.log2(g) for g in gates if g)
    nats = entropy * math.log(2)
    slips = {
        f"{answer:.2f} is the entropy in bits; so many bits choose among how many?": entropy,
        f"{answer:.2f} is the entropy in nats; so many nats choose among how many?": nats,
        "2 to the power of *nats*: take log2 with 2, or log with e": 2**nats,
        "the sign of the entropy is wrong: -sum of g * log2(g)": 2**-entropy,
        f"{answer:g} is not it: they are there, but not all used alike": len(gates),
        f"{answer:g} is not it: one has the most, but the others have a say too": 1,
        "that is 1 over the sum of squares, another count; here 2**entropy is asked for": (
            1 / sum(g * g for g in gates)
        ),
    }
    if abs(answer - 2**entropy) <= 0.01:
        return None
    return slip(answer, slips, 1e-3) or (
        f"{answer:.2f} is not it; 2 to the power of the entropy in bits"
    )


@checker
def ex_experts_2(answer: float, model, pixels: np.ndarray, k: int) -> str | None:
    """How much more does a place tell about the expert of slice k at quality 100 than at 0?"""
    answer = number(answer)
    low, high = (
        choice_bits([measure(model, prepare(model, pixels, quality)).gates[k]])
        for quality in (0, 100)
    )
    if abs(answer - (high - low)) <= 0.005:
        return None
    slips = {
        "the sign is wrong: take quality 100 minus quality 0": low - high,
        "that is what a place tells at quality 100; how much *more* is it than at 0?": high,
        "that is what a place tells at quality 0; how much more is it at 100?": low,
        "that is how many times as much; the question is for a difference in bits": high / low,
    }
    for hint, value in slips.items():
        if abs(answer - value) <= 0.005:
            return hint
    return f"{answer:.3f} bits is not it; prepare and measure the photo at both qualities"


@checker
def ex_experts_3(answer: Rule) -> str | None:
    """Does the rule keep the two largest gates of each place, in their proportion?"""
    gates = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    got = called(answer, "a function of gates", gates.clone())
    if not isinstance(got, torch.Tensor) or got.shape != gates.shape:
        told = tuple(got.shape) if isinstance(got, torch.Tensor) else type(got).__name__
        return f"expected new gates of shape {tuple(gates.shape)}, got {told}"
    if not torch.allclose(got.sum(-1), torch.ones(2, 3, 5)):
        return "the new gates do not add up to 1 over the experts; scale them"
    left = (got > 0).sum(-1)
    if bool((left == 1).all()):
        return "one expert a place, the winner alone; two are to stay"
    if not bool((left == 2).all()):
        return "not two experts a place: all others get a gate of 0"
    kept = gates.where(gates >= gates.topk(2, -1).values[..., 1:], 0)
    if torch.allclose(got, kept / kept.sum(-1, keepdim=True)):
        return None
    if bool(((got > 0) == (kept > 0)).all()):
        return "the right two, but not in their old proportion: divide both by their sum"
    return "two experts a place, but not the largest ones"


@checker
def ex_experts_4(answer: torch.Tensor, model, subject: Subject, k: int) -> str | None:
    """Do these gates (h, w, K) save 4 % of the bits of slice k against the router's?"""
    gates = torch.as_tensor(answer).detach()
    height, width = subject.y.shape[2:]
    if gates.shape != (shape := (height, width, model.config.experts)):
        return f"expected gates of shape {shape}, got {tuple(gates.shape)}"
    if not gates.is_floating_point() or not bool(torch.isfinite(gates).all()):
        return "these are no gates: some are not finite numbers; did the descent run away?"
    if bool((gates < 0).any()) or not torch.allclose(gates.sum(-1), gates.new_ones(height, width)):
        return "gates are not negative and add up to 1 over the experts; a softmax makes them so"
    before = measure(model, subject).y_bits[k].sum()
    with rerouted(model, lambda old: gates.to(old).expand_as(old), [k]):
        saved = 1 - measure(model, subject).y_bits[k].sum() / before
    if saved >= 0.04:
        return None
    why = "; that is worse than the router" if saved < -1e-4 else "; more steps of the descent"
    return f"that saves {saved:.1%} of slice {k}; 4 % were asked for{why}"
