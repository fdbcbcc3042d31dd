"""Exercises of the page The model (3): window attention and the dictionary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dictco_lib.book.checks.checker import called, checker, number, slip
from dictco_lib.config import ModelConfig

_STRIDE = 8  # pixels per place, where the exercise asks


@checker
def ex_model_attention_1(answer: float, config: ModelConfig, size: tuple[int, int]) -> str | None:
    """By which factor do windows save scores against attention over a whole map at stride 8?"""
    answer = number(answer)
    height, width = size
    places, window = height * width // _STRIDE**2, config.window**2
    want = places / window
    slips = {
        "turned around: how many times as many does the whole map need?": 1 / want,
        "a window has as many places as its side squared": places / config.window,
        "so many does each place ask on the whole map; how many in a window?": places,
        "those are the places that each one asks in a window": window,
        "that is for the whole map; windows are compared with it": places**2,
        "that is for the windows alone; compare with the whole map": places * window,
    }
    if answer == want:
        return None
    return slip(answer, slips, 1e-9) or f"{answer:g} is {answer / want:.4g} times that factor"


@checker
def ex_model_attention_2(answer: Callable[..., bool]) -> str | None:
    """Does the function tell whether two places share a window of a shifted block?"""
    said = {}
    for window in (2, 4, 8):
        for p, q in _pairs(window):
            said[p, q, window] = bool(called(answer, "a function of (p, q, window)", p, q, window))
    slips = {
        "": _shifted,
        "those are the windows of a plain block; these begin half a window earlier": _plain,
        "places whose windows touch do not see each other": _touching,
        "it is about windows, not about distance": _near,
        "both rows and columns must agree": _either,
        "turned around: True where they see each other": lambda *at: not _shifted(*at),
    }
    for hint, rule in slips.items():
        if all(seen == rule(*at) for at, seen in said.items()):
            return hint or None
    p, q, window = next(at for at, seen in said.items() if seen != _shifted(*at))
    where = "share" if _shifted(p, q, window) else "do not share"
    return f"with windows of {window}, {p} and {q} {where} a window of a shifted block"


def _pairs(window: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of places of a map, three windows a side, from everywhere."""
    rng = np.random.default_rng(0)
    places = rng.integers(3 * window, size=(200, 4)).tolist()
    near = [(r, c, r + dr, c + dc) for r, c, *_ in places for dr in (0, 1) for dc in (0, 1)]
    return [((a, b), (c, d)) for a, b, c, d in places + near]


def _window_of(place: tuple[int, int], window: int, begin: int) -> tuple[int, int]:
    return tuple((i - begin) // window for i in place)


def _shifted(p: tuple[int, int], q: tuple[int, int], window: int) -> bool:
    return _window_of(p, window, -window // 2) == _window_of(q, window, -window // 2)


def _plain(p: tuple[int, int], q: tuple[int, int], window: int) -> bool:
    return _window_of(p, window, 0) == _window_of(q, window, 0)


def _touching(p: tuple[int, int], q: tuple[int, int], window: int) -> bool:
    a, b = (_window_of(place, window, -window // 2) for place in (p, q))
    return all(abs(i - j) <= 1 for i, j in zip(a, b, strict=True))


def _near(p: tuple[int, int], q: tuple[int, int], window: int) -> bool:
    return all(abs(i - j) <= window // 2 for i, j in zip(p, q, strict=True))


def _either(p: tuple[int, int], q: tuple[int, int], window: int) -> bool:
    a, b = (_window_of(place, window, -window // 2) for place in (p, q))
    return any(i == j for i, j in zip(a, b, strict=True))


@checker
def ex_model_attention_3(answer: Callable[..., Tensor]) -> str | None:
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
def ex_model_attention_4(answer: Callable[..., Tensor]) -> str | None:
    """Which gates make a mixture equal to one dictionary that holds all entries?"""
    generator = torch.Generator().manual_seed(0)
    q, keys = (torch.randn(shape, generator=generator) for shape in ((6, 8), (3, 5, 8)))
    got = called(answer, "a function of (q, keys)", q.clone(), keys.clone())
    if not isinstance(got, Tensor) or got.shape != (6, 3):
        told = tuple(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return f"expected a tensor of shape (6, 3), a gate for each query and expert, got {told}"
    scores = torch.einsum("pd,knd->pkn", q, keys)
    whole = scores.flatten(1).softmax(-1).unflatten(1, (3, 5))
    slips = {
        "": whole.sum(-1),
        "those are the sums before they are divided by the sum over all experts": (
            scores.exp().sum(-1)
        ),
        "those are logarithms of the gates, up to a constant; a softmax is missing": (
            scores.logsumexp(-1)
        ),
        "the mean of the scores is not the logarithm of the sum of their exponentials": (
            scores.mean(-1).softmax(-1)
        ),
        "the sum of the scores is not the logarithm of the sum of their exponentials": (
            scores.sum(-1).softmax(-1)
        ),
        "the best entry alone does not say it; all entries of an expert add up": (
            scores.amax(-1).softmax(-1)
        ),
        "equal gates ignore the query": torch.full((6, 3), 1 / 3),
    }
    for hint, gates in slips.items():
        if torch.allclose(got, gates, rtol=1e-4, atol=1e-5):
            return hint or None
    return _sums(got) or "with these gates the mixture differs from one softmax over all entries"


def _sums(gates: Tensor) -> str | None:
    """What is wrong with gates that are no shares."""
    sums = gates.sum(-1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        return f"gates of a place add up to 1; those of the first one add up to {sums[0]:.3f}"
    return None
