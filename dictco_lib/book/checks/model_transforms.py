"""Exercises of the page The model (1): transforms and their cost."""

from __future__ import annotations

import torch

from dictco_lib.book.checks.checker import checker, number, slip, whole
from dictco_lib.book.inspect import rooms
from dictco_lib.config import Y_STRIDE, Z_STRIDE, ModelConfig
from dictco_lib.models import dictionary


@checker
def ex_model_transforms_1(answer: int, config: ModelConfig) -> str | None:
    """How many pixels across does a sample see after the second step of g_a?"""
    answer = whole(answer)
    x = torch.rand(1, 3, 16, 512).requires_grad_()
    want = rooms.columns_seen(dictionary.analysis(config)[:3](x), x)
    small = 2 * config.residual_blocks  # what the kernels of 3 of a step add, in its own places
    slips = {
        f"{answer} would be right if a place were a pixel wide in both steps": 9 + 2 * small,
        f"{answer} is without the bottlenecks; each has a kernel of 3": 1 + 4 + 8,
        "a bottleneck runs behind the convolution that halves: its places are wider than that": (
            1 + 4 + small + 2 * 4 + 2 * small
        ),
        f"{answer} begins with 0; a sample sees at least the pixel it stands on": want - 1,
        f"{answer} is to one side only; a kernel of 3 adds a place on each side": 1 + want // 2,
        f"{answer} is after the first step; there are two": 1 + 4 + 2 * small,
    }
    if answer == want:
        return None
    return slip(answer, slips, 0) or (
        f"{answer} is not it; a kernel of k adds k - 1 times the pixels between its places"
    )


@checker
def ex_model_transforms_2(answer: int, room: rooms.Room) -> str | None:
    """Are these the multiply-accumulates of a room, the first one of g_a?"""
    answer = number(answer)
    channels, height, width = room.shape
    places, inner = height * width, channels // 2
    convolution = places * channels * 3 * 25
    bottleneck = places * (2 * channels * inner + 9 * inner**2)
    slips = {
        f"{answer:,.0f} are operations; a multiplication with its addition is one MAC": (
            2 * room.macs
        ),
        "that counts the places of the input; each sum belongs to one of the output": 4 * room.macs,
        "that is the convolution alone; a bottleneck follows": convolution,
        "that is with two bottlenecks; there is one": convolution + 2 * bottleneck,
        "that is without the convolution": bottleneck,
        "that is for one place; the output has many": room.macs / places,
        "those are the parameters, biases and all; each weight is used at every place": (
            room.parameters
        ),
    }
    if answer == room.macs:
        return None
    return slip(answer, slips, 1e-9) or (
        f"{answer:,.0f} is {answer / room.macs:.4g} times what was measured"
    )


@checker
def ex_model_transforms_3(answer: int, config: ModelConfig, size: tuple[int, int]) -> str | None:
    """Does a file of an image of this size, height and width, hold so many symbols of y?"""
    answer = whole(answer)
    height, width = size
    h, w = (-(-side // Z_STRIDE) * Z_STRIDE // Y_STRIDE for side in size)
    want = config.M * h * w
    near = [-(-side // Y_STRIDE) for side in size]
    slips = {
        "z has a stride of 64: both sides are padded to multiples of that first": (
            config.M * near[0] * near[1]
        ),
        "nothing is cut away: a side is padded up to the next multiple of 64": (
            config.M * (height // Z_STRIDE * 4) * (width // Z_STRIDE * 4)
        ),
        "those are places; each has a number in every channel": h * w,
        "that is with the symbols of z; y alone is asked for": want + config.N * h * w // 16,
        "those are the symbols of z": config.N * h * w // 16,
        "those are the padded pixels, three numbers each": 3 * h * w * Y_STRIDE**2,
        "the sides are not padded in this; only whole places exist": (
            config.M * height * width // Y_STRIDE**2
        ),
    }
    if answer == want:
        return None
    return slip(answer, slips, 0) or f"{answer:,} is {answer / want:.4g} times what a file holds"


@checker
def ex_model_transforms_4(answer: ModelConfig, config: ModelConfig) -> str | None:
    """Does the shape decode with 80 % of the work and keep 90 % of the parameters?"""
    if not isinstance(answer, ModelConfig):
        return f"expected a ModelConfig, as replace(CLASSROOM, ...) gives, got {answer!r:.40}"
    found, was = rooms.measure_rooms(answer), rooms.measure_rooms(config)
    work = rooms.total_macs(found, rooms.DECODER) / rooms.total_macs(was, rooms.DECODER)
    kept = sum(r.parameters for r in found) / sum(r.parameters for r in was)
    if work > 0.8:
        way = "that is more than before; " if work > 1 else ""
        return f"it decodes with {work:.1%} of the MACs; {way}look for rooms on large maps"
    if kept < 0.9:
        return (
            f"{work:.1%} of the MACs, but only {kept:.1%} of the parameters are left; "
            "the entropy model has most of them"
        )
    return None
