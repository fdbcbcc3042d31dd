"""Model configurations: what all members share, the numbers of DCAE and DictCO, their presets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import ClassVar, Self, get_origin

from dictco_lib.errors import ConfigError, QualityError, listed, quoted
from dictco_lib.kinds import is_of_kind, kinds_of, told

#: The six rate-distortion trade-offs (MSE) of DCAE, larger means more bits. CompressAI has the same
#: up to 0.025, then 0.0483, 0.0932 and 0.18.
LMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.05)
#: The same for 1 - MS-SSIM.
LMBDAS_MS_SSIM = (2.40, 4.58, 8.73, 16.64, 31.73, 60.5)
#: The five scales of MS-SSIM with an 11-pixel window need sides larger than this.
MS_SSIM_MIN_SIDE = 160
#: The six scales of SSIMULACRA 2, the last of eight pixels, need sides larger than this.
SSIMULACRA2_MIN_SIDE = 224
#: Left out of a saved configuration at their defaults: models of before they existed keep their
#: fingerprints.
_LATER_FIELDS = ("top_k", "ported")
MAX_SLICES = 240
#: Pixels of the image per sample of y and of z, down and across: fixed by the family.
Y_STRIDE, Z_STRIDE = 16, 64
#: No field of a configuration is larger: several times what the field publishes. Whatever
#: multiplies must have a bound, because a configuration may come with a file.
_MOST = {
    "blocks": 64, "residual_blocks": 32, "reduction": 256, "window": 64, "hyper_window": 64,
    "experts": 256, "top_k": 256, "entries": 8192,
    "dictionary_dim": 8192, "heads": 256,
}  # fmt: skip
_MOST_CHANNELS = 4096
_FLOATS = {"lmbdas": (1e-9, 1e9)}
_MAY_BE_ZERO = ("experts", "top_k", "blocks", "residual_blocks")
#: What the fields may come to together: four times the weights and five times the widest map
#: (floats at once, for an input of 64x64 pixels) of the largest published model.
MAX_WEIGHTS = 2**29
MAX_ACTIVATION = 2**22


@dataclass(frozen=True)
class CodecConfig:
    """What all members of the family have in common; a page adds numbers of its own.

    The strides are no part of it: see :data:`Y_STRIDE`.
    """

    #: Which page of ``models/`` the numbers are for.
    family: ClassVar[str]
    #: Upper bounds of fields that have smaller or larger ones than :data:`_MOST`.
    limits: ClassVar[dict[str, int]] = {}
    #: Fields of parts that exist only in training: no fingerprint depends on them.
    training_fields: ClassVar[tuple[str, ...]] = ()
    # What only some members have; their own configuration has the fields. (Without types: an
    # annotation would move those fields to the front.)
    experts = 0
    top_k = 0
    batch_norm = False
    ported = False  # computes what CompressAI's port does, where that is something else

    name: str
    N: int = 192  # channels of z
    M: int = 320  # channels of y
    groups: tuple[int, ...] = (64,) * 5  # channels of each slice of y, in coding order
    lmbdas: tuple[float, ...] = ()  # those of a variable-rate model, rising; empty: fixed rate

    def __post_init__(self) -> None:
        self._check_types()
        self._check(
            sum(self.groups) == self.M, f"groups {quoted(self.groups)} must add up to M={self.M}"
        )
        # A .dco file numbers its slices in one byte, where 16 values are taken.
        self._check(len(self.groups) <= MAX_SLICES, f"groups: more than {MAX_SLICES} slices")
        self._check(
            len(self.lmbdas) != 1 and list(self.lmbdas) == sorted(set(self.lmbdas)),
            f"lmbdas {quoted(self.lmbdas)} must be empty or at least two increasing values",
        )

    def _check_types(self) -> None:
        """Values may come from a file: every one is checked before anything is computed."""
        for name, kind in kinds_of(type(self)).items():
            if get_origin(kind) is ClassVar:
                continue
            value = getattr(self, name)
            self._check(is_of_kind(value, kind), f"{name} is {quoted(value)}, not {told(kind)}")
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
            self._check_bounds(name, value)

    def _check_bounds(self, name: str, value: object) -> None:
        values = value if isinstance(value, (list, tuple)) else [value]
        self._check(len(values) <= MAX_SLICES, f"{name} has {len(values)} values, too many")
        least, most, what = 0 if name in _MAY_BE_ZERO else 1, _MOST_CHANNELS, "integers"
        if name in _FLOATS:
            least, most, what = *_FLOATS[name], "numbers"
        most = self.limits.get(name, _MOST.get(name, most))
        ok = all(least <= v <= most for v in values if type(v) in (int, float))
        self._check(ok, f"{name} is {quoted(value)}, expected {what} from {least:g} to {most:g}")

    def _check(self, ok: bool, message: str) -> None:
        if not ok:
            raise ConfigError(f"model config {quoted(self.name)}: {message}")

    @property
    def is_variable_rate(self) -> bool:
        """Whether one checkpoint covers a range of qualities."""
        return bool(self.lmbdas)

    def level(self, quality: float) -> float:
        """Position of a quality (0-100) between the lambdas, 0 to ``len(lmbdas) - 1``."""
        if not 0 <= quality <= 100:
            raise QualityError(f"quality {quality} is outside 0-100; choose a number in between")
        return quality / 100 * (len(self.lmbdas) - 1)

    def lmbda(self, quality: float) -> float:
        """Trade-off that a quality stands for: geometric interpolation of the lambdas."""
        if not self.is_variable_rate:
            raise QualityError(f"model {self.name!r} has one fixed rate: no quality stands for it")
        return interpolate_lmbda(self.lmbdas, self.level(quality))

    def to_dict(self) -> dict:
        """Plain values, ready for JSON; :meth:`from_dict` is the way back."""
        default = {f.name: f.default for f in fields(self)}
        values = asdict(self)
        if self.family != "dictionary":  # the first one: its files were written without
            values["family"] = self.family
        return {k: v for k, v in values.items() if not (k in _LATER_FIELDS and v == default[k])}

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """Rebuild a configuration; unknown keys are an error, never dropped."""
        if not isinstance(values, dict):
            raise ConfigError(f"model config is a {type(values).__name__}, expected a table")
        unknown = sorted(map(str, set(values) - {f.name for f in fields(cls)}))
        if unknown:
            raise ConfigError(
                f"model config has unknown keys [{listed(unknown)}]; it was written by another "
                "version of dictco_lib, or misspelt"
            )
        return cls(**values)


@dataclass(frozen=True)
class ModelConfig(CodecConfig):
    """Shape of DCAE, DictCO and their small forms."""

    family: ClassVar[str] = "dictionary"

    name: str = "dcae"
    widths: tuple[int, int, int] = (96, 144, 256)  # transform channels at strides 2, 4, 8
    head_dims: tuple[int, int, int] = (8, 16, 32)
    blocks: tuple[int, int, int] = (1, 2, 12)  # attention blocks at strides 2, 4, 8
    residual_blocks: int = 3  # bottlenecks in each down- or upsampling step
    reduction: int = 2  # inner width of a bottleneck is channels // reduction
    batch_norm: bool = False  # BatchNorm and a closing ReLU in each bottleneck
    window: int = 8
    hyper_head_dim: int = 32
    hyper_window: int = 4
    hyper_channels: int = 320  # channels of each of the two hyper-synthesis outputs
    experts: int = 0  # 0: one dictionary shared by all slices; K: K dictionaries per slice
    top_k: int = 0  # experts that a place may use; 0: all of them
    entries: int = 128  # entries per dictionary
    dictionary_dim: int = 640
    heads: int = 20
    context_channels: int = 320  # channels that the dictionary attention hands on
    parameter_widths: tuple[int, int] = (224, 128)  # hidden widths of mean, scale and LRP nets

    def __post_init__(self) -> None:
        super().__post_init__()
        widths = (*self.widths, self.N)
        for width, head in zip(widths, (*self.head_dims, self.hyper_head_dim), strict=True):
            self._check(width % head == 0, f"width {width} is not a multiple of head_dim {head}")
        self._check(
            self.dictionary_dim % self.heads == 0,
            f"dictionary_dim {self.dictionary_dim} is not a multiple of heads {self.heads}",
        )
        self._check(
            self.top_k == 0 or 0 < self.top_k < self.experts,
            f"top_k {self.top_k} must be 0 (all) or less than the {self.experts} experts",
        )
        self._check(
            self.experts <= 1 or self.dictionary_dim >= 4,
            f"dictionary_dim {self.dictionary_dim} is below 4: the router has a quarter of it",
        )
        narrowest = min(*self.widths, self.N)
        self._check(
            self.reduction <= narrowest,
            f"reduction {self.reduction} leaves nothing of the width {narrowest}",
        )
        for what, got, most in (
            ("weights", weights(self), MAX_WEIGHTS),
            ("numbers at once for 64x64 pixels", activation(self), MAX_ACTIVATION),
        ):
            self._check(got <= most, f"it comes to {got} {what}, at most {most} are computed")


def interpolate_lmbda(lmbdas: tuple[float, ...], level: float) -> float:
    """Geometric interpolation between lambdas; level 0 is the first, 1 the second, and so on."""
    low = min(int(level), len(lmbdas) - 2)
    a, b = (math.log(v) for v in lmbdas[low : low + 2])
    return math.exp(a + (level - low) * (b - a))


def weights(config: ModelConfig) -> int:
    """How many numbers the matrices and kernels of a model hold; vectors add a few per cent."""
    c, dim = config, config.dictionary_dim

    def blocks(width: int) -> int:  # of a down- or upsampling step
        inner = width // c.reduction
        return c.residual_blocks * (2 * width * inner + 9 * inner**2)

    def stage(width: int, head_dim: int, window: int, count: int) -> int:
        return count * (10 * width**2 + width // head_dim * (2 * window - 1) ** 2) + 9 * width**2

    sizes = (3, *c.widths)
    transform = 25 * c.widths[-1] * c.M
    for i, (a, b) in enumerate(zip(sizes, c.widths, strict=False)):
        count = c.blocks[i]
        transform += 25 * a * b + blocks(b)
        transform += stage(b, c.head_dims[i], c.window, count) if count else 0
    hyper = 3 * (stage(c.N, c.hyper_head_dim, c.hyper_window, 1) + 9 * c.N**2 + blocks(c.N))
    hyper += 25 * c.N * (c.M + 2 * c.hyper_channels)
    dictionaries = c.experts * c.entries * dim
    slices, query = 0, 2 * c.hyper_channels
    for size in c.groups:
        support = query + c.context_channels
        slices += dim * (query + c.context_channels + 20 * dim) + dictionaries
        slices += 27 * (support * c.parameter_widths[0] + math.prod(c.parameter_widths))
        slices += 9 * size * (c.parameter_widths[0] + 3 * c.parameter_widths[1])
        query += size
    return 2 * transform + hyper + slices + (0 if c.experts else c.entries * dim)


def activation(config: ModelConfig) -> int:
    """Numbers of the largest map that an input of 64x64 pixels makes: what memory follows."""
    c = config

    def stage(side: int, width: int, head_dim: int, window: int) -> int:
        places = (-(-side // window) * window) ** 2  # padded to whole windows
        return places * max(4 * width, width // head_dim * window**2)

    stages = [
        stage(32 >> i, c.widths[i], c.head_dims[i], c.window) if c.blocks[i] else 0
        for i in range(3)
    ]
    maps = [(32 >> i) ** 2 * width for i, width in enumerate(c.widths)]
    hyper = stage(2, c.N, c.hyper_head_dim, c.hyper_window)
    support = 2 * c.hyper_channels + c.M + c.context_channels
    keys = c.heads * max(1, c.experts) * c.entries
    slices = 16 * max(9 * support, 4 * c.dictionary_dim, keys)
    return max(*stages, *maps, hyper, slices)


DCAE = ModelConfig()
DICTCO = replace(DCAE, name="dictco", experts=4, entries=64, reduction=4, batch_norm=True)
CLASSROOM = ModelConfig(
    name="classroom",
    N=96,
    M=320,
    groups=(16, 16, 32, 64, 192),
    widths=(48, 96, 144),
    head_dims=(16, 16, 24),
    blocks=(0, 0, 1),
    residual_blocks=1,
    hyper_head_dim=24,
    hyper_channels=96,
    experts=4,
    entries=32,
    dictionary_dim=64,
    heads=4,
    context_channels=64,
    parameter_widths=(48, 48),
    lmbdas=LMBDAS,
)
NANO = replace(
    CLASSROOM,
    name="nano",
    N=32,
    M=48,
    groups=(8, 16, 24),
    widths=(16, 24, 32),
    head_dims=(8, 8, 8),
    blocks=(0, 0, 1),
    residual_blocks=1,
    hyper_head_dim=16,
    hyper_channels=32,
    entries=16,
    dictionary_dim=32,
    heads=2,
    context_channels=32,
    parameter_widths=(32, 32),
)
PRESETS = {config.name: config for config in (DCAE, DICTCO, CLASSROOM, NANO)}
