"""The layers by their definitions: what the fast ones are compared with, and timed against.

Nothing here is clever: attention is a product, a softmax that is written to memory and another
product; a dictionary is projected at every call, expert by expert; convolutions and norms are
torch's own, one after the other.
"""

from __future__ import annotations

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.layers.attention import (
    GatedMLP,
    GlobalTokenAttention,
    ScaledTokenAttention,
    SkipScale,
    WindowAttention,
)
from dictco_lib.layers.dictionary import DictionaryAttention
from dictco_lib.layers.linear import Linear, MapConv, PointwiseConv
from dictco_lib.layers.residual import Bottleneck, DepthwiseConv
from dictco_lib.layers.winograd import WideConv


class PlainLinear(Linear):
    """``x @ weight.T + bias`` by torch."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C_in) to (..., C_out)."""
        return F.linear(x, self.weight, self.bias)


class PlainPointwiseConv(PointwiseConv):
    """A 1x1 convolution by torch."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C_in) to (B, H, W, C_out)."""
        return self._conv_forward(x.permute(0, 3, 1, 2), self.weight, self.bias).permute(0, 2, 3, 1)


class PlainMapConv(MapConv):
    """A 1x1 convolution by torch."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return nn.Conv2d._conv_forward(self, x, weight, bias)


class PlainWideConv(WideConv):
    """A 3x3 convolution by torch."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return nn.Conv2d._conv_forward(self, x, weight, bias)


class PlainDepthwiseConv(DepthwiseConv):
    """A depthwise convolution by torch."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self._conv_forward(x, self.weight, self.bias)


class PlainBottleneck(Bottleneck):
    """Convolutions, then their norms."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        return self.out_act(self.bn3(self.conv3(out)) + x)


class PlainSkipScale(SkipScale):
    """A scaled skip path, then a sum."""

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """``scale * x + branch``, both (..., C)."""
        return self(x) + branch


class PlainGatedMLP(GatedMLP):
    """One product for both halves."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        a, b = self.fc1(x).chunk(2, dim=-1)
        a = self.dwconv(a.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.fc2(F.gelu(a) * b)


class PlainWindowAttention(WindowAttention):
    """The weights of all pairs are computed, and then the values are weighed."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        """What each query gathers; see :class:`WindowAttention`."""
        weights = (q @ k.mT * self.head_dim**-0.5 + bias).softmax(-1)
        return weights @ v


class PlainGlobalTokenAttention(GlobalTokenAttention, PlainWindowAttention):
    """The same for windows with tokens."""


class PlainScaledTokenAttention(ScaledTokenAttention, PlainWindowAttention):
    """The same with scaled logits."""


class PlainDictionaryAttention(DictionaryAttention):
    """One expert after the other."""

    def attend(self, q: Tensor, entries: Tensor, gates: Tensor) -> Tensor:
        """Read from all dictionaries; see :class:`DictionaryAttention`."""
        queries, out = self.split_heads(q), 0.0
        for k, dictionary in enumerate(entries):
            values = self.norm_dictionary(dictionary)
            logits = queries @ self.split_heads(self.to_key(values)).mT * self.temperature
            context = logits.softmax(-1) @ self.split_heads(values)  # (h, BHW, D / h)
            out = out + gates[..., k, None] * context.transpose(0, 1).reshape(q.shape)
        return out

    def fold(self, dictionary: Tensor | None) -> None:
        """Compute everything at every call."""


_PLAIN = {form.__mro__[1]: form for form in (
    PlainLinear, PlainPointwiseConv, PlainMapConv, PlainWideConv, PlainDepthwiseConv,
    PlainBottleneck, PlainSkipScale, PlainGatedMLP, PlainWindowAttention, PlainGlobalTokenAttention,
    PlainScaledTokenAttention, PlainDictionaryAttention,
)}  # fmt: skip


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy with the same weights whose layers compute by their definitions."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))
    return plain
