"""Cross attention from a query map to learned dictionaries, shared or as a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.layers.attention import GatedMLP, SkipScale
from dictco_lib.layers.linear import Linear, PointwiseConv
from dictco_lib.layers.residual import DepthwiseConv
from dictco_lib.layers.winograd import is_coding


class _AggregationUnit(nn.Module):
    """1x1 convolution, GELU, depthwise 3x3, GELU, 1x1 convolution; channels come last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_in = PointwiseConv(dim, dim)
        self.dwconv = DepthwiseConv(dim)
        self.conv_out = PointwiseConv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.dwconv(F.gelu(self.conv_in(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.conv_out(F.gelu(seen))


class MultiScaleAggregation(nn.Module):
    """Gathers context of growing radius, then gates it by place.

    A chain of depthwise units is tapped after every unit, so that the concatenation sees
    1x1, 3x3, 5x5 and 7x7 neighbourhoods.

    Reference:
        Lu et al., "Learned Image Compression with Dictionary-based Entropy Model", CVPR 2025,
        arXiv:2504.00496.
    """

    def __init__(self, dim: int, units: int = 3) -> None:
        super().__init__()
        self.conv_in = PointwiseConv(dim, dim)
        self.units = nn.ModuleList(_AggregationUnit(dim) for _ in range(units))
        self.proj = PointwiseConv((units + 1) * dim, dim)
        self.spatial_gate = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        taps = [self.conv_in(x)]
        for unit in self.units:
            taps.append(unit(F.gelu(taps[-1])))
        out = self.proj(torch.cat(taps, dim=-1))
        stats = torch.stack([out.mean(-1), out.amax(-1)], dim=1)  # (B, 2, H, W)
        return out * torch.sigmoid(self.spatial_gate(stats)).permute(0, 2, 3, 1)

    def fold_last_tap(self) -> None:
        """Let the projection make of the last tap's input what it made of the tap.

        Nobody else looks at that tap, so its two products are one.
        """
        last, n = self.units[-1].conv_out, self.proj.out_channels
        kept, seen = self.proj.weight[..., 0, 0].split([len(self.units) * n, n], dim=1)
        weight = torch.cat([kept, seen @ last.weight[..., 0, 0]], dim=1)
        bias = self.proj.bias + seen @ last.bias
        _replace(self.proj, weight[..., None, None], bias)
        self.units[-1].conv_out = nn.Identity()


def _replace(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer other parameters, and leave alone who shares the old ones."""
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)


def _attend_by_head(q: Tensor, keys: Tensor, values: Tensor, gates: Tensor) -> Tensor:
    """Softmax attention within each expert, weighted by its gate; in float64 in half the time.

    The softmax is written out, for torch's walks row by row. Places come last, so that its sums
    and gates run along memory, and one head after the other, which caches hold.

    Args:
        q: queries, shape (h, P, D / h).
        keys: shape (h, KN, D / h).
        values: like keys.
        gates: shape (P, K).

    Returns:
        Shaped like q.
    """
    gates = gates.T.contiguous()[:, None]  # (K, 1, P)
    out = torch.empty_like(q)
    for read, query, key, value in zip(out, q, keys, values, strict=True):
        weights = (key @ query.T).unflatten(0, (len(gates), -1))  # (K, N, P)
        weights.sub_(weights.amax(1, keepdim=True)).exp_()
        weights.mul_(gates / weights.sum(1, keepdim=True))
        read.copy_((value.T @ weights.flatten(0, 1)).T)
    return out


class DictionaryAttention(nn.Module):
    """What a dictionary knows about each place of a query map.

    With ``experts == 0`` the dictionary is handed in at each call (one for all slices, as in
    DCAE). With ``experts == K`` this module owns K dictionaries and a router: every place gets
    gates over the experts, and an expert's attention is weighted by its gate. All experts share
    the query, so the mixture is one product with K*N keys, a softmax within each expert, the
    gates folded into the weights, and one product with K*N values.

    Args:
        c_in: channels of the query map.
        c_out: channels of the result.
        dim: width of a dictionary entry.
        heads: attention heads; ``dim`` is a multiple of it.
        entries: entries N per dictionary.
        experts: number K of own dictionaries, or 0 for a shared one. One has no router.
        top_k: a place uses only its best experts, 0 for all of them.

    Reference:
        Lu et al., CVPR 2025, arXiv:2504.00496 (shared dictionary). Wang et al., "Auxiliary-Loss-
        Free Load Balancing Strategy for Mixture-of-Experts", arXiv:2408.15664 (selection bias).

    Note:
        The mixture saves no arithmetic against one dictionary of K*N entries, with ``top_k``
        neither: all experts are evaluated and those that were not chosen get the gate 0.
    """

    def __init__(
        self, c_in: int, c_out: int, *, dim: int, heads: int, entries: int, experts: int,
        top_k: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads = heads
        self.top_k = top_k
        if experts:
            self.experts = nn.Parameter(torch.randn(experts, entries, dim))
        if top_k:
            self.register_buffer("selection_bias", torch.zeros(experts))
        # What :meth:`fold` computes once: see there.
        self.register_buffer("keys", None, persistent=False)
        self.register_buffer("values", None, persistent=False)
        #: Set from outside to look what the router is worth: gates -> other gates.
        self.reroute: Callable[[Tensor], Tensor] | None = None
        self.router = None
        if experts > 1:
            self.router = nn.Sequential(
                nn.Linear(dim, dim // 4), nn.ReLU(), nn.Linear(dim // 4, experts)
            )
        self.fc_in = Linear(c_in, dim)
        self.norm_in = nn.LayerNorm(dim)
        self.aggregate = MultiScaleAggregation(dim)
        self.skip1 = SkipScale(dim)
        self.norm_query = nn.LayerNorm(dim)
        self.to_query = Linear(dim, dim)
        self.norm_dictionary = nn.LayerNorm(dim)
        self.to_key = Linear(dim, dim)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.proj = Linear(dim, dim)
        self.skip2 = SkipScale(dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = GatedMLP(dim)
        self.skip3 = SkipScale(dim)
        self.fc_out = Linear(dim, c_out)

    @property
    def is_mixture(self) -> bool:
        """Whether this module owns expert dictionaries."""
        return hasattr(self, "experts")

    def forward(self, x: Tensor, dictionary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend from every place to the dictionary.

        Args:
            x: query map, shape (B, C_in, H, W).
            dictionary: shared entries, shape (N, D); ignored by a mixture.

        Returns:
            The result, shape (B, C_out, H, W), and the routing weights, shape (B, K, H, W),
            which are 1 everywhere for a shared dictionary.
        """
        u = self.fc_in(x.permute(0, 2, 3, 1))  # (B, H, W, D)
        u = self.skip1.add(u, self.aggregate(self.norm_in(u)))
        gates = self.gates(u)
        if self.reroute is not None:
            gates = self.reroute(gates)
        q = self.to_query(self.norm_query(u))
        if self.keys is None:
            context = self.attend(q, self._entries(dictionary), gates)
        else:
            context = self._read(q, self.keys, self.values, gates)
        out = self.skip2.add(u, self.proj(context))
        branch = self.mlp(self.norm_mlp(out))
        if self.keys is None:
            out = self.fc_out(self.skip3.add(out, branch))
        else:
            out = self.fc_out(out) + branch
        return out.permute(0, 3, 1, 2), gates.permute(0, 3, 1, 2)

    def _entries(self, dictionary: Tensor | None) -> Tensor:
        return self.experts if self.is_mixture else dictionary[None]  # (K, N, D)

    def gates(self, u: Tensor) -> Tensor:
        """Weights of the experts at each place, (B, H, W, D) -> (B, H, W, K), adding up to 1."""
        if self.router is None:
            return u.new_ones(*u.shape[:3], 1)
        logits = self.router(u)
        gates = logits.softmax(-1)
        if not self.top_k:
            return gates
        # The bias decides who is chosen, not how much the chosen ones count. The softmax of their
        # logits alone: their gates may all be so small that they could not be scaled up again.
        chosen = (gates + self.selection_bias).topk(self.top_k, dim=-1).indices
        is_out = torch.ones_like(gates, dtype=torch.bool).scatter(-1, chosen, 0)
        return logits.masked_fill(is_out, float("-inf")).softmax(-1)

    def expert_weights(self, q: Tensor, entries: Tensor) -> Tensor:
        """How each place spreads its attention within each expert.

        Args:
            q: queries, shape (B, H, W, D).
            entries: the dictionaries, shape (K, N, D).

        Returns:
            Shape (h, BHW, K, N), adding up to 1 over the N entries.
        """
        keys, _ = self._keys_and_values(entries)
        return self._logits(q, keys, len(entries)).softmax(-1)

    def _logits(self, q: Tensor, keys: Tensor, experts: int) -> Tensor:
        logits = self.split_heads(q) @ keys.mT  # (h, BHW, KN)
        return logits.unflatten(-1, (experts, -1))

    def _keys_and_values(self, entries: Tensor) -> tuple[Tensor, Tensor]:
        """Of dictionaries (K, N, D), each (h, KN, D / h)."""
        values = self.norm_dictionary(entries)
        # The temperature goes to the keys, of which there are fewest.
        return self.split_heads(self.to_key(values)) * self.temperature, self.split_heads(values)

    def attend(self, q: Tensor, entries: Tensor, gates: Tensor) -> Tensor:
        """Read from all dictionaries at once.

        Args:
            q: queries, shape (B, H, W, D).
            entries: dictionaries, shape (K, N, D).
            gates: what each of them counts at each place, shape (B, H, W, K).

        Returns:
            What was read, shape (B, H, W, D).
        """
        return self._read(q, *self._keys_and_values(entries), gates)

    def _read(self, q: Tensor, keys: Tensor, values: Tensor, gates: Tensor) -> Tensor:
        experts = gates.shape[-1]
        if is_coding(q):
            context = _attend_by_head(self.split_heads(q), keys, values, gates.reshape(-1, experts))
        else:
            weights = self._logits(q, keys, experts).softmax(-1)
            if self.router is not None or self.reroute is not None:  # else every gate is 1
                weights = weights * gates.reshape(1, -1, experts, 1)
            context = weights.flatten(-2) @ values  # (h, BHW, D / h)
        return context.transpose(0, 1).reshape(q.shape)

    def fold(self, dictionary: Tensor | None) -> None:
        """Compute once what no query changes; for copies that only code, with fixed weights.

        Keys and values of the dictionaries, and products of two matrices that follow each other:
        2 of the 21 square ones that a place of DCAE's query map goes through.

        Args:
            dictionary: as for :meth:`forward`.
        """
        if self.keys is not None:
            return
        self.aggregate.fold_last_tap()
        known = self._keys_and_values(self._entries(dictionary))
        self.keys, self.values = (t.contiguous() for t in known)
        out, last = self.fc_out, self.mlp.fc2
        _replace(last, out.weight @ last.weight, out.weight @ last.bias + out.bias)
        _replace(out, out.weight * self.skip3.scale, None)

    def split_heads(self, t: Tensor) -> Tensor:
        """One matrix for each head: (..., D) -> (h, rows, D / h)."""
        return t.reshape(-1, self.heads, t.shape[-1] // self.heads).transpose(0, 1)
