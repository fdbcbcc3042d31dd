"""Checkers of the notebooks' exercises: they print what is right or what differs, never raise."""

from dictco_lib.book.checks.ablations import (
    ex_ablations_1,
    ex_ablations_2,
    ex_ablations_3,
    ex_ablations_4,
    ex_ablations_5,
)
from dictco_lib.book.checks.bitstream import (
    ex_bitstream_1,
    ex_bitstream_2,
    ex_bitstream_3,
    ex_bitstream_4,
)
from dictco_lib.book.checks.coding import ex_coding_1, ex_coding_2, ex_coding_3, ex_coding_4
from dictco_lib.book.checks.entropy import ex_entropy_1, ex_entropy_2, ex_entropy_3, ex_entropy_4
from dictco_lib.book.checks.experts import ex_experts_1, ex_experts_2, ex_experts_3, ex_experts_4
from dictco_lib.book.checks.family import ex_family_1, ex_family_2, ex_family_3, ex_family_4
from dictco_lib.book.checks.full_size import ex_full_1, ex_full_2, ex_full_3, ex_full_4
from dictco_lib.book.checks.lossy import ex_lossy_1, ex_lossy_2, ex_lossy_3, ex_lossy_4
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
from dictco_lib.book.checks.quickstart import ex_quickstart_1, ex_quickstart_2, ex_quickstart_3
from dictco_lib.book.checks.rd import ex_rd_1, ex_rd_2, ex_rd_3, ex_rd_4
from dictco_lib.book.checks.report import report
from dictco_lib.book.checks.training import (
    ex_training_1,
    ex_training_2,
    ex_training_3,
    ex_training_4,
    ex_training_5,
)

__all__ = [
    "ex_ablations_1",
    "ex_ablations_2",
    "ex_ablations_3",
    "ex_ablations_4",
    "ex_ablations_5",
    "ex_bitstream_1",
    "ex_bitstream_2",
    "ex_bitstream_3",
    "ex_bitstream_4",
    "ex_coding_1",
    "ex_coding_2",
    "ex_coding_3",
    "ex_coding_4",
    "ex_entropy_1",
    "ex_entropy_2",
    "ex_entropy_3",
    "ex_entropy_4",
    "ex_experts_1",
    "ex_experts_2",
    "ex_experts_3",
    "ex_experts_4",
    "ex_family_1",
    "ex_family_2",
    "ex_family_3",
    "ex_family_4",
    "ex_full_1",
    "ex_full_2",
    "ex_full_3",
    "ex_full_4",
    "ex_lossy_1",
    "ex_lossy_2",
    "ex_lossy_3",
    "ex_lossy_4",
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
    "ex_quickstart_1",
    "ex_quickstart_2",
    "ex_quickstart_3",
    "ex_rd_1",
    "ex_rd_2",
    "ex_rd_3",
    "ex_rd_4",
    "ex_training_1",
    "ex_training_2",
    "ex_training_3",
    "ex_training_4",
    "ex_training_5",
    "report",
]
