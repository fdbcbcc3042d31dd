"""A training recipe: one TOML file that says everything a run depends on."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dictco_lib.config import CodecConfig
from dictco_lib.errors import RecipeError, foreign, listed, quoted
from dictco_lib.kinds import is_of_kind, kinds_of, told
from dictco_lib.models import PRESETS, config_from_dict
from dictco_lib.training.data import DEMO

#: What a run that goes on may change: its length, its rates, its precision, this machine's matters.
FREE = {
    "data", "validation", "out", "start", "steps", "threads", "workers", "cache_mb", "log_every",
    "save_every", "validate_every", "lr", "transform_lr", "prior_lr", "aux_lr", "clip_norm",
    "final", "precision", "channels_last", "compile", "accumulate", "save_minutes", "branch",
    "decay_steps", "teacher",
}  # fmt: skip
_CHOICES = {
    "distortion": ("mse", "ms-ssim", "mix"),
    "schedule": ("cosine", "multistep", "constant"),
    "precision": ("float32", "bf16", "auto"),
    "routing": ("none", "aux", "bias"),
    "weight_bits": (0, 8),
}
#: Largest values: generous ones, but a recipe may come from elsewhere, and one that asks for 10**9
#: threads ends the process before anybody can say why.
_POSITIVE = {
    "steps": 10**9, "batch_size": 2**14, "accumulate": 2**14, "lr": 10, "transform_lr": 10,
    "prior_lr": 10, "router_lr": 10, "aux_lr": 10, "clip_norm": 1e9, "log_every": 10**9,
    "save_every": 10**9, "validate_every": 10**9, "cache_mb": 2**20, "lmbda": 1e6, "threads": 512,
    "scale": 1, "decay": 1, "crop": 2**12, "save_minutes": 1e6,
}  # fmt: skip
_NOT_NEGATIVE = {
    "warmup": 10**9, "workers": 128, "seed": 2**31 - 1, "final": 1, "perceptual": 1e6,
    "routing_weight": 1e6, "teacher_weight": 1e6, "pca_lap": 0.5, "decay_steps": 10**9,
}  # fmt: skip
_FILES = ("start", "branch", "teacher")  # checkpoints, named relative to the recipe
_MAX_PART = 2**26  # pixels that one step computes at once: each takes about a kilobyte
_MAX_NAMES, _MAX_NAME = 10_000, 4096
_MAX_FILE = 2**20
_MS_SSIM_CROP = 192  # its five scales need sides above 160


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; the file's keys are these fields."""

    model: str  # preset to train
    data: tuple[str, ...]  # tar shards and folders of photographs, relative to the recipe
    out: str  # folder of checkpoints and logs, relative to the recipe
    shape: dict | None = None  # fields of ModelConfig that replace the preset's
    validation: tuple[str, ...] = ()  # images to measure on; not those of `data`, if one can
    start: str | None = None  # checkpoint to begin with, relative to the recipe
    branch: str | None = None  # state.pt of another run to go on from, with its optimiser
    pca_start: bool = False  # start g_a and g_s as a hierarchical PCA of the data
    pca_lap: float = 0.0  # share by which the blocks of this PCA overlap; 0.07 is a good one
    steps: int = 10_000
    batch_size: int = 8  # images per step, over all processes
    accumulate: int = 1  # parts that each process computes its share of a batch in
    crop: int = 128  # side of a training crop in pixels, a multiple of 64
    scale: float = 1.0  # images shrink by a random factor from this one to 1
    distortion: str = "mse"  # or "ms-ssim", or "mix": half of each
    lmbda: float | None = None  # for fixed-rate models; variable-rate ones draw theirs per image
    balance: float = 0.0  # images weigh lmbda**-balance: 0.5 makes all rates count about alike
    perceptual: float = 0.0  # weight of LPIPS, if the package `lpips` is there
    teacher: str | None = None  # checkpoint to learn from, relative to the recipe (distillation)
    teacher_weight: float = 0.5  # what its image and its latent count beside the rate and x
    routing: str = "none"  # how expert load is balanced: "aux" (a loss), "bias" (top-k models)
    routing_weight: float = 0.01  # of the auxiliary loss; step of the bias
    lr: float = 5e-4  # Adam, of the entropy model, after the warm-up
    transform_lr: float = 5e-4  # of g_a and g_s
    prior_lr: float = 5e-3  # of the factorised prior of z, whose few parameters must travel far
    router_lr: float | None = None  # of the routers of a mixture; None: lr
    aux_lr: float = 1e-3  # for the quantiles of z
    warmup: int = 200  # steps
    schedule: str = "cosine"  # or "multistep", or "constant", which needs no end in advance
    final: float = 0.02  # cosine and decay end at this fraction of each rate
    decay_steps: int = 0  # the last steps of "constant", in which the rates fall; of a branch: all
    milestones: tuple[int, ...] = ()  # steps at which "multistep" multiplies the rates by `decay`
    decay: float = 0.1
    clip_norm: float = 1.0  # largest gradient norm
    ema_decay: float = 0.999  # of the averaged weights that are shipped
    precision: str = "float32"  # of g_a and g_s; "bf16" is autocast, entropy stays in float32;
    # "auto" measures at the start which of the two is faster on this machine
    channels_last: bool = True
    weight_bits: int = 0  # 8: matrices are seen and saved in 8-bit rows, as by `export --rows8`
    compile: bool = False  # g_a and g_s through torch.compile
    seed: int = 0
    threads: int | None = None  # CPU threads of each process; None: torch's default
    workers: int = 0  # processes that decode images, for each training process
    log_every: int = 20
    save_every: int = 250
    save_minutes: float = 10.0  # a run is saved this often, too, however long its steps take
    validate_every: int = 500
    cache_mb: int = 1024  # decoded images kept in memory, over all workers

    def __post_init__(self) -> None:
        for field in ("data", "validation", "milestones"):
            value = getattr(self, field)
            if not isinstance(value, list | tuple):
                value = quoted(value)
                raise RecipeError(f"recipe: {field} = {value} must be a list, like [{value}]")
            object.__setattr__(self, field, tuple(value))
        self._check_types()
        self._check(self.model in PRESETS, "model", f"choose one of {', '.join(PRESETS)}")
        for field, choices in _CHOICES.items():
            self._check(getattr(self, field) in choices, field, f"choose one of {choices}")
        for field, most in _POSITIVE.items():
            value = getattr(self, field)
            self._check(value is None or value > 0, field, "it must be positive")
            self._check(value is None or value <= most, field, f"choose at most {most}")
        for field, most in _NOT_NEGATIVE.items():
            self._check(getattr(self, field) >= 0, field, "it must not be negative")
            self._check(getattr(self, field) <= most, field, f"choose at most {most}")
        self._check(self.crop % 64 == 0, "crop", "choose a multiple of 64")
        self._check(self.scale >= 1 / 64, "scale", "choose at least 1/64")
        self._check(0 <= self.ema_decay < 1, "ema_decay", "choose from 0 to less than 1")
        self._check(abs(self.balance) <= 10, "balance", "choose from -10 to 10")
        are_steps = all(0 < step <= _POSITIVE["steps"] for step in self.milestones)
        self._check(are_steps, "milestones", "they must be positive steps")
        self._check_combinations()

    def _check(self, ok: bool, field: str, advice: str) -> None:
        if not ok:
            raise RecipeError(f"recipe: {field} = {quoted(getattr(self, field))}: {advice}")

    def _check_types(self) -> None:
        for field, kind in kinds_of(Recipe).items():
            value = getattr(self, field)
            self._check(is_of_kind(value, kind), field, f"expected {told(kind)}")
            values = value if isinstance(value, tuple) else [value]
            self._check(len(values) <= _MAX_NAMES, field, f"choose at most {_MAX_NAMES}")
            are_names = all(_is_name(v) for v in values if isinstance(v, str))
            self._check(are_names, field, f"expected names of at most {_MAX_NAME} letters")

    def _check_combinations(self) -> None:
        config = self.config
        is_variable = config.is_variable_rate
        if is_variable == (self.lmbda is not None):
            raise RecipeError(
                f"recipe: model {self.model!r} "
                + ("draws its lmbda per image; remove lmbda" if is_variable else "needs a lmbda")
            )
        part = -(-self.batch_size // self.accumulate) * self.crop**2
        advice = f"a step would compute {part} pixels at once, at most {_MAX_PART}: accumulate more"
        self._check(part <= _MAX_PART, "batch_size", advice)
        if self.distortion != "mse":
            self._check(self.crop >= _MS_SSIM_CROP, "crop", f"MS-SSIM needs {_MS_SSIM_CROP}")
        if self.teacher:
            self._check(self.distortion != "ms-ssim", "teacher", "it teaches squared error")
        if self.pca_start:
            self._check(self.start is None, "start", "it excludes pca_start; remove one of them")
            is_fit = config.family == "dictionary" and not config.batch_norm
            self._check(is_fit, "pca_start", "it needs a DCAE or DictCO without BatchNorm")
        if self.pca_lap:
            self._check(self.pca_start, "pca_lap", "it is part of pca_start; set that to true")
        if self.branch:
            self._check(self.start is None, "start", "it excludes branch; remove one of them")
        if self.decay_steps:
            self._check(self.schedule == "constant", "decay_steps", 'it needs schedule "constant"')
            end = "choose at most `steps`"
            self._check(self.branch or self.decay_steps <= self.steps, "decay_steps", end)
        if self.schedule == "multistep":
            self._check(bool(self.milestones), "milestones", "multistep needs some")
        if self.routing == "aux":
            self._check(config.experts > 1, "routing", "the model has no experts to balance")
        if self.routing == "bias":
            self._check(config.top_k > 0, "routing", "the bias selects experts: it needs top_k > 0")

    @property
    def config(self) -> CodecConfig:
        """The model to train: the preset, or a variant of it if the recipe gives a shape.

        Raises:
            ConfigError: if the shape has unknown fields or values that do not fit.
        """
        preset = PRESETS[self.model]
        if not self.shape:
            return preset
        return config_from_dict(preset.to_dict() | {"name": f"{self.model}_variant"} | self.shape)

    def to_dict(self) -> dict:
        """Plain values; the state to continue from keeps them all."""
        return asdict(self)

    def settings(self) -> dict:
        """What others need to know of it: everything but this machine's paths."""
        values = {k: v for k, v in asdict(self).items() if k not in ("data", "validation", "out")}
        return values | {k: values[k] and Path(values[k]).name for k in _FILES}

    def check_continues(self, old: dict, where: Path) -> None:
        """Raise unless a run by the recipe ``old`` may go on by this one.

        Raises:
            RecipeError: naming all fields that differ and may not.
        """
        names = [f.name for f in fields(self) if f.name not in FREE]
        self._check_same(names, old, where, "set them back, or choose another `out` for a new run")

    def check_branches(self, old: dict, where: Path) -> None:
        """Raise unless a run by the recipe ``old`` may go on by this one as a new run.

        It may change all but the model: its data, crops, batch, seed and schedule.

        Raises:
            RecipeError: naming all fields that differ and may not.
        """
        self._check_same(["model", "shape"], old, where, "a branch keeps its model: set them back")

    def _check_same(self, names: list[str], old: dict, where: Path, advice: str) -> None:
        mine, default = self.to_dict(), {f.name: f.default for f in fields(Recipe)}
        differing = [
            f"{k} (was {quoted(old.get(k, default[k]))}, is {quoted(mine[k])})"
            for k in names
            if _plain(old.get(k, default[k])) != _plain(mine[k])
        ]
        if differing:
            raise RecipeError(
                f"{where} holds a run with other settings: {', '.join(differing)}; {advice}"
            )


def _parse(text: str, what: str) -> dict:
    with foreign(f"{what} is no valid TOML", RecipeError, "write texts in quotes, numbers without"):
        return tomllib.loads(text)


def _is_name(value: str) -> bool:
    return len(value) <= _MAX_NAME and "\0" not in value


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def load_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe; paths in it are taken relative to the file.

    Args:
        path: a TOML file.
        changes: settings that replace the file's, each like ``"seed=1"`` or ``"shape.experts=1"``.

    Raises:
        RecipeError: if the file is missing, is no TOML, has unknown or missing keys, or values
            of the wrong type or out of range.
        ConfigError: if its shape does not fit the model.
    """
    path = Path(path)
    if not path.exists():
        raise RecipeError(f"recipe {path} does not exist; data/*.toml holds examples")
    what = f"recipe {path}"
    with foreign(f"{what} is no valid TOML", RecipeError, "data/*.toml holds examples"):
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise RecipeError(f"{what} has over {_MAX_FILE} bytes; data/*.toml holds examples")
        text = data.decode("utf-8-sig")
    values = _parse(text, what)
    for change in changes:
        for key, value in _parse(change, f"the setting {quoted(change)}").items():
            if isinstance(value, dict):
                old = values.get(key)
                value = (old if isinstance(old, dict) else {}) | value
            values[key] = value
    known = {f.name for f in fields(Recipe)}
    if unknown := sorted(set(values) - known):
        known = ", ".join(sorted(known))
        raise RecipeError(f"{what}: unknown keys [{listed(unknown)}]; known are {known}")
    if missing := sorted({"model", "data", "out"} - set(values)):
        raise RecipeError(f"{what}: missing keys {missing}")
    recipe = Recipe(**values)

    def resolve(name: str) -> str:
        return name if name == DEMO else str((path.parent / name).resolve())

    for field in ("data", "validation"):
        object.__setattr__(recipe, field, tuple(resolve(name) for name in getattr(recipe, field)))
    object.__setattr__(recipe, "out", resolve(recipe.out))
    for field in _FILES:
        if getattr(recipe, field):
            object.__setattr__(recipe, field, resolve(getattr(recipe, field)))
    return recipe
