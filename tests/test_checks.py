"""Checkers of the exercises: they tell right from wrong, and never raise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dictco_lib.book import checks
from dictco_lib.book.inspect.ablations import mean_outputs
from dictco_lib.book.inspect.outcome import measure, prepare
from dictco_lib.book.inspect.rooms import measure_rooms
from dictco_lib.book.inspect.routing import choice_bits
from dictco_lib.config import CLASSROOM, NANO
from dictco_lib.evaluation.bdrate import compare
from dictco_lib.evaluation.published import published
from dictco_lib.images import read_picture

VTM, DCAE, ELIC, TCM = (published(name) for name in ("vtm", "dcae", "elic2022", "tcm-small"))
GAIN = compare(VTM, DCAE).psnr


def top_two(gates):
    kept = gates.where(gates >= gates.topk(2, -1).values[..., 1:], 0)
    return kept / kept.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("check", "answer", "context", "said"),
    [
        (checks.ex_04_1, 2.561, ([0.7, 0.1, 0.1, 0.1],), "right!"),
        (checks.ex_04_1, 1.357, ([0.7, 0.1, 0.1, 0.1],), "is the entropy"),
        (checks.ex_04_1, 4, ([0.7, 0.1, 0.1, 0.1],), "is not it"),
        (checks.ex_04_3, top_two, (), "right!"),
        (checks.ex_04_3, lambda gates: gates, (), "not two experts"),
        (checks.ex_04_3, lambda gates: top_two(gates) * 2, (), "do not add up"),
        (checks.ex_04_3, lambda gates: top_two(1 - gates), (), "not the largest"),
    ],
)
def test_answers_of_notebook_04_are_judged(capsys, check, answer, context, said):
    assert check(answer, *context) is (said == "right!")
    assert said in capsys.readouterr().out


def test_answers_of_notebook_04_that_need_the_model_are_judged(capsys, classroom, photo):
    gates = [
        measure(classroom, prepare(classroom, photo[:128, :128], q)).gates[1] for q in (0, 100)
    ]
    more = choice_bits(gates[1:]) - choice_bits(gates[:1])
    assert checks.ex_04_2(more, classroom, photo[:128, :128], 1)
    assert not checks.ex_04_2(-more, classroom, photo[:128, :128], 1)
    assert not checks.ex_04_2(more + 0.1, classroom, photo[:128, :128], 1)
    subject = prepare(classroom, photo[:128, :128], 50)
    router = measure(classroom, subject).gates[1].transpose(1, 2, 0)
    assert not checks.ex_04_4(router, classroom, subject, 1)
    assert not checks.ex_04_4(2 * router, classroom, subject, 1)
    said = capsys.readouterr().out
    for part in ("sign is wrong", "is not it", "saves 0.0%", "add up to 1"):
        assert part in said


@pytest.mark.parametrize(
    ("check", "answer", "context", "said"),
    [
        (checks.ex_06_1, 0.4, (5000, 250, 400), "right!"),
        (checks.ex_06_1, 8 * 5000 / (256 * 448), (5000, 250, 400), "too low"),
        (checks.ex_06_1, 3.2, (5000, 250, 400), "too high"),
        (checks.ex_06_2, 32.596, ([30.0, 40.0],), "right!"),
        (checks.ex_06_2, 35.0, ([30.0, 40.0],), "the mean of the PSNRs"),
        (checks.ex_06_2, 30.0, ([30.0, 40.0],), "is not it"),
        (checks.ex_06_3, GAIN, (VTM, DCAE), "right!"),
        (checks.ex_06_3, -GAIN, (VTM, DCAE), "wrong sign"),
        (checks.ex_06_3, 3.0, (VTM, DCAE), "is not it"),
        (checks.ex_06_4, (ELIC, TCM), (), "right!"),
        (checks.ex_06_4, (VTM, DCAE), (), "never costs 2 % more"),
        (checks.ex_06_4, (DCAE, VTM), (), "never saves 2 %"),
        (checks.ex_06_4, "dcae", (), "could not use your answer"),
        (checks.ex_06_4, None, (), "not done yet"),
    ],
)
def test_answers_of_notebook_06_are_judged(capsys, check, answer, context, said):
    assert check(answer, *context) is (said == "right!")
    assert said in capsys.readouterr().out


def mean_of_places(module, args, output):
    return output.mean((2, 3), keepdim=True).expand_as(output)


MACS = {"g_a": 980, "dictionaries": 20}


@pytest.mark.parametrize(
    ("check", "answer", "context", "said"),
    [
        (checks.ex_07_1, 80.0, (20, 50), "right!"),
        (checks.ex_07_1, 70, (20, 50), "adds percentages"),
        (checks.ex_07_1, 1.8, (20, 50), "is not it"),
        (checks.ex_07_2, mean_of_places, (), "right!"),
        (checks.ex_07_2, lambda m, args, out: None, (), "must return"),
        (checks.ex_07_2, lambda m, args, out: out.mean((2, 3), keepdim=True), (), "became"),
        (checks.ex_07_2, lambda m, args, out: torch.zeros_like(out), (), "not the mean"),
        (checks.ex_07_2, lambda out: out, (), "could not use your answer"),
        (checks.ex_07_4, 0.015, (MACS, 1, 4), "right!"),
        (checks.ex_07_4, 1.5, (MACS, 1, 4), "in percent"),
        (checks.ex_07_4, 0.02, (MACS, 1, 4), "not all of it"),
        (checks.ex_07_4, 0.005, (MACS, 1, 4), "is not it"),
    ],
)
def test_answers_of_notebook_07_are_judged(capsys, check, answer, context, said):
    assert check(answer, *context) is (said == "right!")
    assert said in capsys.readouterr().out


def test_answers_about_the_model_in_notebook_07_are_judged(capsys, classroom, photo):
    picture = read_picture(photo[:64, :128])
    means = mean_outputs(classroom, [picture], (50,))

    def said(check, answer, *context) -> str:
        check(answer, classroom, picture, *context, 50)
        return capsys.readouterr().out

    parts = ("dictionary", "LRP", "hyperprior", "slices")
    pairs = [said(checks.ex_07_3, (a, b), means) for a in parts for b in parts if a < b]
    assert sum("right!" in text for text in pairs) == 1
    assert sum("another pair has less" in text for text in pairs) == 5
    assert "two different names" in said(checks.ex_07_3, ("LRP", "LRP"), means)
    alike = [said(checks.ex_07_5, [e] * 5) for e in range(4)]
    assert all("can do with" in text for text in alike)
    assert "expected 5 numbers" in said(checks.ex_07_5, [0, 1, 2, 4, 0])
    assert "expected 5 numbers" in said(checks.ex_07_5, [0, 1])


def mixture(q, keys, values, gates):
    """A loop over the experts, as the exercise wants to be rid of."""
    parts = [(q @ k.T).softmax(-1) @ v for k, v in zip(keys, values, strict=True)]
    return sum(gates[:, e, None] * part for e, part in enumerate(parts))


def one_softmax(q, keys, values, gates):
    weights = (q @ keys.flatten(0, 1).T).softmax(-1).unflatten(1, keys.shape[:2])
    return (weights * gates[:, :, None]).flatten(1) @ values.flatten(0, 1)


def no_gates(q, keys, values, gates):
    return mixture(q, keys, values, gates * 0 + 1)


ROOM = measure_rooms(NANO)[0]
LIGHT = replace(CLASSROOM, widths=(16, 48, 144), blocks=(0, 0, 1))


@pytest.mark.parametrize(
    ("check", "answer", "context", "said"),
    [
        (checks.ex_02_1, 25, (NANO,), "right!"),
        (checks.ex_02_1, 13, (NANO,), "a pixel wide in both steps"),
        (checks.ex_02_1, 20, (NANO,), "is not it"),
        (checks.ex_02_2, ROOM.macs, (ROOM,), "right!"),
        (checks.ex_02_2, 2 * ROOM.macs, (ROOM,), "are operations"),
        (checks.ex_02_2, 4 * ROOM.macs, (ROOM,), "places of the input"),
        (checks.ex_02_2, ROOM.macs + 1, (ROOM,), "1.00 times"),
        (checks.ex_02_3, mixture, (), "right!"),
        (checks.ex_02_3, one_softmax, (), "over all entries"),
        (checks.ex_02_3, no_gates, (), "gates are left out"),
        (checks.ex_02_3, lambda q, k, v, g: q, (), "not the numbers"),
        (checks.ex_02_3, 3, (), "could not use your answer"),
        (checks.ex_02_4, LIGHT, (CLASSROOM,), "right!"),
        (checks.ex_02_4, CLASSROOM, (CLASSROOM,), "look for rooms on large maps"),
        (checks.ex_02_4, NANO, (CLASSROOM,), "of the parameters are left"),
        (checks.ex_02_4, None, (CLASSROOM,), "not done yet"),
    ],
)
def test_answers_of_notebook_02_are_judged(capsys, check, answer, context, said):
    assert check(answer, *context) is (said == "right!")
    assert said in capsys.readouterr().out
