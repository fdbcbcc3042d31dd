"""Rate control: search the quality whose file, or files, have the rate or likeness asked for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from dictco_lib.arguments import as_number, check_codec, quoted
from dictco_lib.coding import Encoded, Latent, code_latent, to_latent
from dictco_lib.config import SSIMULACRA2_MIN_SIDE
from dictco_lib.errors import DictcoError, TargetError
from dictco_lib.evaluation.metrics import psnr, ssimulacra2
from dictco_lib.images import eight_bit
from dictco_lib.models import DictionaryCodec
from dictco_lib.tiles import TILE, cut, synthesise

#: The most passes of the entropy model; two of them are kept for an error that names the range.
MAX_PASSES = 12
BEST = 10_000  # qualities are searched in hundredths, as a file holds them
#: In dB: a decoder's float32 may round another way than the encoder's (about 1e-4 dB).
PSNR_MARGIN = 1e-3
#: The same of SSIMULACRA 2, in its points; and how far above the target it may be.
SSIMULACRA2_MARGIN, SSIMULACRA2_WINDOW = 0.01, 0.5
#: Kinds of targets that are measured on the decoded image.
_MEASURED = {"min_psnr": psnr, "ssimulacra2": ssimulacra2}
_FIELDS = {"min_psnr": "psnr", "ssimulacra2": "ssimulacra2"}  # of what is returned
#: Images of so many pixels, with their latents (6 bytes a pixel), are kept from pass to pass.
KEPT_PIXELS = 2**25


@dataclass(frozen=True)
class Controlled(Encoded):
    """A file that meets a target, and what the search for it took.

    ``passes`` counts the passes of the entropy model, ``psnr`` (dB) or ``ssimulacra2`` was measured
    if it was the target; ``is_bound`` says that quality 0 or 100 was more, or less, than was
    needed, or that no step of the size came nearer.
    """

    passes: int
    psnr: float | None
    is_bound: bool
    ssimulacra2: float | None = None


@dataclass(frozen=True)
class Averaged:
    """Files of one quality that meet a rate together.

    ``files`` are by the images' names; ``bpp`` are their bits per pixel of all images; ``passes``
    counts how often all of them were coded.
    """

    quality: float
    bpp: float
    passes: int
    files: dict[str, Encoded]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(encoded.data) for encoded in self.files.values())


@dataclass(frozen=True)
class _Target:
    """A kind of target; any value from ``low`` to ``high`` meets it."""

    kind: str
    asked: float
    low: float
    high: float

    def is_met(self, value: float) -> bool:
        return self.low <= value <= self.high

    def text(self, value: float) -> str:
        """A value with its unit."""
        form = {"bpp": "{:.4g} bpp", "max_bytes": "{:.0f} bytes", "min_psnr": "{:.3f} dB"}
        return form.get(self.kind, "{:.2f}").format(value)

    @property
    def is_measured(self) -> bool:
        """Whether the decoded image tells."""
        return self.kind in _MEASURED

    def curve(self, value: float) -> float:
        """What is nearly linear in the quality: the likeness, and the logarithm of the rate."""
        return value if self.is_measured else math.log(value)


@torch.no_grad()
def encode_to(
    model: DictionaryCodec,
    image: object,
    *,
    bpp: float | None = None,
    max_bytes: int | None = None,
    min_psnr: float | None = None,
    ssimulacra2: float | None = None,
    metadata: bool = False,
    fast: bool = False,
    tile: int = TILE,
    regions: Sequence = (),
) -> Controlled:
    """Compress an image to a size, a rate, a PSNR or a SSIMULACRA 2, whichever one is given.

    The image is analysed once; then every quality tried is one pass of the entropy model.

    Args:
        model: a variable-rate codec.
        image: as for :func:`dictco_lib.coding.encode`, like the last four arguments. Qualities of
            regions stay as they are; that of the rest is searched.
        bpp: bits of the file per pixel of the image, met within 1 %.
        max_bytes: never more than this, and at most 2 % less, unless quality 100 takes less or
            the image is so small that its sizes come in larger steps.
        min_psnr: PSNR in dB of the decoded 8-bit image, RGB; never less. At most 0.05 dB more
            unless quality 0 gives more, or the image is too small for steps that fine.
        ssimulacra2: the same of SSIMULACRA 2 (100: equal), at most half a point more; see
            :func:`dictco_lib.evaluation.metrics.ssimulacra2`.
        metadata: keep EXIF data, resolution and XMP too.
        fast: code in float32.
        tile: side of a tile in latent samples.
        regions: where another quality holds.

    Raises:
        TargetError: if the target is beyond what qualities 0 to 100 give, or falls between two
            sizes that a small image can have; if the model has one fixed rate; or if not
            exactly one target is given.
    """
    check_codec(model)
    target = _target(bpp, max_bytes, min_psnr, ssimulacra2)
    _check_variable(model, target)
    search = _Search(model, to_latent(model, image, metadata, tile, regions), fast, target)
    quality = search.run()
    is_bound = not target.is_met(search.value(quality))
    encoded, likeness = search.tried[quality]
    measured = {"psnr": None} | ({_FIELDS[target.kind]: likeness} if target.is_measured else {})
    return Controlled(**vars(encoded), passes=len(search.tried), is_bound=is_bound, **measured)


@torch.no_grad()
def encode_to_average(
    model: DictionaryCodec,
    images: Mapping[str, object],
    bpp: float,
    *,
    metadata: bool = False,
    fast: bool = False,
    tile: int = TILE,
    regions: Sequence = (),
    watch: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Averaged:
    """Compress several images at one quality, so that together they have a rate.

    A quality is a slope (bits for a little less squared error): at equal slopes no bit would do
    more good in another image.

    Args:
        model: a variable-rate codec.
        images: as for :func:`dictco_lib.coding.encode`, like what is not explained here; by names
            for errors.
        bpp: bits of all files per pixel of all images; at most 1 % below, never above.
        metadata: keep EXIF data, resolution and XMP too.
        fast: code in float32.
        tile: side of a tile in latent samples.
        regions: where another quality holds, in every image.
        watch: is handed the names at each pass and gives them back one by one, to show progress.

    Raises:
        TargetError: if the target is beyond what qualities 0 to 100 give, or falls between two
            steps of small images; if the model has one fixed rate; or if one of the images cannot
            be coded: the average is of all.
    """
    check_codec(model)
    asked = _target(bpp).asked
    target = _Target("bpp", asked, 0.99 * asked, asked)
    _check_variable(model, target)
    if not images:
        raise TargetError("got no images, an average is of at least one")
    search = _Together(model, images, target, fast, watch, (metadata, tile, regions))
    quality = search.run()
    reached = search.value(quality)
    return Averaged(quality / 100, reached, len(search.rates), search.files_of(quality))


def _check_variable(model: DictionaryCodec, target: _Target) -> None:
    if not model.config.is_variable_rate:
        raise TargetError(
            f"model {model.config.name!r} has one fixed rate, so {target.kind} cannot be chosen; "
            "take a variable-rate model, or leave the target out"
        )


def _target(
    bpp: float | None,
    max_bytes: float | None = None,
    min_psnr: float | None = None,
    ssimulacra2: float | None = None,
) -> _Target:
    given = {"bpp": bpp, "max_bytes": max_bytes, "min_psnr": min_psnr, "ssimulacra2": ssimulacra2}
    given = {kind: value for kind, value in given.items() if value is not None}
    if len(given) != 1:
        raise TargetError(
            f"got {' and '.join(given) or 'no target'}; give exactly one of bpp, max_bytes, "
            "min_psnr and ssimulacra2"
        )
    kind, asked = next(iter(given.items()))
    wanted = as_number(asked)
    if wanted is None or not (math.isfinite(wanted) and wanted > 0):
        raise TargetError(f"{kind} is {quoted(asked)}, expected a number above 0")
    asked = wanted
    window = {
        "bpp": (0.99 * asked, 1.01 * asked),
        "max_bytes": (0.98 * asked, asked),
        "min_psnr": (asked + PSNR_MARGIN, asked + 0.05),
        "ssimulacra2": (asked + SSIMULACRA2_MARGIN, asked + SSIMULACRA2_WINDOW),
    }
    return _Target(kind, asked, *window[kind])


class _Falsi(ABC):
    """Regula falsi over hundredths of quality, for a value that rises with the quality."""

    target: _Target

    @abstractmethod
    def value(self, quality: int) -> float:
        """What the target limits, at a quality; what was computed once is remembered."""

    def run(self) -> int:
        """The quality that meets the target, in hundredths."""
        target = self.target
        below = above = None  # the tried qualities nearest to the window, on either side
        at, self.count = BEST // 2, 0
        while self.count < MAX_PASSES - 2:
            value = self.value(at)
            self.count += 1
            if target.is_met(value):
                return at
            below, above = (at, above) if value < target.low else (below, at)
            if below == BEST or above == 0 or (below is not None and above == below + 1):
                break
            at = self._between(below, above)
        if target.is_measured and above is not None:
            return above
        if target.kind == "max_bytes" and below is not None:
            return below
        raise self._error(below, above)

    def _between(self, below: int | None, above: int | None) -> int:
        """Where to look next: an end, or where a straight line meets the window's middle."""
        if below is None or above is None:
            return 0 if below is None else BEST
        low, high = (self.target.curve(self.value(quality)) for quality in (below, above))
        # The curve is smooth, so lines miss seldom; where sizes come in steps, halving is safe.
        if math.isinf(high) or (self.count > 4 and self.count % 2):
            return (below + above) // 2
        middle = self.target.curve((self.target.low + self.target.high) / 2)
        at = below + (above - below) * (middle - low) / (high - low)
        return min(max(round(at), below + 1), above - 1)

    def _error(self, below: int | None, above: int | None) -> TargetError:
        target = self.target
        ends = [target.text(self.value(quality)) for quality in (0, BEST)]
        message = (
            f"{target.kind} {target.asked:g} cannot be met: quality 0 gives {ends[0]}, quality "
            f"100 gives {ends[1]}"
        )
        if below is None or above is None:
            return TargetError(f"{message}; ask for something in between")
        near = " and ".join(
            f"{target.text(self.value(quality))} at quality {quality / 100:g}"
            for quality in (below, above)
        )
        return TargetError(
            f"{message}, and the nearest steps found are {near}; ask for one of them"
        )


