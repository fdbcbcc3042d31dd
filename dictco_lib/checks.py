"""Checkers of the notebooks' exercises: they print what is right or what differs, never raise."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from dictco_lib.bitstream import ChunkType, unpack
from dictco_lib.coding import decode, encode
from dictco_lib.config import ModelConfig
from dictco_lib.errors import BadChecksum, BitstreamError
from dictco_lib.evaluation.bdrate import Curve, compare
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.images import Picture
from dictco_lib.inspect import rooms
from dictco_lib.inspect.ablations import Means, switched_off
from dictco_lib.inspect.outcome import Subject, measure, prepare
from dictco_lib.inspect.routing import Rule, choice_bits, only, rerouted
from dictco_lib.models.transforms import Analysis
from dictco_lib.training.recipe import Recipe


def _checker(check: Callable[..., str | None]) -> Callable[..., bool]:
    """Turn a function that returns a complaint (or None) into one that prints and never raises."""

    @functools.wraps(check)
    def run(answer: object, *context: object) -> bool:
        if answer is None:
            print("not done yet")
            return False
        try:
            complaint = check(answer, *context)
        except Exception as error:  # a learner's answer may be anything
            complaint = f"the check could not use your answer: {type(error).__name__}: {error}"
        print(complaint or "right!")
        return complaint is None

    return run


@_checker
def ex_00_1(answer: float, encoded) -> str | None:
    """How many times smaller than the raw pixels is the file?"""
    want = 3 * encoded.width * encoded.height / len(encoded.data)
    if abs(answer - want) > 0.01 * want:
        return f"not quite: raw pixels take 3 bytes each; {answer:.1f} is not bytes over bytes"
    return None


@_checker
def ex_00_2(answer: bytes, pixels: np.ndarray, model, limit: int) -> str | None:
    """Is this a .dco file below the limit, and as good as fits?"""
    if len(answer) > limit:
        return f"{len(answer)} bytes, but at most {limit} are allowed"
    got = psnr(pixels, np.asarray(decode(model, answer)))
    better = encode(model, pixels, min(100.0, unpack(answer).quality + 2))
    if len(better.data) <= limit:
        return f"it fits with {got:.2f} dB, but a quality 2 higher would fit as well"
    return None


@_checker
def ex_00_3(answer: bytes) -> str | None:
    """Was the file cut so that z and all but the last slice remain?"""
    kinds = [chunk.type for chunk in unpack(answer, partial=True).chunks]
    slices = [kind for kind in kinds if kind >= ChunkType.SLICE]
    whole = unpack(answer, partial=True)
    if ChunkType.Z not in kinds or not slices:
        return "too short: z and at least one slice must remain"
    try:
        unpack(answer)
    except Exception:  # the file is cut, as it should be
        return None
    return f"nothing is missing: all {len(whole.chunks)} chunks are there"


def _entropy(symbols: np.ndarray) -> float:
    """Bits per symbol under the symbols' own histogram."""
    counts = np.unique(symbols, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-np.sum(p * np.log2(p)))


def _rate_by_frequency(symbols: np.ndarray) -> float:
    """Bits per pixel of (rows, columns, 8, 8) symbols, a histogram for each frequency."""
    return float(np.mean([_entropy(symbols[..., i, j]) for i in range(8) for j in range(8)]))


@_checker
def ex_01_1(answer: float, message: str) -> str | None:
    """How many bits does the message hold?"""
    bits = len(message) * _entropy(np.array(list(message)))
    if abs(answer - bits / len(message)) < 0.005:
        return f"{answer:.3f} is per letter; the message has {len(message)} letters"
    if abs(answer - bits) > 0.01 * bits:
        return f"{answer:.2f} is not the sum of -log2 p over the letters"
    return None


@_checker
def ex_01_2(answer: float, coefficients: np.ndarray, target: float) -> str | None:
    """Does the step give the target rate, to a hundredth?"""
    got = _rate_by_frequency(np.round(coefficients / answer))
    if abs(got - target) > 0.01 * target:
        return f"step {answer:g} gives {got:.3f} bpp; a larger step gives fewer bits"
    return None


