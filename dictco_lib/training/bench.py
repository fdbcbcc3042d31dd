"""How long a training step takes, and what each of a recipe's speed settings brings."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from statistics import median

import torch

from dictco_lib.errors import OptionError
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.trainer import Trainer

#: Float32, eager, contiguous: the loop that settings are measured against.
PLAIN = {"precision": "float32", "channels_last": False, "compile": False}


def variants(recipe: Recipe, device: torch.device) -> dict[str, Recipe]:
    """The plain loop, each setting added to it, and the recipe as it is."""
    added = {"plain (float32, eager, contiguous)": {}, "+ channels_last": {"channels_last": True}}
    if device.type == "cuda":
        added["+ channels_last, bf16"] = {"channels_last": True, "precision": "bf16"}
        added["+ channels_last, bf16, compile"] = {
            "channels_last": True, "precision": "bf16", "compile": True
        }  # fmt: skip
    plain = {name: replace(recipe, **(PLAIN | change)) for name, change in added.items()}
    return plain | {"as the recipe says": recipe}


def bench_training(
    recipe: Recipe, repeats: int = 5, device: str | None = None
) -> dict[str, tuple[float, float]]:
    """Median seconds of a training step, and images per second, for each variant.

    The variants take turns, so that a machine that slows down slows them all. Decoding images
    is not in the step: batches are made before.

    Args:
        recipe: what would be trained.
        repeats: steps of each variant, after two that warm up.
        device: as for :class:`Trainer`.

    Raises:
        OptionError: if there is nothing to take the median of.
    """
    if repeats < 1:
        raise OptionError(f"got {repeats} repeats; the median needs at least 1")
    with tempfile.TemporaryDirectory() as folder:
        recipe = replace(recipe, out=folder, start=None)
        kind = Trainer(recipe, device).device
        trainers = {name: Trainer(r, device) for name, r in variants(recipe, kind).items()}
        x, _ = next(iter(trainers.values())).batches[0]
        seconds: dict[str, list[float]] = {name: [] for name in trainers}
        for _ in range(repeats + 2):
            for name, trainer in trainers.items():
                start = time.perf_counter()
                trainer.train_step(x)
                seconds[name].append(time.perf_counter() - start)
    medians = {name: median(values[2:]) for name, values in seconds.items()}
    return {name: (value, recipe.batch_size / value) for name, value in medians.items()}
