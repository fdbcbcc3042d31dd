"""Exercises of the page The family."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dictco_lib.book.checks.checker import PERCENT, Complaint, checker, number, slip, whole
from dictco_lib.entropy.heads import Side
from dictco_lib.evaluation.estimate import estimate
from dictco_lib.images import ImageData
from dictco_lib.models import PRESETS, Codec


@checker
def ex_family_1(answer: int) -> str | None:
    """How many pixels across do four halving 5x5 convolutions see?"""
    answer = whole(answer)
    slips = {
        None: 5 + 4 * (2 + 4 + 8),
        "that is the first layer; the second one looks at what five of those see": 5,
        "that is with steps of 1: behind a layer that halves, a step is twice as wide": 17,
        "fields do not add up: neighbours overlap": 20,
        "five places of the last map are 16 pixels apart, but what they see overlaps": 80,
        "fields do not multiply: neighbours overlap": 625,
        "each layer adds its steps to the 5 pixels of the first one, which are missing": 56,
        "the first layer steps by single pixels; the steps double from there": 5 + 4 * (4 + 8 + 16),
    }
    hint = f"{answer} is not it; each layer adds 4 steps of its own input"
    return next((said for said, value in slips.items() if value == answer), hint)


@checker
def ex_family_2(answer: tuple[float, float], model: Codec, image: ImageData) -> str | None:
    """At which quality is the share of z largest, and how large is it?"""
    quality, share = _pair(answer)
    found = {q: estimate(model, [image], q)[0] for q in (0, 50, 100)}
    shares = {q: f.z_bits.sum() / f.bits for q, f in found.items()}
    most = max(shares, key=shares.get)
    if quality not in shares:
        return f"quality {quality:g} was not asked for: choose among 0, 50 and 100"
    if quality != most:
        return f"at quality {quality:g} it is {shares[quality]:.1%}, and larger at another one"
    slips = {
        None: shares[most],
        PERCENT: 100 * shares[most],
        "that is z over y; the bits of the image are those of both": (
            found[most].z_bits.sum() / found[most].y_bits.sum()
        ),
        "those are the bits; the question is for their share": found[most].z_bits.sum(),
        "that is the share of y; the question is for z": 1 - shares[most],
    }
    near = 1e-3
    if all(abs(share - value) > near * value for value in slips.values()):
        return f"the quality is right, and {share:.4f} is not it: bits of z over bits of all"
    return slip(share, slips, near)


def _pair(answer: object) -> tuple[float, float]:
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) != 2:
        raise Complaint("expected a pair: (quality, share)")
    return number(answer[0]), number(answer[1])


@checker
def ex_family_3(answer: int) -> str | None:
    """How many weights has the first convolution of the last mean net of WACNN?"""
    answer = whole(answer)
    config = PRESETS["wacnn"]
    width, seen = config.parameter_widths[0], config.seen_slices
    size, last = config.groups[-1], len(config.groups) - 1
    want = 9 * width * (config.M + seen * size)
    slips = {
        None: want,
        "a 3x3 convolution has nine weights for every pair of channels": want // 9,
        "it does not see all earlier slices": 9 * width * (config.M + last * size),
        "it sees what z says of the means, too: M channels": 9 * width * seen * size,
        "it sees earlier slices, too": 9 * width * config.M,
        "a split head shows it the means alone": 9 * width * (2 * config.M + seen * size),
        "biases were not asked for": want + width,
    }
    hint = f"{answer:,} is not it; input times output channels times nine"
    return next((said for said, value in slips.items() if value == answer), hint)


@checker
@torch.no_grad()
def ex_family_4(answer: object) -> str | None:
    """Does every slice of this page see all earlier ones?"""
    config = PRESETS["nano_wacnn"]
    if not hasattr(answer, "head"):
        return "expected a page: an object with the function head, beside those of WACNN"
    try:
        model = Codec(config, answer).eval()
    except Exception as error:
        return f"no codec comes of this page: {type(error).__name__}: {error}"
    generator = torch.Generator().manual_seed(0)

    def noise(channels: int) -> torch.Tensor:
        return torch.randn(1, channels, 4, 4, generator=generator)

    side = Side(noise(config.M), noise(config.M))
    earlier = [noise(channels) for channels in config.groups]
    for k, head in enumerate(model.latent_codec.slices):

        def mean(tensors: list[torch.Tensor], head=head, k=k) -> torch.Tensor:
            try:
                return head(side, tensors[:k][: head.sees], None).mean
            except RuntimeError as error:
                raise Complaint(f"the head of slice {k} (from 0) fails: {error}") from error

        for j in range(k):
            other = [t + 1 if i == j else t for i, t in enumerate(earlier)]
            if torch.equal(mean(other), mean(earlier)):
                return f"slice {k} does not mind what slice {j} holds (counting from 0)"
    return None
