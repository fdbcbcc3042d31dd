"""Checkers of the exercises: they tell right from wrong, and never raise."""

from __future__ import annotations

import pytest

from dictco_lib import checks
from dictco_lib.evaluation.bdrate import compare
from dictco_lib.evaluation.published import published

VTM, DCAE, ELIC, TCM = (published(name) for name in ("vtm", "dcae", "elic2022", "tcm-small"))
GAIN = compare(VTM, DCAE).psnr


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
