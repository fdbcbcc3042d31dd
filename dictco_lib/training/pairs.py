"""Does the mixture pay? One recipe, trained with and without it, over several seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from dictco_lib.errors import RecipeError
from dictco_lib.files import read_json, write_atomic
from dictco_lib.training.log import read_log
from dictco_lib.training.loop import train
from dictco_lib.training.recipe import Recipe

MIXTURE = "mixture"
#: Variant -> seed -> the last line of validation of its run.
Results = dict[str, dict[int, dict[str, float]]]


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe's dense mixture, one dictionary of as many entries, and its sparse form.

    Raises:
        RecipeError: if the recipe trains no dense mixture, or measures nothing.
    """
    config = recipe.config
    if config.experts < 2 or config.top_k:
        raise RecipeError(
            f"model {config.name!r} has experts = {config.experts} and top_k = {config.top_k}; "
            "pairs compare a dense mixture of two experts or more: change the recipe's shape"
        )
    if not recipe.validation:
        raise RecipeError("the recipe names no images for `validation`, so nothing is compared")
    shape = recipe.shape or {}
    single = shape | {"experts": 1, "entries": config.experts * config.entries}
    return {
        MIXTURE: recipe,
        "one dictionary": replace(recipe, shape=single, routing="none"),
        "best expert only, balanced": replace(recipe, shape=shape | {"top_k": 1}, routing="bias"),
    }


def train_pairs(recipe: Recipe, seeds: Sequence[int], device: str | None = None) -> Results:
    """Train every variant with every seed, in folders of their own below the recipe's `out`.

    Stopped, it goes on where it was: runs that have ended are only read.

    Args:
        recipe: of a dense mixture.
        seeds: each decides start, data order, qualities and noise of one run of each variant.
        device: as for :func:`train`.
    """
    results: Results = {}
    for seed in seeds:  # whole pairs first: a table of fewer seeds is a table
        for name, variant in variants(recipe).items():
            out = Path(recipe.out) / f"{name.split(',')[0].replace(' ', '_')}_{seed}"
            train(replace(variant, seed=seed, out=str(out)), device)
            last = [row for row in read_log(out / "log.jsonl") if row["kind"] == "validation"][-1]
            results.setdefault(name, {})[seed] = last
    return results


def table(results: Results) -> list[str]:
    """Lines: the mixture's losses, then each variant's against it, seed by seed, in per cent.

    ``±`` is the standard deviation over the seeds; for the mixture's own losses it says what a
    seed alone changes.
    """
    base = results[MIXTURE]
    keys = [key for key in next(iter(base.values())) if key.startswith("loss@")]
    keys = [*keys, "loss"]
    heads = [key.replace("loss@", "quality ").replace("loss", "all") for key in keys]
    lines = [f"{'':28}" + "".join(f"{head:>16}" for head in heads)]
    for name, runs in results.items():
        cells = []
        for key in keys:
            own = [base[seed][key] for seed in runs]
            if name == MIXTURE:
                spread = f" ± {100 * stdev(own) / mean(own):.2f} %" if len(own) > 1 else ""
                cells.append(f"{mean(own):.4f}{spread}")
                continue
            gaps = [100 * (run[key] / base[seed][key] - 1) for seed, run in runs.items()]
            spread = f" ± {stdev(gaps):.2f}" if len(gaps) > 1 else ""
            cells.append(f"{mean(gaps):+.2f}{spread} %")
        lines.append(f"{name:28}" + "".join(f"{cell:>16}" for cell in cells))
    return lines


def save_pairs(results: Results, recipe: Recipe, path: str | Path) -> None:
    """Write the losses of all runs as JSON, with what the recipe says of them.

    Args:
        results: what :func:`train_pairs` returned.
        recipe: that of the mixture.
        path: of the file.
    """
    kept = {
        name: {
            str(seed): {key: value for key, value in row.items() if key.startswith("loss")}
            for seed, row in runs.items()
        }
        for name, runs in results.items()
    }
    setup = {"model": recipe.config.name, "steps": recipe.steps, "crop": recipe.crop}
    text = json.dumps({"setup": setup, "pairs": kept}, indent=1)
    write_atomic(path, (text + "\n").encode())


def load_pairs(path: str | Path) -> tuple[Results, dict[str, object]]:
    """What :func:`save_pairs` wrote: losses of all runs, and ``model``, ``steps`` and ``crop``.

    Raises:
        RecipeError: if the file is missing, or holds something else.
    """
    advice = "`dictco pairs RECIPE --out` writes one"
    data = read_json(path, RecipeError, advice)
    try:
        results = {
            name: {int(seed): {k: float(v) for k, v in row.items()} for seed, row in runs.items()}
            for name, runs in data["pairs"].items()
        }
        if not all(row["loss"] > 0 for runs in results.values() for row in runs.values()):
            raise ValueError("a loss is not above 0")
        base = results[MIXTURE]
        if not base or not all(runs.keys() == base.keys() for runs in results.values()):
            raise ValueError("not all variants have the same seeds")
        return results, dict(data["setup"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"{path} holds no losses of pairs ({type(error).__name__}: {error}); {advice}"
        ) from None


def is_pairs(path: str | Path) -> bool:
    """Does a file hold what :func:`save_pairs` writes? Another one is not ours to replace."""
    return json.loads(Path(path).read_bytes()).keys() == {"setup", "pairs"}
