"""Answers to the exercises of the page The model (1)."""

from __future__ import annotations

from dataclasses import replace

from answers import Exercise
from dictco_lib.book.inspect.rooms import measure_rooms
from dictco_lib.config import CLASSROOM, NANO

FOUR = replace(CLASSROOM, residual_blocks=4)


EXERCISES = {
    "ex_model_transforms_1": Exercise(
        context=lambda w: (FOUR,),
        right=[lambda c: 61, lambda c: 61.0],
        wrong={
            "a place is a pixel": (lambda c: 25, "a pixel wide in both steps"),
            "only the convolutions": (lambda c: 13, "without the bottlenecks"),
            "bottlenecks before the halving": (lambda c: 37, "behind the convolution"),
            "from 0": (lambda c: 60, "begins with 0"),
            "to one side": (lambda c: 31, "one side only"),
            "after the first step": (lambda c: 21, "there are two"),
            "a fraction": (lambda c: 61.5, "whole number"),
            "no idea": (lambda c: 100, "is not it"),
        },
    ),
    "ex_model_transforms_2": Exercise(
        context=lambda w: (measure_rooms(CLASSROOM)[0],),
        right=[
            lambda r: 256 * 384 * (48 * 3 * 25 + 48 * 24 + 24 * 24 * 9 + 24 * 48),
            lambda r: float(r.macs),
        ],
        wrong={
            "operations": (lambda r: 2 * r.macs, "are operations"),
            "places of the input": (lambda r: 4 * r.macs, "places of the input"),
            "the convolution alone": (lambda r: 256 * 384 * 3600, "a bottleneck follows"),
            "two bottlenecks": (lambda r: 256 * 384 * (3600 + 2 * 7488), "there is one"),
            "no convolution": (lambda r: 256 * 384 * 7488, "without the convolution"),
            "one place": (lambda r: 3600 + 7488, "for one place"),
            "parameters": (lambda r: r.parameters, "the parameters"),
            "one more": (lambda r: r.macs + 1, "times what was measured"),
        },
    ),
    "ex_model_transforms_3": Exercise(
        context=lambda w: (CLASSROOM, (520, 700)),
        right=[lambda c, size: 320 * 36 * 44, lambda c, size: float(320 * 36 * 44)],
        wrong={
            "padded to 16": (lambda c, size: 320 * 33 * 44, "z has a stride of 64"),
            "cut": (lambda c, size: 320 * 32 * 40, "nothing is cut away"),
            "places": (lambda c, size: 36 * 44, "every channel"),
            "z as well": (lambda c, size: 320 * 36 * 44 + 96 * 9 * 11, "y alone"),
            "z alone": (lambda c, size: 96 * 9 * 11, "symbols of z"),
            "pixels": (lambda c, size: 3 * 576 * 704, "three numbers each"),
            "not padded": (lambda c, size: 320 * 520 * 700 // 256, "not padded"),
            "no idea": (lambda c, size: 1000, "times what a file holds"),
        },
    ),
    "ex_model_transforms_4": Exercise(
        context=lambda w: (CLASSROOM,),
        right=[lambda c: replace(CLASSROOM, widths=(16, 48, 144))],
        wrong={
            "as it was": (lambda c: CLASSROOM, "look for rooms on large maps"),
            "larger": (lambda c: replace(CLASSROOM, residual_blocks=4), "more than before"),
            "too small": (lambda c: NANO, "of the parameters are left"),
            "narrow everywhere": (
                lambda c: replace(CLASSROOM, parameter_widths=(16, 16), widths=(16, 48, 144)),
                "of the parameters are left",
            ),
            "a name": (lambda c: "nano", "expected a ModelConfig"),
        },
    ),
}