@_checker
def ex_01_3(answer: float, symbols: np.ndarray) -> str | None:
    """How much more does one histogram for all frequencies cost, in bpp?"""
    want = _entropy(symbols) - _rate_by_frequency(symbols)
    if abs(answer + want) < 0.01 * want:
        return "the sign is wrong: one histogram for all costs more, not less"
    if abs(answer - want) > 0.01 * want:
        return f"{answer:.3f} is not it; what is entropy(symbols) of all of them together?"
    return None


@_checker
def ex_01_4(answer: np.ndarray, coefficients: np.ndarray, step: float, lmbda: float) -> str | None:
    """Do these symbols have a loss at least 2 % below that of rounding, with the same decoder?"""
    answer = np.asarray(answer)
    if answer.shape != coefficients.shape or not np.array_equal(answer, np.round(answer)):
        return f"expected whole numbers of shape {coefficients.shape}, got {answer.shape}"

    def loss(symbols: np.ndarray) -> float:
        mse = np.mean((symbols * step - coefficients) ** 2)
        return _rate_by_frequency(symbols) + lmbda * mse

    plain, got = loss(np.round(coefficients / step)), loss(answer)
    if got > 0.98 * plain:
        return f"your loss is {got:.4f}, that of rounding {plain:.4f}; gain at least 2 %"
    return None


@_checker
def ex_02_1(answer: int, config: ModelConfig) -> str | None:
    """How many pixels across does a sample see after the second step of g_a?"""
    x = torch.rand(1, 3, 16, 512).requires_grad_()
    want = rooms.columns_seen(nn.Sequential(*list(Analysis(config))[:3])(x), x)
    if answer == want:
        return None
    if answer == 1 + 2 * (4 + 2 * config.residual_blocks):
        return f"{answer} would be right if a place were a pixel wide in both steps"
    return f"{answer} is not it; a kernel of k adds k - 1 times the pixels between its places"


@_checker
def ex_02_2(answer: int, room: rooms.Room) -> str | None:
    """Are these the multiply-accumulates of a room?"""
    if answer == room.macs:
        return None
    if answer == 2 * room.macs:
        return f"{answer:,} are operations; a multiplication with its addition is one MAC"
    if answer == 4 * room.macs:
        return f"{answer:,} counts the places of the input; each sum belongs to one of the output"
    return f"{answer:,} is {answer / room.macs:.2f} times what was measured"


@_checker
def ex_02_3(answer: Callable[..., Tensor]) -> str | None:
    """Does the function compute a mixture of dictionaries?"""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 8), (3, 4, 8), (3, 4, 8), (6, 3))
    q, keys, values, gates = (torch.randn(shape, generator=generator) for shape in shapes)
    gates = gates.softmax(-1)
    weights = torch.einsum("pd,knd->pkn", q, keys)

    def equals(right: Tensor, gates: Tensor) -> bool:
        want = torch.einsum("pk,pkn,knd->pd", gates, right, values)
        return got.shape == want.shape and torch.allclose(got, want, rtol=1e-4, atol=1e-5)

    got = answer(q, keys, values, gates)
    if equals(weights.softmax(-1), gates):
        return None
    if equals(weights.flatten(1).softmax(-1).unflatten(1, (3, 4)), gates):
        return "the softmax goes over all entries; each expert has one of its own"
    if equals(weights.softmax(-1), torch.ones_like(gates)):
        return "the gates are left out"
    return f"shape {tuple(got.shape)}, not the numbers of a loop over the {len(keys)} experts"


@_checker
def ex_02_4(answer: ModelConfig, config: ModelConfig) -> str | None:
    """Does the shape decode with 80 % of the work and keep 90 % of the parameters?"""
    found, was = rooms.measure_rooms(answer), rooms.measure_rooms(config)
    work = rooms.total_macs(found, rooms.DECODER) / rooms.total_macs(was, rooms.DECODER)
    kept = sum(r.parameters for r in found) / sum(r.parameters for r in was)
    if work > 0.8:
        return f"it decodes with {work:.1%} of the MACs; look for rooms on large maps"
    if kept < 0.9:
        return f"{work:.1%} of the MACs, but only {kept:.1%} of the parameters are left"
    return None