class _Search(_Falsi):
    """The search for one image; every pass is remembered in ``tried``."""

    def __init__(self, model: DictionaryCodec, latent: Latent, fast: bool, target: _Target) -> None:
        self.model, self.latent, self.fast, self.target = model, latent, fast, target
        #: Files, and how like the image each is, if that is the target.
        self.tried: dict[int, tuple[Encoded, float | None]] = {}

    def value(self, quality: int) -> float:
        """What the target limits, at a quality; a pass of the entropy model if it is a new one."""
        if quality not in self.tried:
            keep = self.target.is_measured
            encoded, y_hat = code_latent(
                self.model, self.latent, quality / 100, self.fast, keep=keep
            )
            self.tried[quality] = encoded, self._likeness(y_hat) if keep else None
        encoded, likeness = self.tried[quality]
        if self.target.is_measured:
            return likeness
        return encoded.bpp if self.target.kind == "bpp" else len(encoded.data)

    def _likeness(self, y_hat: torch.Tensor) -> float:
        original, boxes = self.latent.image, self.latent.boxes
        kind = original.is_grey, original.is_sixteen_bit
        samples = synthesise(self.model, cut(y_hat, boxes), boxes, original.size, kind)
        shown = eight_bit(replace(original, samples=samples))
        found = _MEASURED[self.target.kind](eight_bit(original), shown)
        if found is None:
            raise TargetError(
                f"ssimulacra2 needs sides above {SSIMULACRA2_MIN_SIDE} pixels, the image has "
                f"{'x'.join(map(str, original.size))}; ask for min_psnr"
            )
        return found


