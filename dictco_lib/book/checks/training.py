"""Exercises of the page Training."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dictco_lib.book.checks.checker import (
    Complaint,
    called,
    checker,
    number,
    slip,
    whole,
)
from dictco_lib.models import DictionaryCodec, preset
from dictco_lib.training.log import read_log
from dictco_lib.training.loop import train
from dictco_lib.training.loss import rate_distortion
from dictco_lib.training.recipe import Recipe


@checker
def ex_training_1(answer: float, bpp: float, mse: float, lmbda: float) -> str | None:
    """Is this the loss of one image?"""
    answer, error = number(answer), 255**2 * mse
    want = bpp + lmbda * error
    slips = {
        "the 255**2 is missing: this mse is that of pixels in [0, 1]": bpp + lmbda * mse,
        "255 is to be squared: an mse is a squared error": bpp + lmbda * 255 * mse,
        "that is the price of the error; the bits are missing": lmbda * error,
        "`lmbda` is the price of the error, not of the bits": lmbda * bpp + error,
        "the error has no price: where is `lmbda`?": bpp + error,
        "bits and error are added, not subtracted: both are to be small": bpp - lmbda * error,
    }
    if abs(answer - want) <= 1e-3 * want:
        return None
    return slip(answer, slips, 1e-3) or f"{answer:.4f} is not bpp + lmbda * 255**2 * mse"


_QUALITY = torch.tensor([10.0, 90.0])


def _two_steps(step: Callable) -> tuple[list[float], Tensor]:
    """What a training step does to a small model in two turns: losses, and how weights moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DictionaryCodec(preset("nano")).train()
        begun = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        for weight in model.parameters():  # as an earlier step may have left them
            weight.grad = torch.full_like(weight, 100)
        x = torch.rand(2, 3, 64, 64)
        lmbda = torch.tensor([model.config.lmbda(q) for q in _QUALITY.tolist()])
        # Plain gradient descent: how far a weight moves tells how large its gradient was.
        descent = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for turn in range(2):
            torch.manual_seed(turn)
            losses.append(number(called(step, "a function", model, descent, x, _QUALITY, lmbda)))
    return losses, nn.utils.parameters_to_vector(model.parameters()).detach() - begun


def _step(
    model: DictionaryCodec, descent: torch.optim.Optimizer, x: Tensor, quality: Tensor,
    lmbda: Tensor, *, clip: float = 1.0, sign: float = 1.0, clears: bool = True, part: str = "loss",
) -> float:  # fmt: skip
    if clears:
        descent.zero_grad()
    loss = rate_distortion(model(x, quality), x, lmbda)[part].mean()
    (sign * loss).backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    descent.step()
    return loss.item()


_STEP_SLIPS = {
    "the gradients of the step before are still in it: begin with `zero_grad`": {"clears": False},
    "the gradients are not clipped to a norm of 1 before the step": {"clip": math.inf},
    "the loss grows: a step goes *against* the gradient": {"sign": -1.0},
    "only the error is made smaller; the bits are missing": {"part": "mse"},
    "only the bits are made smaller; the error is missing": {"part": "bpp"},
}


@functools.cache
def _slipped(hint: str | None) -> tuple[list[float], Tensor]:
    return _two_steps(functools.partial(_step, **_STEP_SLIPS.get(hint, {})))


def _is_same_way(moved: Tensor, way: Tensor) -> bool:
    return bool((moved - way).norm() <= 0.01 * way.norm())


@checker
def ex_training_2(answer: Callable) -> str | None:
    """Does the function take a training step, and return the mean loss?"""
    losses, moved = _two_steps(answer)
    wanted, way = _slipped(None)
    if not moved.any():
        return "no weight moved: is there `backward`, then `step`, and no `zero_grad` between them?"
    if not _is_same_way(moved, way):
        for hint in _STEP_SLIPS:
            if _is_same_way(moved, _slipped(hint)[1]):
                return hint
        return "the weights move, but elsewhere than by loss, backward, clip, step"
    if math.isclose(losses[0], 2 * wanted[0], rel_tol=1e-3):
        return "the weights are right; return the *mean* loss of the two images, not their sum"
    if not np.allclose(losses, wanted, rtol=1e-3):
        return f"the weights are right, but the loss is {wanted[0]:.3f}, not {losses[0]:.3f}"
    return None