@_checker
def ex_03_1(answer: float, bpp: float, mse: float, lmbda: float) -> str | None:
    """Is this the loss of one image?"""
    want = bpp + lmbda * 255**2 * mse
    if abs(answer - want) > 1e-3 * want:
        return (
            f"{answer:.4f} is not bpp + lmbda * 255**2 * mse; is the mse that of pixels in [0, 1]?"
        )
    return None


@_checker
def ex_03_2(answer: Recipe, recipe: Recipe) -> str | None:
    """Does the recipe take the same steps in a quarter of the memory?"""
    changed = {k for k, v in answer.to_dict().items() if recipe.to_dict()[k] != v} - {"out"}
    if changed != {"accumulate"}:
        return f"{sorted(changed) or 'nothing'} changed; only `accumulate` should: the batch stays"
    if answer.accumulate != 4:
        return f"accumulate = {answer.accumulate} takes a batch in {answer.accumulate} parts, not 4"
    return None


@_checker
def ex_03_3(answer: int, rows: list[dict]) -> str | None:
    """Which slice's router is the most decided at the end of the log?"""
    last = [row for row in rows if "gate_entropy/0" in row][-1]
    entropy = [v for k, v in last.items() if k.startswith("gate_entropy/")]
    if answer != int(np.argmin(entropy)):
        return f"slice {answer} has {entropy[answer]:.2f} bits; another one has less"
    return None


@_checker
def ex_04_1(answer: float, gates: list[float]) -> str | None:
    """How many experts are in use at a place with these gates?"""
    entropy = -sum(g * math.log2(g) for g in gates if g)
    if abs(answer - entropy) < 0.005:
        return f"{answer:.2f} is the entropy in bits; so many bits choose among how many?"
    if abs(answer - 2**entropy) > 0.01:
        return f"{answer:.2f} is not it; 2 to the power of the entropy in bits"
    return None


@_checker
def ex_04_2(answer: float, model, pixels: np.ndarray, k: int) -> str | None:
    """How much more does a place tell about the expert of slice k at quality 100 than at 0?"""
    low, high = (
        choice_bits([measure(model, prepare(model, pixels, quality)).gates[k]])
        for quality in (0, 100)
    )
    if abs(answer - (high - low)) <= 0.005:
        return None
    if abs(answer + (high - low)) <= 0.005:
        return "the sign is wrong: take quality 100 minus quality 0"
    return f"{answer:.3f} bits is not it; prepare and measure the photo at both qualities"


@_checker
def ex_04_3(answer: Rule) -> str | None:
    """Does the rule keep the two largest gates of each place, in their proportion?"""
    gates = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    got = answer(gates.clone())
    if got.shape != gates.shape or not torch.allclose(got.sum(-1), torch.ones(2, 3, 5)):
        return "the new gates do not add up to 1 over the experts; scale them"
    if not bool(((got > 0).sum(-1) == 2).all()):
        return "not two experts a place: all others get a gate of 0"
    kept = gates.where(gates >= gates.topk(2, -1).values[..., 1:], 0)
    if not torch.allclose(got, kept / kept.sum(-1, keepdim=True)):
        return "two experts a place, but not the largest ones in their old proportion"
    return None


@_checker
def ex_04_4(answer: torch.Tensor, model, subject: Subject, k: int) -> str | None:
    """Do these gates (h, w, K) save 4 % of the bits of slice k against the router's?"""
    gates = torch.as_tensor(answer).detach()
    if bool((gates < 0).any()) or not torch.allclose(gates.sum(-1), torch.ones(gates.shape[:2])):
        return "gates are not negative and add up to 1 over the experts; a softmax makes them so"
    before = measure(model, subject).y_bits[k].sum()
    with rerouted(model, lambda old: gates.to(old).expand_as(old), [k]):
        saved = 1 - measure(model, subject).y_bits[k].sum() / before
    return None if saved >= 0.04 else f"that saves {saved:.1%} of slice {k}; 4 % were asked for"


