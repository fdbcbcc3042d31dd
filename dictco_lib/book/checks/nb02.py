"""Exercises of notebook 02, The model, room by room."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dictco_lib.book.checks.checker import called, checker, number, slip, whole
from dictco_lib.book.inspect import rooms
from dictco_lib.config import ModelConfig
from dictco_lib.models import dictionary


@checker
def ex_02_1(answer: int, config: ModelConfig) -> str | None:
    """How many pixels across does a sample see after the second step of g_a?"""
    answer = whole(answer)
    x = torch.rand(1, 3, 16, 512).requires_grad_()
    want = rooms.columns_seen(dictionary.analysis(config)[:3](x), x)
    small = 2 * config.residual_blocks  # what the kernels of 3 of a step add, in its own places
    slips = {
        f"{answer} would be right if a place were a pixel wide in both steps": 9 + 2 * small,
        f"{answer} is without the bottlenecks; each has a kernel of 3": 1 + 4 + 8,
        "a bottleneck runs behind the convolution that halves: its places are wider than that": (
            1 + 4 + small + 2 * 4 + 2 * small
        ),
        f"{answer} begins with 0; a sample sees at least the pixel it stands on": want - 1,
        f"{answer} is to one side only; a kernel of 3 adds a place on each side": 1 + want // 2,
        f"{answer} is after the first step; there are two": 1 + 4 + 2 * small,
    }
    if answer == want:
        return None
    return slip(answer, slips, 0) or (
        f"{answer} is not it; a kernel of k adds k - 1 times the pixels between its places"
    )


@checker
def ex_02_2(answer: int, room: rooms.Room) -> str | None:
    """Are these the multiply-accumulates of a room, the first one of g_a?"""
    answer = number(answer)
    channels, height, width = room.shape
    places, inner = height * width, channels // 2
    convolution = places * channels * 3 * 25
    bottleneck = places * (2 * channels * inner + 9 * inner**2)
    slips = {
        f"{answer:,.0f} are operations; a multiplication with its addition is one MAC": (
            2 * room.macs
        ),
        "that counts the places of the input; each sum belongs to one of the output": 4 * room.macs,
        "that is the convolution alone; two bottlenecks follow": convolution,
        "that is with one bottleneck; there are two": convolution + bottleneck,
        "that is without the convolution": 2 * bottleneck,
        "that is for one place; the output has many": room.macs / places,
        "those are the parameters, biases and all; each weight is used at every place": (
            room.parameters
        ),
    }
    if answer == room.macs:
        return None
    return slip(answer, slips, 1e-9) or (
        f"{answer:,.0f} is {answer / room.macs:.4g} times what was measured"
    )


@checker
def ex_02_3(answer: Callable[..., Tensor]) -> str | None:
    """Does the function compute a mixture of dictionaries?"""
    for places, experts, entries, dim in ((6, 3, 4, 8), (5, 2, 7, 4)):
        generator = torch.Generator().manual_seed(0)
        shapes = ((places, dim), (experts, entries, dim), (experts, entries, dim))
        q, keys, values = (torch.randn(shape, generator=generator) for shape in shapes)
        gates = torch.randn(places, experts, generator=generator).softmax(-1)
        given = [t.clone() for t in (q, keys, values, gates)]  # it may write on what it gets
        got = called(answer, "a function of (q, keys, values, gates)", *given)
        if complaint := _differs(got, q, keys, values, gates):
            return complaint
    return None


def _differs(got: object, q: Tensor, keys: Tensor, values: Tensor, gates: Tensor) -> str | None:
    """Why this is not the mixture of these tensors; None if it is."""
    if not isinstance(got, Tensor) or got.shape != q.shape:
        told = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return f"expected a tensor of shape {tuple(q.shape)}, one row a query, got {told}"
    scores = torch.einsum("pd,knd->pkn", q, keys)
    alone, even = scores.softmax(-1), torch.full_like(gates, 1 / len(keys))
    together = scores.flatten(1).softmax(-1).unflatten(1, keys.shape[:2])
    slips = {
        "": (alone, gates),
        "the softmax goes over all entries; each expert has one of its own": (together, gates),
        "the gates are left out": (alone, torch.ones_like(gates)),
        "all experts count alike; the gates say how much each one counts": (alone, even),
        "scores are no weights yet: a softmax makes them so": (scores, gates),
        "the softmax goes over the experts; it belongs to the entries of each one": (
            scores.softmax(1), gates,
        ),
    }  # fmt: skip
    for hint, (weights, by) in slips.items():
        if torch.allclose(
            got, torch.einsum("pk,pkn,knd->pd", by, weights, values), rtol=1e-4, atol=1e-5
        ):
            return hint or None
    return f"not the numbers of a loop over the {len(keys)} experts"


@checker
def ex_02_4(answer: ModelConfig, config: ModelConfig) -> str | None:
    """Does the shape decode with 80 % of the work and keep 90 % of the parameters?"""
    if not isinstance(answer, ModelConfig):
        return f"expected a ModelConfig, as replace(CLASSROOM, ...) gives, got {answer!r:.40}"
    found, was = rooms.measure_rooms(answer), rooms.measure_rooms(config)
    work = rooms.total_macs(found, rooms.DECODER) / rooms.total_macs(was, rooms.DECODER)
    kept = sum(r.parameters for r in found) / sum(r.parameters for r in was)
    if work > 0.8:
        way = "that is more than before; " if work > 1 else ""
        return f"it decodes with {work:.1%} of the MACs; {way}look for rooms on large maps"
    if kept < 0.9:
        return (
            f"{work:.1%} of the MACs, but only {kept:.1%} of the parameters are left; "
            "the entropy model has most of them"
        )
    return None