@checker
def ex_training_3(answer: Recipe, recipe: Recipe) -> str | None:
    """Does the recipe take the same steps in a quarter of the memory?"""
    if not isinstance(answer, Recipe):
        return f"expected a Recipe, as replace(recipe, ...) gives, got {answer!r:.40}"
    changed = {k for k, v in answer.to_dict().items() if recipe.to_dict()[k] != v} - {"out"}
    hints = {
        "batch_size": "a smaller batch is another training, with noisier gradients",
        "crop": "smaller crops are other images, and fewer of their pixels see the whole context",
        "model": "a smaller model is another model",
        "shape": "a smaller model is another model",
        "steps": "the number of steps is to stay",
    }
    for name in sorted(changed - {"accumulate"}):
        why = hints.get(name, "only how a batch is computed should change")
        return f"`{name}` changed: {why}; look for the field that splits a batch into parts"
    if not changed:
        return "nothing changed; look for the field that splits a batch into parts"
    if answer.accumulate != 4:
        return (
            f"accumulate = {answer.accumulate} takes a batch of {recipe.batch_size} in "
            f"{answer.accumulate} parts; a quarter of the memory needs 4"
        )
    return None


#: Far above the loss of noise. A run that got there shows other digits on each machine.
_EXPLODED = 1000


@functools.cache
def _last_entries(recipe: Recipe, rates: tuple[float, ...]) -> tuple[dict, ...]:
    """Of a training with each rate of the transforms: the last entry of its log."""
    entries = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(None):
        for i, rate in enumerate(rates):
            own = replace(recipe, transform_lr=rate, out=f"{folder}/{i}")
            trainer = train(own, "cpu", progress=False)
            rows = read_log(trainer.out / "log.jsonl")
            entries.append({"first": rows[0]["loss"]} | rows[-1])
    return tuple(entries)


@checker
def ex_training_4(
    answer: Mapping[float, float], recipe: Recipe, rates: Sequence[float]
) -> str | None:
    """Are these the losses that the recipe ends at with each of the rates?"""
    if not isinstance(answer, Mapping):
        return f"expected a dictionary, rate -> loss, got a {type(answer).__name__}"
    if missing := [f"{rate:g}" for rate in rates if rate not in answer]:
        return f"a loss is missing for transform_lr = {', '.join(missing)}"
    losses = [number(answer[rate]) for rate in rates]
    if len(set(losses)) < len(losses):
        raise Complaint(
            "two rates have one loss: with the `out` of an earlier run, `train` finds that run "
            "done; give each run a folder of its own, and set transform_lr"
        )
    entries = _last_entries(recipe, tuple(rates))
    slips = {
        "that is the first entry of the log; take the last one": "first",
        "that is the rate in bits per pixel; take the loss": "bpp",
        "that is the PSNR; take the loss": "psnr",
        "that is the mean squared error; take the loss": "mse",
    }
    for rate, loss, entry in zip(rates, losses, entries, strict=True):
        is_close = math.isclose(loss, entry["loss"], rel_tol=0.05)  # another machine, or a GPU
        if is_close or min(loss, entry["loss"]) > _EXPLODED:
            continue
        hints = {hint: entry[key] for hint, key in slips.items()}
        return slip(loss, hints, 0.01) or (
            f"transform_lr = {rate:g} ends at {entry['loss']:.3f} here, not at {loss:.3f}; is "
            "everything else as in `recipe`?"
        )
    return None


@checker
def ex_training_5(answer: int, rows: list[dict]) -> str | None:
    """Which slice's router is the most decided at the end of the log?"""
    logged = [row for row in rows if "gate_entropy/0" in row]
    entropy = [v for k, v in logged[-1].items() if k.startswith("gate_entropy/")]
    if slip(number(answer), {"value": min(entropy)}, 0.005):
        return f"{number(answer):.2f} bits is its entropy; which slice has it?"
    answer = whole(answer, len(entropy))
    if answer == int(np.argmin(entropy)):
        return None
    if answer == int(np.argmax(entropy)):
        return f"slice {answer} has the *most* entropy, {entropy[answer]:.2f} bits: it hesitates"
    return f"slice {answer} has {entropy[answer]:.2f} bits; another one has less"
