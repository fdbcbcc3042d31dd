"""The members of the family side by side: what each one is, measured or published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from dictco_lib.checkpoints import fingerprint, load, shipped_models
from dictco_lib.config import CodecConfig
from dictco_lib.evaluation.bdrate import compare
from dictco_lib.evaluation.complexity import DECODER, ENCODER, outline, rooms_of, total_macs
from dictco_lib.evaluation.published import published, record
from dictco_lib.evaluation.reach import narrowed, transform_reach
from dictco_lib.models import FAMILIES, PRESETS
from dictco_lib.models.family import paper_of
from dictco_lib.models.papers import Paper

#: Width and height for which multiply-accumulates are counted: those of most Kodak images.
SIZE = (768, 512)
#: What published curves are compared with.
ANCHOR = "vtm"
_TYPICAL = 34.0  # dB, in the middle of what all of them publish


@dataclass(frozen=True)
class Points:
    """Published points on Kodak, ``bpp`` and RGB ``psnr``, and their BD-rate against VTM in %."""

    name: str
    source: str
    bpp: list[float]
    psnr: list[float]
    bd_rate: float

    @property
    def typical(self) -> tuple[float, float]:
        """The point nearest to 34 dB: bpp and dB."""
        pairs = zip(self.bpp, self.psnr, strict=True)
        return min(pairs, key=lambda pair: abs(pair[1] - _TYPICAL))


@dataclass(frozen=True)
class Weights:
    """Weights that ship: name of the file, its bytes, and the model's fingerprint in hex."""

    file: str
    size: int
    fingerprint: str


@dataclass(frozen=True)
class Member:
    """One preset.

    ``parameters`` are those that code; ``training_parameters`` exist in training only. The
    multiply-accumulates are per pixel of an image of ``counted_for``, width and height.
    ``analysis_sees`` and ``synthesis_sees`` are in pixels across, None for more than was
    measured: see :func:`dictco_lib.evaluation.reach.transform_reach`.
    """

    name: str
    family: str
    parameters: int
    training_parameters: int
    encoder_macs: float
    decoder_macs: float
    analysis_sees: int | None
    synthesis_sees: int | None
    groups: tuple[int, ...]
    is_variable_rate: bool
    paper: Paper
    points: Points | None
    weights: Weights | None
    counted_for: tuple[int, int] = SIZE

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return asdict(self)


def members() -> Iterator[Member]:
    """All presets, page by page, and other weights that ship; each when it is measured."""
    for config in PRESETS.values():
        yield member(config)
    for name in sorted(shipped_models().keys() - PRESETS):
        yield replace(member(load(name).config), name=name, points=None, weights=_weights(name))


def member(config: CodecConfig) -> Member:
    """What one configuration is; no weights of it are made."""
    model = outline(config)
    width, height = SIZE
    rooms = rooms_of(model, height, width)
    total = sum(p.numel() for p in model.parameters())
    extra = model.training_only
    in_training = sum(p.numel() for p in extra.parameters()) if extra is not None else 0
    sees = _reach(narrowed(config))
    return Member(
        name=config.name,
        family=config.family,
        parameters=total - in_training,
        training_parameters=in_training,
        encoder_macs=total_macs(rooms, ENCODER) / (width * height),
        decoder_macs=total_macs(rooms, DECODER) / (width * height),
        analysis_sees=sees["g_a"],
        synthesis_sees=sees["g_s"],
        groups=config.groups,
        is_variable_rate=config.is_variable_rate,
        paper=paper_of(config),
        points=_points(config),
        weights=_weights(config.name),
    )


@cache
def _reach(small: CodecConfig) -> dict[str, int | None]:
    return transform_reach(small)


def _points(config: CodecConfig) -> Points | None:
    name = FAMILIES[config.family].CURVES.get(config.name)
    if name is None:
        return None
    curve = published(name)
    found = compare(published(ANCHOR), curve)
    source = record(name)["source"]
    return Points(curve.name, source, list(curve.bpp), list(curve.psnr), found.rate)


def _weights(name: str) -> Weights | None:
    path: Path | None = shipped_models().get(name)
    if path is None:
        return None
    return Weights(path.name, path.stat().st_size, fingerprint(load(name)).hex())
