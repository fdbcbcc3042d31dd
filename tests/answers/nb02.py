"""Answers to the exercises of notebook 02."""

from __future__ import annotations

from dataclasses import replace

import torch

from answers import Exercise
from dictco_lib.book.inspect.rooms import measure_rooms
from dictco_lib.config import CLASSROOM, NANO

FOUR = replace(CLASSROOM, residual_blocks=4)


def mixture(q, keys, values, gates):
    """A loop over the experts, as the exercise wants to be rid of."""
    parts = [(q @ k.T).softmax(-1) @ v for k, v in zip(keys, values, strict=True)]
    return sum(gates[:, e, None] * part for e, part in enumerate(parts))


def in_one_product(q, keys, values, gates):
    weights = (q @ keys.flatten(0, 1).T).unflatten(1, keys.shape[:2]).softmax(-1)
    return (weights * gates[:, :, None]).flatten(1) @ values.flatten(0, 1)


def one_softmax(q, keys, values, gates):
    weights = (q @ keys.flatten(0, 1).T).softmax(-1).unflatten(1, keys.shape[:2])
    return (weights * gates[:, :, None]).flatten(1) @ values.flatten(0, 1)


def over_experts(q, keys, values, gates):
    weights = (q @ keys.flatten(0, 1).T).unflatten(1, keys.shape[:2]).softmax(1)
    return (weights * gates[:, :, None]).flatten(1) @ values.flatten(0, 1)


def no_softmax(q, keys, values, gates):
    weights = (q @ keys.flatten(0, 1).T).unflatten(1, keys.shape[:2])
    return (weights * gates[:, :, None]).flatten(1) @ values.flatten(0, 1)


def fixed_sizes(q, keys, values, gates):
    weights = (q @ keys.reshape(12, 8).T).unflatten(1, (3, 4)).softmax(-1)
    return (weights * gates[:, :, None]).flatten(1) @ values.reshape(12, 8)


def writes_on_gates(q, keys, values, gates):
    return mixture(q, keys, values, gates.fill_(1))


EXERCISES = {
    "ex_02_1": Exercise(
        context=lambda w: (FOUR,),
        right=[lambda c: 61, lambda c: 61.0],
        wrong={
            "a place is a pixel": (lambda c: 25, "a pixel wide in both steps"),
            "only the convolutions": (lambda c: 13, "without the bottlenecks"),
            "bottlenecks before the halving": (lambda c: 37, "behind the convolution"),
            "from 0": (lambda c: 60, "begins with 0"),
            "to one side": (lambda c: 31, "one side only"),
            "after the first step": (lambda c: 21, "there are two"),
            "a fraction": (lambda c: 61.5, "whole number"),
            "no idea": (lambda c: 100, "is not it"),
        },
    ),
    "ex_02_2": Exercise(
        context=lambda w: (measure_rooms(CLASSROOM)[0],),
        right=[
            lambda r: 256 * 384 * (32 * 3 * 25 + 2 * (32 * 16 + 16 * 16 * 9 + 16 * 32)),
            lambda r: float(r.macs),
        ],
        wrong={
            "operations": (lambda r: 2 * r.macs, "are operations"),
            "places of the input": (lambda r: 4 * r.macs, "places of the input"),
            "the convolution alone": (lambda r: 256 * 384 * 2400, "two bottlenecks follow"),
            "one bottleneck": (lambda r: 256 * 384 * (2400 + 3328), "there are two"),
            "no convolution": (lambda r: 256 * 384 * 2 * 3328, "without the convolution"),
            "one place": (lambda r: 2400 + 2 * 3328, "for one place"),
            "parameters": (lambda r: r.parameters, "the parameters"),
            "one more": (lambda r: r.macs + 1, "times what was measured"),
        },
    ),
    "ex_02_3": Exercise(
        right=[lambda: mixture, lambda: in_one_product],
        wrong={
            "one softmax": (lambda: one_softmax, "over all entries"),
            "over experts": (lambda: over_experts, "over the experts"),
            "writes on gates": (lambda: writes_on_gates, "left out"),
            "no softmax": (lambda: no_softmax, "scores are no weights"),
            "no gates": (lambda: lambda q, k, v, g: mixture(q, k, v, 0 * g + 1), "left out"),
            "mean": (lambda: lambda q, k, v, g: mixture(q, k, v, 0 * g + 1 / len(k)), "alike"),
            "turned": (lambda: lambda *a: mixture(*a).T, "expected a tensor of shape"),
            "queries": (lambda: lambda q, k, v, g: q, "not the numbers"),
            "no return": (lambda: lambda q, k, v, g: None, "returns nothing"),
            "called": (
                lambda: mixture(
                    torch.rand(6, 8), torch.rand(3, 4, 8), torch.rand(3, 4, 8), torch.rand(6, 3)
                ),
                "do not call it",
            ),
            "sizes of the example": (lambda: fixed_sizes, "your function fails"),
        },
    ),
    "ex_02_4": Exercise(
        context=lambda w: (CLASSROOM,),
        right=[lambda c: replace(CLASSROOM, widths=(16, 48, 144), blocks=(0, 0, 1))],
        wrong={
            "as it was": (lambda c: CLASSROOM, "look for rooms on large maps"),
            "larger": (lambda c: replace(CLASSROOM, residual_blocks=4), "more than before"),
            "too small": (lambda c: NANO, "of the parameters are left"),
            "narrow everywhere": (
                lambda c: replace(CLASSROOM, parameter_widths=(16, 16), widths=(16, 48, 144)),
                "of the parameters are left",
            ),
            "a name": (lambda c: "nano", "expected a ModelConfig"),
        },
    ),
}