@_checker
def ex_05_1(answer: Callable[[bytes], int]) -> str | None:
    """Does the function read LEB128 integers?"""
    cases = {b"\x05": 5, b"\x7f": 127, b"\x80\x01": 128, b"\x80\x03": 384, b"\xff\xff\x03": 65535}
    for data, want in cases.items():
        if (got := answer(data)) != want:
            return f"for the bytes {data.hex(' ')} it gives {got}, they stand for {want}"
    return None


@_checker
def ex_05_2(answer: float, per_place: np.ndarray) -> str | None:
    """Which share of the bits does the most expensive tenth of the places take?"""
    values = np.sort(per_place.ravel())[::-1]
    want = values[: round(0.1 * values.size)].sum() / values.sum()
    if abs(answer - want) > 0.01:
        return f"{answer:.3f} is not it; sort all places, the dearest first, and add up a tenth"
    return None


@_checker
def ex_05_3(answer: bytes, model, pixels: np.ndarray, data: bytes, target: float) -> str | None:
    """Is this the shortest beginning of the file that reaches the PSNR?"""
    if not data.startswith(answer):
        return "this is not a beginning of the file; cut it, change nothing"
    got = psnr(pixels, np.asarray(decode(model, answer, partial=True)))
    if got < target:
        return f"it shows {got:.2f} dB, {target:.2f} dB were asked for; keep more"
    try:
        less = decode(model, answer[:-1], partial=True)
    except BitstreamError:  # nothing can be shown from less
        return None
    if psnr(pixels, np.asarray(less)) >= target:
        return "long enough, but a shorter one would do: cut at the end of a chunk"
    return None


@_checker
def ex_05_4(answer: bytes, model, data: bytes) -> str | None:
    """Is this a forgery that all CRCs accept and only the sums over the symbols catch?"""
    container = unpack(answer)  # raises where a CRC does not fit
    if [c for c in container.chunks if c.type >= ChunkType.SLICE] == [
        c for c in unpack(data).chunks if c.type >= ChunkType.SLICE
    ]:
        return "all slices are as they were; turn a bit over in one of them"
    try:
        decode(model, answer)
    except BadChecksum:
        return None
    return "it decodes: the flipped bit changed no symbol; take another one"


@_checker
def ex_06_1(answer: float, size: int, width: int, height: int) -> str | None:
    """Is this the bpp of a file of so many bytes?"""
    want = 8 * size / (width * height)
    if abs(answer - want) <= 1e-3 * want:
        return None
    if answer < want:
        return f"{answer:.4f} is too low: divide by the pixels of the photo, not of the padded one"
    return f"{answer:.4f} is too high: a byte has 8 bits, and a pixel counts once for all channels"


@_checker
def ex_06_2(answer: float, psnrs: list[float]) -> str | None:
    """Is this the PSNR of the mean squared error of pictures with these PSNRs?"""
    want = -10 * math.log10(float(np.mean(10 ** (-np.asarray(psnrs) / 10))))
    if abs(answer - want) <= 0.005:
        return None
    if abs(answer - float(np.mean(psnrs))) <= 0.005:
        return f"{answer:.2f} dB is the mean of the PSNRs; average the squared errors instead"
    return f"{answer:.2f} dB is not it; mse = 255**2 * 10 ** (-psnr / 10), and its mean goes back"


@_checker
def ex_06_3(answer: float, anchor: Curve, test: Curve) -> str | None:
    """Is this the BD-PSNR of a curve against the anchor?"""
    want = compare(anchor, test).psnr
    if abs(answer - want) <= 0.01:
        return None
    if abs(answer + want) <= 0.01:
        return f"{answer:+.3f} dB has the wrong sign: a better curve has a PSNR above the anchor's"
    return (
        f"{answer:+.3f} dB is not it; integrate PSNR over the logarithm of the rate, over the "
        "rates that both curves cover"
    )


@_checker
def ex_06_4(answer: tuple[Curve, Curve]) -> str | None:
    """Do the two curves cross, by 2 % or more on both sides?"""
    first, second = answer
    found = compare(first, second)
    grid = np.linspace(found.low, found.high, 200)
    ratio = second.rates_at(grid) / first.rates_at(grid)
    if ratio.min() > 0.98:
        return f"{second.name} never saves 2 % against {first.name}"
    if ratio.max() < 1.02:
        return f"{second.name} never costs 2 % more than {first.name}"
    return None


