"""A training recipe: one TOML file that says everything a run depends on."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dictco_lib.config import PRESETS
from dictco_lib.errors import RecipeError
from dictco_lib.training.data import DEMO


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; the file's keys are these fields."""

    model: str  # preset to train
    data: tuple[str, ...]  # tar shards and folders of photographs, relative to the recipe
    out: str  # folder of checkpoints and logs, relative to the recipe
    validation: tuple[str, ...] = ()  # pictures that are never trained on
    steps: int = 10_000
    batch_size: int = 8
    crop: int = 128  # side of a training crop in pixels, a multiple of 64
    lr: float = 5e-4  # Adam, of the entropy model, after the warm-up
    transform_lr: float = 5e-4  # of g_a and g_s
    prior_lr: float = 5e-3  # of the factorised prior of z, whose few parameters must travel far
    final: float = 0.02  # the cosine ends at this fraction of each rate
    warmup: int = 200  # steps
    aux_lr: float = 1e-3  # for the quantiles of z
    clip_norm: float = 1.0  # largest gradient norm
    ema_decay: float = 0.999  # of the averaged weights that are shipped
    lmbda: float | None = None  # for fixed-rate models; variable-rate ones draw theirs per image
    balance: float = 0.0  # images weigh lmbda**-balance: 0.5 makes all rates count about alike
    pca_start: bool = False  # start g_a and g_s as a hierarchical PCA of the data
    seed: int = 0
    threads: int | None = None  # CPU threads; None: torch's default
    log_every: int = 20
    save_every: int = 250
    validate_every: int = 500
    cache_mb: int = 1024  # decoded pictures kept in memory

    def __post_init__(self) -> None:
        for field in ("data", "validation"):
            value = getattr(self, field)
            if isinstance(value, str):
                raise RecipeError(f"recipe: {field} = {value!r} must be a list, like [{value!r}]")
            object.__setattr__(self, field, tuple(value))
        if self.model not in PRESETS:
            raise RecipeError(
                f"recipe: model = {self.model!r} is no preset; choose one of {', '.join(PRESETS)}"
            )
        if self.crop <= 0 or self.crop % 64:
            raise RecipeError(f"recipe: crop = {self.crop} must be a positive multiple of 64")
        is_variable = PRESETS[self.model].is_variable_rate
        if is_variable == (self.lmbda is not None):
            raise RecipeError(
                f"recipe: model {self.model!r} "
                + ("draws its lmbda per image; remove lmbda" if is_variable else "needs a lmbda")
            )
        for field in ("steps", "batch_size", "lr", "clip_norm", "log_every", "save_every"):
            if getattr(self, field) <= 0:
                raise RecipeError(f"recipe: {field} = {getattr(self, field)} must be positive")

    def to_dict(self) -> dict:
        """Plain values; the state to continue from keeps them all."""
        return asdict(self)

    def settings(self) -> dict:
        """What others need to know of it: everything but this machine's paths."""
        return {k: v for k, v in asdict(self).items() if k not in ("data", "validation", "out")}


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe; paths in it are taken relative to the file.

    Raises:
        RecipeError: if the file is missing, is no TOML, or has unknown or missing keys.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist; data/*.toml holds examples") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is no valid TOML: {error}") from None
    known = {f.name for f in fields(Recipe)}
    if unknown := sorted(set(values) - known):
        raise RecipeError(f"recipe {path}: unknown keys {unknown}; known are {sorted(known)}")
    if missing := sorted({"model", "data", "out"} - set(values)):
        raise RecipeError(f"recipe {path}: missing keys {missing}")
    recipe = Recipe(**values)

    def resolve(name: str) -> str:
        return name if name == DEMO else str((path.parent / name).resolve())

    for field in ("data", "validation"):
        object.__setattr__(recipe, field, tuple(resolve(name) for name in getattr(recipe, field)))
    object.__setattr__(recipe, "out", resolve(recipe.out))
    return recipe
