"""Window attention with learned skip scales and a gated MLP (the transform stages of DCAE).

Inside these blocks tensors are channels-last, (B, H, W, C); a stage takes and returns (B, C, H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.errors import ConfigError
from dictco_lib.layers.linear import Linear, linear, takes_short_cuts
from dictco_lib.layers.residual import DepthwiseConv
from dictco_lib.layers.winograd import WideConv

#: Channels of a head up to which torch's fused attention is slower than :func:`_attend_in_parts`.
_FEW = 8
#: Bytes of the weights of one part, which a cache holds.
_PART = 2**20


def _attend_in_parts(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention of many small windows, some windows at a time, in float32.

    The values stand left of the weights, whose many columns then fill the vectors of a processor:
    with the values' few channels there a product takes three times as long.

    Args:
        q: shape (n, h, L, d).
        k: likewise.
        v: likewise.
        bias: shape (n, h, L, L), or (1, h, L, L).

    Returns:
        Shape (n, h, L, d).
    """
    n, heads, length, dim = q.shape
    out = q.new_empty(n, length, heads, dim)
    step = max(1, _PART // (4 * heads * length**2))
    logits = torch.empty(step * heads, length, length, device=q.device)
    weights = torch.empty_like(logits)
    for start in range(0, n, step):
        part = slice(start, start + step)
        queries, keys, values = (t[part].reshape(-1, length, dim).float() for t in (q, k, v))
        w = logits[: len(queries)]
        w.view(-1, heads, length, length).copy_(bias[part] if len(bias) == n else bias)
        with torch.autocast("cpu", enabled=False):
            w.baddbmm_(queries, keys.mT, alpha=dim**-0.5)
            w = torch.softmax(w, -1, out=weights[: len(queries)])
            found = values.mT @ w.mT  # (n h, d, L)
        out[part] = found.view(-1, heads, dim, length).permute(0, 3, 1, 2)
    return out.transpose(1, 2)


class SkipScale(nn.Module):
    """Learned per-channel factor on a skip path (not on the branch)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the last dimension of (..., C)."""
        return x * self.scale

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """``self(x) + branch``, both (..., C), in one pass."""
        return torch.addcmul(branch, x, self.scale)


class GatedMLP(nn.Module):
    """``fc2(GELU(depthwise3x3(a)) * b)`` where ``a, b`` are the halves of ``fc1(x)``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = 2 * dim
        self.fc1 = Linear(dim, 2 * hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        # Two products, for the convolution would copy the half of one.
        weights, biases = self.fc1.weight.chunk(2), self.fc1.bias.chunk(2)
        a, b = (linear(x, *half) for half in zip(weights, biases, strict=True))
        a = self.dwconv(a.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        a = F.gelu(a)
        return self.fc2(a * b if torch.is_grad_enabled() else a.mul_(b))


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a relative position bias and optional shift.

    Args:
        dim: channels.
        head_dim: channels per head.
        window: side of a window in tokens.
        shifted: roll the map by half a window first; pairs of tokens that were no neighbours
            before the roll cannot see each other.

    Raises:
        ConfigError: if ``dim`` is no multiple of ``head_dim``.

    Reference:
        Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030.
    """

    can_shift = True

    def __init__(self, dim: int, head_dim: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        if dim % head_dim or not dim:
            raise ConfigError(f"width {dim} is not a multiple of head_dim {head_dim}")
        self.head_dim = head_dim
        self.heads = dim // head_dim
        self.window = window
        self.shift = window // 2 if shifted and self.can_shift else 0
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        # bias[h, dy + w - 1, dx + w - 1] for a query dy rows below and dx columns right of its key
        self.bias = nn.Parameter(torch.empty(self.heads, 2 * window - 1, 2 * window - 1))
        nn.init.trunc_normal_(self.bias, std=0.02)

    def position_bias(self) -> Tensor:
        """Bias of every query-key pair in a window, shape (h, L, L) with L = window**2."""
        pos = torch.arange(self.window, device=self.bias.device)
        delta = pos[:, None] - pos[None, :] + self.window - 1  # (w, w)
        w = self.window
        rows = delta[:, None, :, None].expand(w, w, w, w).reshape(w * w, w * w)
        cols = delta[None, :, None, :].expand(w, w, w, w).reshape(w * w, w * w)
        return self.bias[:, rows, cols]

    def shift_mask(self, height: int, width: int) -> Tensor:
        """Additive mask of each window, shape (windows, 1, L, L): 0, or -inf where blind."""
        w, s = self.window, self.shift
        region = torch.zeros(height, width, device=self.bias.device)
        region[height - w :] += 2
        region[height - s :] += 2
        region[:, width - w :] += 7
        region[:, width - s :] += 7
        region = self._windows(region[None, :, :, None])[..., 0]  # (windows, L)
        blind = region[:, :, None] != region[:, None, :]
        mask = torch.zeros_like(blind, dtype=self.bias.dtype).masked_fill(blind, float("-inf"))
        return mask[:, None]

    def _windows(self, x: Tensor) -> Tensor:
        b, height, width, c = x.shape
        w = self.window
        x = x.reshape(b, height // w, w, width // w, w, c).transpose(2, 3)
        return x.reshape(-1, w * w, c)  # (B * windows, L, C)

    def _unwindows(self, x: Tensor, height: int, width: int) -> Tensor:
        w = self.window
        x = x.reshape(-1, height // w, width // w, w, w, x.shape[-1]).transpose(2, 3)
        return x.reshape(-1, height, width, x.shape[-1])  # (B, H, W, C)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape; H and W are multiples of the window."""
        _, height, width, _ = x.shape
        out = self.attend(*self._queries_keys_values(x), x)
        out = self.proj(out.transpose(1, 2).flatten(2))
        out = self._unwindows(out, height, width)
        if self.shift:
            out = torch.roll(out, (self.shift, self.shift), (1, 2))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        """What each query, (B * windows, h, L, C / h), gathers; ``x`` is the map, (B, H, W, C)."""
        if self.head_dim <= _FEW and takes_short_cuts(q) and q.dtype != torch.float64:
            return _attend_in_parts(q, k, v, bias)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def weights(self, x: Tensor) -> Tensor:
        """What :meth:`forward` weighs its values with, which fused attention never shows.

        Args:
            x: shape (B, H, W, C).

        Returns:
            Shape (B * windows, h, L, L), one row per query, adding up to 1; with a shift, the
            windows are those of the rolled map.
        """
        q, k, _, bias = self._queries_keys_values(x)
        return (q @ k.mT * self.head_dim**-0.5 + bias).softmax(-1)

    def _queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Three times (B * windows, h, L, C / h), and the bias with the mask of the shift."""
        b, height, width, _ = x.shape
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        qkv = self.qkv(self._windows(x))
        n, length, _ = qkv.shape
        q, k, v = qkv.reshape(n, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        bias = self.position_bias()[None]  # (1, h, L, L)
        if self.shift:
            bias = bias + self.shift_mask(height, width)
            if b > 1 or torch.jit.is_tracing():  # a graph is for any batch
                bias = bias.repeat(b, 1, 1, 1)
        return q, k, v, bias


class GlobalTokenAttention(WindowAttention):
    """Window attention, never shifted, that also asks two tokens which stand for the window.

    The tokens are learned offsets from the mean of the window. Three quarters of the result come
    from the window, one from the tokens; their logits are not scaled, as in the published model
    where torch has fused attention.

    Reference:
        "Learned Image Compression via Sparse Attention and Adaptive Frequency" (SAAF), CVPR 2026.
    """

    can_shift = False
    is_scaled = False
    _SHARE = 0.25

    def __init__(self, dim: int, head_dim: int, window: int, *, shifted: bool) -> None:
        super().__init__(dim, head_dim, window, shifted=shifted)
        self.global_tokens = nn.Parameter(torch.randn(1, 2, dim) * 0.02)
        self.global_kv = nn.Linear(dim, 2 * dim, bias=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        """What each query gathers from its window and from the window's two tokens."""
        local = super().attend(q, k, v, bias, x)
        tokens = self.global_tokens + self._windows(x).mean(1, keepdim=True)  # (n, 2, C)
        kv = self.global_kv(tokens).reshape(-1, 2, 2, self.heads, self.head_dim)
        keys, values = kv.permute(2, 0, 3, 1, 4)
        q = q * self.head_dim**-0.5 if self.is_scaled else q
        seen = (q @ keys.mT).softmax(-1) @ values
        return (1 - self._SHARE) * local + self._SHARE * seen


class ScaledTokenAttention(GlobalTokenAttention):
    """The same with the tokens' logits scaled as the window's are: CompressAI's port."""

    is_scaled = True


class AttentionBlock(nn.Module):
    """``x = s1*x + Attention(LN(x))``, then ``x = s2*x + GatedMLP(LN(x))``."""

    def __init__(
        self,
        dim: int,
        head_dim: int,
        window: int,
        *,
        shifted: bool,
        attention: type[WindowAttention] = WindowAttention,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention(dim, head_dim, window, shifted=shifted)
        self.skip1 = SkipScale(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = GatedMLP(dim)
        self.skip2 = SkipScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = self.skip1.add(x, self.attention(self.norm1(x)))
        return self.skip2.add(x, self.mlp(self.norm2(x)))


class AttentionStage(nn.Module):
    """Attention blocks, plain and shifted by turns, then a 3x3 convolution, around an identity.

    A map whose sides are no multiples of the window is zero-padded at the bottom and right for
    the whole branch, and cropped before the sum.
    """

    def __init__(
        self,
        dim: int,
        head_dim: int,
        window: int,
        blocks: int,
        attention: type[WindowAttention] = WindowAttention,
    ) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.Sequential(
            *(
                AttentionBlock(dim, head_dim, window, shifted=i % 2 == 1, attention=attention)
                for i in range(blocks)
            )
        )
        self.conv = WideConv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        height, width = x.shape[-2:]
        bottom, right = -height % self.window, -width % self.window
        is_padded = bottom or right or torch.jit.is_tracing()  # a graph is for any size
        out = F.pad(x, (0, right, 0, bottom)) if is_padded else x
        out = self.blocks(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.conv(out)[..., :height, :width]
