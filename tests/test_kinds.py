"""Kinds of values, for configurations and recipes alike."""

from typing import Literal

import pytest

from dictco_lib.config import NANO, ModelConfig
from dictco_lib.errors import ConfigError
from dictco_lib.kinds import is_of_kind, told
from dictco_lib.models import PRESETS

HUGE = 10**400  # no float


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -3, HUGE], [True, 1.0, "1", None, [1]]),
        (float, [0, 1.5, HUGE], [True, float("nan"), float("inf"), "1", None]),
        (bool, [True], [1, "true", None]),
        (str, ["", "a"], [1, None, b"a"]),
        (int | None, [3, None], ["", False, 3.0]),
        (float | None, [3, 3.5, None], [float("-inf"), ""]),
        (Literal["a", "b"], ["a"], ["c", None, 1]),
        (Literal[1], [1], [True, 1.0]),
        (tuple[int, ...], [(), [1, 2, 3]], [1, [1.0], {"a": 1}, "12", [True]]),
        (tuple[int, str], [[1, "a"], (1, "a")], [[1], [1, "a", 2], ["a", 1]]),
        (tuple[float, ...], [[1, 0.5]], [[float("nan")], ["1"]]),
        (dict | None, [{}, None], [[], 0]),
    ],
)
def test_what_is_of_a_kind(kind, good, bad):
    assert all(is_of_kind(value, kind) for value in good)
    assert not [value for value in bad if is_of_kind(value, kind)]
    assert told(kind)


def test_every_config_declares_kinds_that_its_values_have():
    for config in PRESETS.values():
        assert (
            type(config).from_dict({k: v for k, v in config.to_dict().items() if k != "family"})
            == config
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"M": True}, "M is True, not int"),
        ({"M": 48.0}, "M is 48.0, not int"),
        ({"widths": [16, 24]}, "widths is .16, 24., not a list of 3: int"),
        ({"widths": 16}, "widths is 16, not a list"),
        ({"lmbdas": [0.1, float("nan")]}, "lmbdas is .* not a list of float"),
        ({"lmbdas": [0.1, HUGE]}, "lmbdas is .* expected numbers from 1e-09 to 1e.09"),
        ({"lmbdas": [i / 1000 for i in range(1, 1000)]}, "lmbdas has 999 values, too many"),
        ({"N": HUGE}, "N is .* expected integers from 1 to 4096"),
        ({"batch_norm": 1}, "batch_norm is 1, not true or false"),
        ({"name": None}, "name is None, not text"),
    ],
)
def test_a_config_names_the_value_that_is_wrong(change, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(NANO.to_dict() | change)
