"""Exercises of notebook 02, The model, room by room."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dictco_lib.book.checks.checker import checker
from dictco_lib.book.inspect import rooms
from dictco_lib.config import ModelConfig
from dictco_lib.models import dictionary


@checker
def ex_02_1(answer: int, config: ModelConfig) -> str | None:
    """How many pixels across does a sample see after the second step of g_a?"""
    x = torch.rand(1, 3, 16, 512).requires_grad_()
    want = rooms.columns_seen(dictionary.analysis(config)[:3](x), x)
    if answer == want:
        return None
    if answer == 1 + 2 * (4 + 2 * config.residual_blocks):
        return f"{answer} would be right if a place were a pixel wide in both steps"
    return f"{answer} is not it; a kernel of k adds k - 1 times the pixels between its places"


@checker
def ex_02_2(answer: int, room: rooms.Room) -> str | None:
    """Are these the multiply-accumulates of a room?"""
    if answer == room.macs:
        return None
    if answer == 2 * room.macs:
        return f"{answer:,} are operations; a multiplication with its addition is one MAC"
    if answer == 4 * room.macs:
        return f"{answer:,} counts the places of the input; each sum belongs to one of the output"
    return f"{answer:,} is {answer / room.macs:.2f} times what was measured"


@checker
def ex_02_3(answer: Callable[..., Tensor]) -> str | None:
    """Does the function compute a mixture of dictionaries?"""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 8), (3, 4, 8), (3, 4, 8), (6, 3))
    q, keys, values, gates = (torch.randn(shape, generator=generator) for shape in shapes)
    gates = gates.softmax(-1)
    weights = torch.einsum("pd,knd->pkn", q, keys)

    def equals(right: Tensor, gates: Tensor) -> bool:
        want = torch.einsum("pk,pkn,knd->pd", gates, right, values)
        return got.shape == want.shape and torch.allclose(got, want, rtol=1e-4, atol=1e-5)

    got = answer(q, keys, values, gates)
    if equals(weights.softmax(-1), gates):
        return None
    if equals(weights.flatten(1).softmax(-1).unflatten(1, (3, 4)), gates):
        return "the softmax goes over all entries; each expert has one of its own"
    if equals(weights.softmax(-1), torch.ones_like(gates)):
        return "the gates are left out"
    return f"shape {tuple(got.shape)}, not the numbers of a loop over the {len(keys)} experts"


@checker
def ex_02_4(answer: ModelConfig, config: ModelConfig) -> str | None:
    """Does the shape decode with 80 % of the work and keep 90 % of the parameters?"""
    found, was = rooms.measure_rooms(answer), rooms.measure_rooms(config)
    work = rooms.total_macs(found, rooms.DECODER) / rooms.total_macs(was, rooms.DECODER)
    kept = sum(r.parameters for r in found) / sum(r.parameters for r in was)
    if work > 0.8:
        return f"it decodes with {work:.1%} of the MACs; look for rooms on large maps"
    if kept < 0.9:
        return f"{work:.1%} of the MACs, but only {kept:.1%} of the parameters are left"
    return None
