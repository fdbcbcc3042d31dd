"""Matrices in rows of 8-bit integers, each row with a step: what a small checkpoint holds of them.

The one grid of files and of training for them (``weight_bits = 8`` in a recipe).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dictco_lib.errors import CheckpointError

#: Keys of the part that exists only in training: it is saved, but no stream depends on it.
TRAINING_ONLY = "training_only."
#: Ends the name of the steps that belong to a tensor of 8-bit integers.
_STEPS = ".steps_of_rows"
_MOST = 127


def is_matrix(value: Tensor) -> bool:
    """Matrices and kernels; vectors are small and some (gains, medians) deserve every digit."""
    return value.is_floating_point() and value.dim() > 1 and value.numel() > 4096


def is_in_rows8(key: str, value: Tensor, *, transforms: bool) -> bool:
    """Whether a tensor of a model goes into 8-bit rows.

    Args:
        key: its name in the model's state.
        value: the tensor.
        transforms: whether those of ``g_a`` and ``g_s`` do. Not unless they were trained for it:
            of a PCA's columns the small ones count as much as the large.
    """
    is_fit = not key.startswith(TRAINING_ONLY) if transforms else key.startswith("latent_codec.")
    return is_fit and is_matrix(value)


def rounded(value: Tensor) -> Tensor:
    """The values that a file in 8-bit rows would hold, in the layout of the tensor."""
    steps = _steps(value)
    return (value / steps).round() * steps + 0.0  # no -0.0, which integers do not have


def pack(key: str, value: Tensor) -> dict[str, Tensor]:
    """Integers of 8 bits by a tensor's name, and by another one the steps of its rows."""
    steps = _steps(value)
    whole = (value / steps).round().to(torch.int8)
    return {key + _STEPS: steps.flatten(), key: whole}


def unpack(state: dict[str, Tensor], advice: str) -> dict[str, Tensor]:
    """The same tensors with floating point where there were integers and steps.

    Args:
        state: tensors of a checkpoint.
        advice: ends the error's message.

    Raises:
        CheckpointError: if steps do not fit their integers.
    """
    plain = {key: value for key, value in state.items() if not key.endswith(_STEPS)}
    for name in state.keys() - plain.keys():
        key, steps = name.removesuffix(_STEPS), state[name]
        whole = plain.get(key)
        is_fit = whole is not None and whole.dtype == torch.int8 and whole.dim() > 1
        if not is_fit or steps.dim() != 1 or not len(steps) or whole.numel() % len(steps):
            raise CheckpointError(f"{name} holds steps that fit no 8-bit rows; {advice}")
        plain[key] = (whole.view(len(steps), -1) * steps.float()[:, None]).view(whole.shape)
    return plain


def _steps(value: Tensor) -> Tensor:
    """A step for each row (all but the last index of a 3-d tensor, else the first), to divide by.

    Of 12 bits, rounded up: 127 steps are then exact, and rounding again changes nothing.
    """
    rows = value.detach().abs()
    largest = rows.amax(dim=2 if value.dim() == 3 else tuple(range(1, value.dim())), keepdim=True)
    mantissa, exponent = torch.frexp(largest.clamp(min=1e-30) / _MOST)
    return torch.ldexp((mantissa * 2**12).ceil() / 2**12, exponent)