@_checker
def ex_07_1(answer: float, first: float, second: float) -> str | None:
    """What do two parts cost together, in percent, if neither minds the other?"""
    want = 100 * ((1 + first / 100) * (1 + second / 100) - 1)
    if abs(answer - (first + second)) <= 0.05:
        return f"{answer:g} % adds percentages, but they are factors: of what is the second one?"
    if abs(answer - want) > 0.05:
        return f"{answer:g} % is not it; write both as factors of the rate"
    return None


@_checker
def ex_07_2(answer: Callable) -> str | None:
    """Does the hook put the mean over the places in the place of a map?"""
    module, x = nn.Conv2d(2, 3, 1), torch.rand(2, 2, 4, 5)
    with torch.no_grad():
        out = module(x)
        with module.register_forward_hook(answer):
            got = module(x)
    if torch.equal(got, out):
        return "the output is as it was: a hook must return what stands in for it"
    if got.shape != out.shape:
        return f"a map of shape {tuple(out.shape)} became {tuple(got.shape)}; see Tensor.expand_as"
    if not torch.allclose(got, out.mean((2, 3), keepdim=True).expand_as(out), atol=1e-6):
        return "not the mean over height and width, for each picture and channel by itself"
    return None


@torch.no_grad()
def _bits(model, picture: Picture, quality: float) -> float:
    likelihoods = model(picture.pixels[None], quality)["likelihoods"]
    return sum(-p.log2().sum().item() for p in likelihoods.values())


@_checker
def ex_07_3(
    answer: tuple[str, str], model, picture: Picture, means: Means, quality: float
) -> str | None:
    """Which two parts cost least together, held against the product of what each costs alone?"""

    def factor(*off: str) -> float:
        with switched_off(model, off, means):
            return _bits(model, picture, quality) / whole

    whole = _bits(model, picture, quality)
    parts = ("dictionary", "LRP", "hyperprior", "slices")
    alone = {part: factor(part) for part in parts}
    ratios = {
        frozenset(pair): factor(*pair) / (alone[pair[0]] * alone[pair[1]])
        for pair in itertools.combinations(parts, 2)
    }
    if frozenset(answer) not in ratios:
        return f"expected two different names of {', '.join(parts)}"
    got = ratios[frozenset(answer)]
    if got > min(ratios.values()):
        return f"together they cost {got:.3f} times the product; another pair has less"
    return None


@_checker
def ex_07_4(answer: float, macs: dict[str, int], k: int, experts: int) -> str | None:
    """Which share of all arithmetic could top-k routing save, at the very best?"""
    share = macs["dictionaries"] / sum(macs.values())
    want = share * (1 - k / experts)
    if abs(answer - 100 * want) <= 0.01 * 100 * want:
        return "that is in percent; as a share it is a hundred times smaller"
    if abs(answer - share) <= 0.01 * share:
        return "not all of it: the experts that were chosen are still computed"
    if abs(answer - want) > 0.01 * want:
        return f"{answer:.4f} is not it; which part gets smaller, and by how much?"
    return None


@_checker
def ex_07_5(answer: list[int], model, picture: Picture, quality: float) -> str | None:
    """Does one expert per slice cost less than the best single number for all slices?"""

    def forced(experts: list[int]) -> float:
        with contextlib.ExitStack() as stack:
            for k, expert in enumerate(experts):
                stack.enter_context(rerouted(model, only(expert), [k]))
            return _bits(model, picture, quality)

    slices, experts = len(model.config.groups), model.config.experts
    if len(answer) != slices or any(e not in range(experts) for e in answer):
        return f"expected {slices} numbers from 0 to {experts - 1}, one expert a slice"
    best, got = min(forced([e] * slices) for e in range(experts)), forced(list(answer))
    if got >= best:
        return f"{got:.0f} bits; the same expert for all slices can do with {best:.0f}"
    return None
