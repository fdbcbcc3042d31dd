"""Answers to the exercises of the page Training."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from answers import Exercise
from dictco_lib.training.log import read_log
from dictco_lib.training.loop import train
from dictco_lib.training.loss import rate_distortion
from dictco_lib.training.recipe import load_recipe

DATA = Path(__file__).parents[2] / "data"


def recipe(world):
    return (load_recipe(DATA / "nano.toml"),)


def rows(world):
    return (read_log(DATA / "classroom_second.log.jsonl"),)


def entropies(rows) -> list[float]:
    last = [row for row in rows if "gate_entropy/0" in row][-1]
    return [value for key, value in last.items() if key.startswith("gate_entropy/")]


def step(
    model, optimizer, x, quality, lmbda, *, part="loss", clears=True, clips=True, steps=True, sign=1
):
    out = model(x, quality)
    loss = rate_distortion(out, x, lmbda)[part].mean()
    if clears:
        model.zero_grad()
    (sign * loss).backward()
    if clips:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if steps:
        optimizer.step()
    return loss.item()


def with_mean_over_everything(model, optimizer, x, quality, lmbda):
    out = model(x, quality)
    bits = sum(-p.log2().sum() for p in out["likelihoods"].values())
    error = (lmbda * (out["x_hat"] - x).square().mean((1, 2, 3))).mean()
    loss = bits / (x.numel() / 3) + 255**2 * error
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss


def clipped_too_late(model, optimizer, *given):
    loss = step(model, optimizer, *given, clips=False)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return loss


def cleared_too_late(model, optimizer, *given):
    loss = step(model, optimizer, *given, steps=False)
    optimizer.zero_grad()
    optimizer.step()
    return loss


def the_sum(model, optimizer, x, quality, lmbda):
    return len(x) * step(model, optimizer, x, quality, lmbda)


RATES = (5e-5, 2e-3)


def trial(world):
    small = {"steps": 4, "crop": 64, "batch_size": 2, "warmup": 1, "log_every": 2}
    r = load_recipe(DATA / "nano.toml")
    return replace(r, pca_start=False, validation=(), **small), RATES


@functools.cache
def losses(recipe, of=-1, key="loss", field="transform_lr"):
    found = {}
    for rate in RATES:
        with tempfile.TemporaryDirectory() as out:
            train(replace(recipe, out=out, **{field: rate}), "cpu", progress=False)
            found[rate] = read_log(f"{out}/log.jsonl")[of][key]
    return found


def last(key):
    return lambda recipe, rates: losses(recipe, key=key)


EXERCISES = {
    "ex_training_1": Exercise(
        context=lambda w: (0.5, 0.0004, 0.013),
        right=[lambda *c: 0.5 + 0.013 * 255**2 * 0.0004, lambda *c: 0.8381],
        wrong={
            "no 255**2": (lambda *c: 0.5 + 0.013 * 0.0004, "255**2 is missing"),
            "255": (lambda *c: 0.5 + 0.013 * 255 * 0.0004, "is to be squared"),
            "no bits": (lambda *c: 0.013 * 255**2 * 0.0004, "bits are missing"),
            "a price of the bits": (lambda *c: 0.013 * 0.5 + 255**2 * 0.0004, "not of the bits"),
            "no lmbda": (lambda *c: 0.5 + 255**2 * 0.0004, "where is `lmbda`"),
            "minus": (lambda *c: 0.5 - 0.013 * 255**2 * 0.0004, "not subtracted"),
            "no idea": (lambda *c: 1.0, "is not bpp"),
            "no number": (lambda *c: float("inf"), "no number"),
        },
    ),
    "ex_training_2": Exercise(
        right=[lambda: step, lambda: with_mean_over_everything],
        wrong={
            "no zero_grad": (lambda: partial(step, clears=False), "zero_grad"),
            "no clipping": (lambda: partial(step, clips=False), "not clipped"),
            "clipped too late": (lambda: clipped_too_late, "not clipped"),
            "no step": (lambda: partial(step, steps=False), "no weight moved"),
            "cleared too late": (lambda: cleared_too_late, "no weight moved"),
            "uphill": (lambda: partial(step, sign=-1), "*against* the gradient"),
            "error alone": (lambda: partial(step, part="mse"), "bits are missing"),
            "bits alone": (lambda: partial(step, part="bpp"), "error is missing"),
            "sum": (lambda: the_sum, "*mean*"),
            "another price": (lambda: lambda m, o, x, q, _: step(m, o, x, q, 0.01), "elsewhere"),
            "the bits returned": (lambda: lambda *given: 0 * step(*given), "the loss is"),
            "nothing returned": (lambda: lambda *given: step(*given) and None, "returns nothing"),
            "called": (lambda: 3.2, "do not call it"),
        },
    ),
    "ex_training_3": Exercise(
        context=recipe,
        right=[
            lambda r: replace(r, accumulate=4),
            lambda r: replace(r, accumulate=4, out="elsewhere"),
        ],
        wrong={
            "as it was": (lambda r: r, "nothing changed"),
            "a smaller batch": (lambda r: replace(r, batch_size=2), "noisier gradients"),
            "smaller crops": (lambda r: replace(r, crop=64), "other images"),
            "half the memory": (lambda r: replace(r, accumulate=2), "needs 4"),
            "both": (lambda r: replace(r, accumulate=4, steps=10), "number of steps is to stay"),
            "too many parts": (lambda r: replace(r, accumulate=8), "in 8 parts"),
            "a number": (lambda r: 4, "expected a Recipe"),
        },
    ),
    "ex_training_4": Exercise(
        context=trial,
        right=[last("loss"), lambda r, rates: {k: 1.001 * v for k, v in losses(r).items()}],
        wrong={
            "the first entry": (lambda r, rates: losses(r, of=0), "take the last one"),
            "bits": (last("bpp"), "bits per pixel"),
            "PSNR": (last("psnr"), "that is the PSNR"),
            "error": (last("mse"), "mean squared error"),
            "one folder": (lambda r, rates: dict.fromkeys(rates, 3.0), "a folder of its own"),
            "one is missing": (lambda r, rates: {rates[0]: 3.0}, "missing for transform_lr"),
            "the lr": (lambda r, rates: losses(r, field="lr"), "is everything else as in"),
            "the best": (lambda r, rates: rates[1], "expected a dictionary"),
            "texts": (lambda r, rates: dict.fromkeys(rates, "3"), "expected a number"),
        },
    ),
    "ex_training_5": Exercise(
        context=rows,
        right=[lambda r: int(np.argmin(entropies(r))), lambda r: np.argmin(entropies(r))],
        wrong={
            "the least decided": (lambda r: int(np.argmax(entropies(r))), "it hesitates"),
            "another one": (lambda r: int(np.argsort(entropies(r))[1]), "another one has less"),
            "its entropy": (lambda r: min(entropies(r)), "which slice has it"),
            "from the end": (lambda r: int(np.argmin(entropies(r))) - 5, "from 0 to 4"),
            "from 1": (lambda r: 5, "from 0 to 4"),
            "yes": (lambda r: True, "expected a number"),
            "all": (lambda r: entropies(r), "expected a number"),
        },
    ),
}
