"""Answers to the exercises of the page The model (3)."""

from __future__ import annotations

import torch

from answers import Exercise
from dictco_lib.config import CLASSROOM


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


def window_of(place, window):
    return tuple((i + window // 2) // window for i in place)


def shifted(p, q, window):
    return window_of(p, window) == window_of(q, window)


def plain(p, q, window):
    return all(i // window == j // window for i, j in zip(p, q, strict=True))


def one_of_two(p, q, window):
    a, b = window_of(p, window), window_of(q, window)
    return a[0] == b[0] or a[1] == b[1]


def rows_alone(p, q, window):
    return window_of(p, window)[0] == window_of(q, window)[0]


def near(p, q, window):
    return max(abs(p[0] - q[0]), abs(p[1] - q[1])) <= window // 2


def touching(p, q, window):
    a, b = window_of(p, window), window_of(q, window)
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= 1


def scores(q, keys):
    return torch.einsum("pd,knd->pkn", q, keys)


def shares(q, keys):
    return scores(q, keys).logsumexp(-1).softmax(-1)


def summed(q, keys):
    whole = (q @ keys.flatten(0, 1).T).softmax(-1)
    return whole.unflatten(1, keys.shape[:2]).sum(-1)


EXERCISES = {
    "ex_model_attention_1": Exercise(
        context=lambda w: (CLASSROOM, (512, 768)),
        right=[lambda c, size: 96, lambda c, size: 64 * 96 / 64],
        wrong={
            "turned around": (lambda c, size: 1 / 96, "turned around"),
            "side": (lambda c, size: 64 * 96 / 8, "its side squared"),
            "places": (lambda c, size: 64 * 96, "on the whole map"),
            "in a window": (lambda c, size: 64, "in a window"),
            "whole map": (lambda c, size: 6144**2, "for the whole map"),
            "windows": (lambda c, size: 6144 * 64, "windows alone"),
            "no idea": (lambda c, size: 100, "times that factor"),
        },
    ),
    "ex_model_attention_2": Exercise(
        right=[lambda: shifted, lambda: lambda p, q, w: torch.tensor(shifted(p, q, w))],
        wrong={
            "plain": (lambda: plain, "of a plain block"),
            "touching": (lambda: touching, "windows touch"),
            "distance": (lambda: near, "not about distance"),
            "one of two": (lambda: one_of_two, "both rows and columns"),
            "not": (lambda: lambda *a: not shifted(*a), "turned around"),
            "rows alone": (lambda: rows_alone, "do not share a window"),
            "always": (lambda: lambda *a: True, "do not share a window"),
            "fails": (lambda: lambda p: True, "your function fails"),
        },
    ),
    "ex_model_attention_3": Exercise(
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
    "ex_model_attention_4": Exercise(
        right=[lambda: shares, lambda: summed],
        wrong={
            "sums": (lambda: lambda q, k: scores(q, k).exp().sum(-1), "before they are divided"),
            "logarithms": (lambda: lambda q, k: scores(q, k).logsumexp(-1), "softmax is missing"),
            "means": (lambda: lambda q, k: scores(q, k).mean(-1).softmax(-1), "the mean of"),
            "sum of scores": (lambda: lambda q, k: scores(q, k).sum(-1).softmax(-1), "the sum of"),
            "best": (lambda: lambda q, k: scores(q, k).amax(-1).softmax(-1), "the best entry"),
            "even": (lambda: lambda q, k: torch.full((6, 3), 1 / 3), "ignore the query"),
            "entries": (lambda: lambda q, k: scores(q, k), "expected a tensor of shape (6, 3)"),
            "no shares": (lambda: lambda q, k: 2 * shares(q, k), "add up to 1"),
            "something": (
                lambda: lambda q, k: torch.eye(3).repeat(2, 1),
                "differs from one softmax",
            ),
        },
    ),
}
