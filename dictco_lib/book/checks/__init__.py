"""Checkers of the notebooks' exercises: they print what is right or what differs, never raise."""

from dictco_lib.book.checks.coding import ex_coding_1, ex_coding_2, ex_coding_3, ex_coding_4
from dictco_lib.book.checks.entropy import ex_entropy_1, ex_entropy_2, ex_entropy_3, ex_entropy_4
from dictco_lib.book.checks.family import ex_family_1, ex_family_2, ex_family_3, ex_family_4
from dictco_lib.book.checks.full_size import ex_full_1, ex_full_2, ex_full_3, ex_full_4
from dictco_lib.book.checks.model_attention import (
    ex_model_attention_1,
    ex_model_attention_2,
    ex_model_attention_3,
    ex_model_attention_4,
)
from dictco_lib.book.checks.model_entropy import (
    ex_model_entropy_1,
    ex_model_entropy_2,
    ex_model_entropy_3,
    ex_model_entropy_4,
)
from dictco_lib.book.checks.model_transforms import (
    ex_model_transforms_1,
    ex_model_transforms_2,
    ex_model_transforms_3,
    ex_model_transforms_4,
)
from dictco_lib.book.checks.nb00 import ex_00_1, ex_00_2, ex_00_3
from dictco_lib.book.checks.nb01 import ex_01_1, ex_01_2, ex_01_3, ex_01_4
from dictco_lib.book.checks.nb03 import ex_03_1, ex_03_2, ex_03_3, ex_03_4, ex_03_5
from dictco_lib.book.checks.nb04 import ex_04_1, ex_04_2, ex_04_3, ex_04_4
from dictco_lib.book.checks.nb05 import ex_05_1, ex_05_2, ex_05_3, ex_05_4
from dictco_lib.book.checks.nb06 import ex_06_1, ex_06_2, ex_06_3, ex_06_4
from dictco_lib.book.checks.nb07 import ex_07_1, ex_07_2, ex_07_3, ex_07_4, ex_07_5
from dictco_lib.book.checks.report import report

__all__ = [
    "ex_00_1",
    "ex_00_2",
    "ex_00_3",
    "ex_01_1",
    "ex_01_2",
    "ex_01_3",
    "ex_01_4",
    "ex_03_1",
    "ex_03_2",
    "ex_03_3",
    "ex_03_4",
    "ex_03_5",
    "ex_04_1",
    "ex_04_2",
    "ex_04_3",
    "ex_04_4",
    "ex_05_1",
    "ex_05_2",
    "ex_05_3",
    "ex_05_4",
    "ex_06_1",
    "ex_06_2",
    "ex_06_3",
    "ex_06_4",
    "ex_07_1",
    "ex_07_2",
    "ex_07_3",
    "ex_07_4",
    "ex_07_5",
    "ex_coding_1",
    "ex_coding_2",
    "ex_coding_3",
    "ex_coding_4",
    "ex_entropy_1",
    "ex_entropy_2",
    "ex_entropy_3",
    "ex_entropy_4",
    "ex_family_1",
    "ex_family_2",
    "ex_family_3",
    "ex_family_4",
    "ex_full_1",
    "ex_full_2",
    "ex_full_3",
    "ex_full_4",
    "ex_model_attention_1",
    "ex_model_attention_2",
    "ex_model_attention_3",
    "ex_model_attention_4",
    "ex_model_entropy_1",
    "ex_model_entropy_2",
    "ex_model_entropy_3",
    "ex_model_entropy_4",
    "ex_model_transforms_1",
    "ex_model_transforms_2",
    "ex_model_transforms_3",
    "ex_model_transforms_4",
    "report",
]