class _Together(_Falsi):
    """The search for several images; the files of the last pass are kept."""

    def __init__(
        self,
        model: DictionaryCodec,
        images: Mapping[str, object],
        target: _Target,
        fast: bool,
        watch: Callable[[Iterable[str]], Iterable[str]],
        options: tuple,
    ) -> None:
        self.model, self.images, self.target, self.fast = model, images, target, fast
        self.watch, self.options = watch, options
        self.rates: dict[int, float] = {}
        self._latents: dict[str, Latent] = {}
        self._kept = 0
        self._last: tuple[int, dict[str, Encoded]] = (-1, {})

    def value(self, quality: int) -> float:
        """Bits per pixel of all images."""
        if quality not in self.rates:
            files = {}
            for name in self.watch(self.images):
                try:
                    files[name] = code_latent(
                        self.model, self._latent(name), quality / 100, self.fast, keep=False
                    )[0]
                except (DictcoError, OSError) as error:
                    raise TargetError(
                        f"{name} fails ({error}), and the average is of all images; mend it or "
                        "leave it out"
                    ) from error
            pixels = sum(encoded.width * encoded.height for encoded in files.values())
            bits = 8 * sum(len(encoded.data) for encoded in files.values())
            self.rates[quality], self._last = bits / pixels, (quality, files)
        return self.rates[quality]

    def files_of(self, quality: int) -> dict[str, Encoded]:
        """The files of a pass; its value was the last one to be computed, or they are made anew."""
        if self._last[0] != quality:
            del self.rates[quality]
            self.value(quality)
        return self._last[1]

    def _latent(self, name: str) -> Latent:
        """An image and its y: kept, as long as all that is kept is not too much."""
        if name in self._latents:
            return self._latents[name]
        latent = to_latent(self.model, self.images[name], *self.options)
        pixels = latent.image.size[0] * latent.image.size[1]
        if self._kept + pixels <= KEPT_PIXELS:
            self._latents[name] = latent
            self._kept += pixels
        return latent
