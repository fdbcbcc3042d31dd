"""Checkers of the exercises: they tell right from wrong, say why, and never raise.

The answers are in ``tests/answers``, a module for each notebook.
"""

from __future__ import annotations

import importlib
import pkgutil

import answers
import numpy as np
import pytest
import torch
from answers import WORLD

from dictco_lib.book import checks

EXERCISES = {}
for found in pkgutil.iter_modules(answers.__path__):
    EXERCISES |= importlib.import_module(f"answers.{found.name}").EXERCISES

RIGHT = [(name, i) for name, exercise in EXERCISES.items() for i in range(len(exercise.right))]
WRONG = [(name, what) for name, exercise in EXERCISES.items() for what in exercise.wrong]
#: What a learner may leave in the cell by accident; no exercise has any of it as its answer.
JUNK = {
    "text": "forty-two",
    "empty text": "",
    "a list": [],
    "a dictionary": {},
    "no number": float("nan"),
    "no number of numpy's": np.float32("nan"),
    "endless": float("inf"),
    "true": True,
    "complex": 1 + 1j,
    "an array": np.zeros((2, 3)),
    "a tensor without a number": torch.tensor(float("nan")),
    "an empty tensor": torch.zeros(0),
    "the module": checks,
    "a type": int,
    "a function that fails": lambda *arguments: 1 / 0,
    "a function of anything": lambda *arguments: 0,
    "dots": ...,
}


@pytest.mark.parametrize(("name", "i"), RIGHT)
def test_a_right_answer_is_right(capsys, name, i):
    exercise = EXERCISES[name]
    context = exercise.context(WORLD)
    assert getattr(checks, name)(exercise.right[i](*context), *context) is True
    assert capsys.readouterr().out == "right!\n"


@pytest.mark.parametrize(("name", "what"), WRONG)
def test_a_wrong_answer_is_told_what_is_likely_wrong(capsys, name, what):
    exercise = EXERCISES[name]
    context = exercise.context(WORLD)
    answer, hint = exercise.wrong[what]
    assert getattr(checks, name)(answer(*context), *context) is False
    said = capsys.readouterr().out
    assert hint in said and said.count("\n") == 1, said


@pytest.mark.parametrize("name", EXERCISES)
def test_junk_is_wrong_and_ends_no_cell(capsys, name):
    context = EXERCISES[name].context(WORLD)
    check = getattr(checks, name)
    for what, junk in JUNK.items():
        assert check(junk, *context) is False, what
        assert capsys.readouterr().out.strip() not in ("", "right!"), what
    assert check(None, *context) is False
    assert capsys.readouterr().out == "not done yet\n"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_number_times_a_common_factor_is_wrong(capsys, name):
    context = EXERCISES[name].context(WORLD)
    right = EXERCISES[name].right[0](*context)
    if not isinstance(right, int | float | np.number):
        return
    for factor in (-1, 0, 2, 1 / 2, 3, 1 / 3, 8, 1 / 8, 100, 1 / 100, 255, np.log(2)):
        assert getattr(checks, name)(factor * right, *context) is False, factor
        assert "right!" not in capsys.readouterr().out


def test_every_checker_has_a_right_answer_and_three_wrong_ones():
    known = {name for name in vars(checks) if name.startswith("ex_")}
    assert known == set(EXERCISES) == {n for n in checks.__all__ if n.startswith("ex_")}
    for name, exercise in EXERCISES.items():
        assert exercise.right, name
        hints = [hint for _, hint in exercise.wrong.values()]
        assert len(hints) >= 3 and len(set(hints)) >= 3, f"{name}: {hints}"
        # Three mistakes are named, and not only what Python said.
        assert not any("the check could not use" in hint for hint in hints), name


def test_every_exercise_says_what_it_asks():
    assert all(getattr(checks, name).__doc__.endswith("?") for name in EXERCISES)
