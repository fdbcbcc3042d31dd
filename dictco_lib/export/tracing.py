"""A network to an ONNX graph that onnxruntime runs on a CPU, in float64 where a decoder needs it.

onnxruntime has no float64 convolution on CPUs, nor float64 erf (GELU) and average pooling, and a
graph holds the eps of a norm in float32. While a network is traced, these functions of torch are
written with what there is: products of matrices over shifted maps, erfc as a polynomial times an
exponential.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.errors import OptionError
from dictco_lib.files import write_atomic
from dictco_lib.layers.attention import WindowAttention

OPSET = 17  # the first one with LayerNormalization
PACKAGES = ("onnx", "onnxruntime")
#: So many terms of the series of erfc keep 2e-15.
_TERMS = 22
#: Weights of at least so many numbers are kept in float32, where that loses nothing.
_WORTH_HALVING = 256


def check_packages() -> None:
    """Raise OptionError, with the command that helps, unless the optional packages are there."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise OptionError(
                f"export to ONNX needs the package {name} ({error}): pip install "
                f"{' '.join(PACKAGES)}"
            ) from None


def write_graph(
    path: Path,
    network: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    free: dict[str, tuple[int, ...]],
) -> None:
    """Trace a network and write its graph.

    Args:
        path: of the .onnx file.
        network: in evaluation mode, on the CPU; called with the inputs in their order.
        inputs: examples by name; their type, float32 or float64, is that of the graph.
        outputs: names of what the network returns.
        free: by name of inputs and outputs, the dimensions of any size.
    """
    onnx = importlib.import_module("onnx")
    axes = {name: {d: f"{name}_{d}" for d in dims} for name, dims in free.items()}
    is_wide = any(x.dtype == torch.float64 for x in inputs.values())
    buffer = io.BytesIO()
    with _as_onnx_can(is_wide), torch.enable_grad():  # without it, layers take CPU-only short cuts
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            buffer,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # the other exporter takes minutes for a shifted window's mask
        )
    graph = onnx.load_from_string(buffer.getvalue())
    if is_wide:
        _halve(onnx, graph)
    write_atomic(path, graph.SerializeToString())


@contextlib.contextmanager
def _as_onnx_can(is_wide: bool) -> Iterator[None]:
    """Let torch compute with what a graph can hold, while inside."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # the exporter's, about sizes that it was told are free
        # Without assignments to parts: a far shorter graph.
        stack.enter_context(patch.object(WindowAttention, "shift_mask", _shift_mask))
        torch.onnx.register_custom_op_symbolic("aten::mT", _transposed, OPSET)
        stack.callback(torch.onnx.unregister_custom_op_symbolic, "aten::mT", OPSET)
        for name, own in WIDE.items() if is_wide else ():
            stack.enter_context(patch.object(F, name, own))
        yield


def _shift_mask(self: WindowAttention, height: int, width: int) -> Tensor:
    """As :meth:`WindowAttention.shift_mask`."""

    def bands(side: int) -> Tensor:
        at = torch.arange(side)
        return (at >= side - self.window).int() + (at >= side - self.shift).int()

    region = 3 * bands(height)[:, None] + bands(width)
    region = self._windows(region[None, :, :, None])[..., 0]
    blind = region[:, :, None] != region[:, None, :]
    mask = torch.zeros_like(blind, dtype=self.bias.dtype).masked_fill(blind, float("-inf"))
    return mask[:, None]


def _transposed(g, x):
    from torch.onnx import symbolic_helper

    axes = list(range(symbolic_helper._get_tensor_rank(x)))
    return g.op("Transpose", x, perm_i=[*axes[:-2], axes[-1], axes[-2]])


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """As torch's, for square kernels and groups of all channels or of one each.

    The weights become constants of the graph.
    """
    (step,), (edge,) = set(_pair(stride)), set(_pair(padding))
    taps = weight.detach().numpy()
    c_out, c_in, size, _ = taps.shape
    is_depthwise = groups == c_out and c_in == 1
    if _pair(dilation) != (1, 1) or not (groups == 1 or is_depthwise):
        raise OptionError(
            f"a convolution of {groups} groups, dilation {dilation}, has no form for ONNX in "
            "float64; leave it out of the entropy model"
        )
    if edge:
        x = F.pad(x, (edge,) * 4)

    def shifted(x: Tensor, dy: int, dx: int) -> Tensor:
        rows, columns = (slice(d, d - size + 1 or None, step) for d in (dy, dx))
        return x[..., rows, columns]

    places = [(dy, dx) for dy in range(size) for dx in range(size)]
    if is_depthwise:
        kernels = [torch.from_numpy(taps[:, 0, dy, dx, None, None].copy()) for dy, dx in places]
        out = sum(shifted(x, *at) * kernel for at, kernel in zip(places, kernels, strict=True))
    elif step == 1 and c_out <= c_in:
        # The product first: what is shifted and added is smaller than what goes in.
        matrix = torch.from_numpy(taps.transpose(2, 3, 0, 1).reshape(-1, c_in).copy())
        parts = _product(matrix, x).split(c_out, dim=1)
        out = sum(shifted(part, *at) for at, part in zip(places, parts, strict=True))
    else:
        matrix = torch.from_numpy(taps.transpose(0, 2, 3, 1).reshape(c_out, -1).copy())
        out = _product(matrix, torch.cat([shifted(x, *at) for at in places], dim=1))
    return out if bias is None else out + bias[:, None, None]


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix (C', C) at each place of a map (B, C, H, W)."""
    b, _, height, width = x.shape
    return (matrix @ x.flatten(2)).reshape(b, len(matrix), height, width)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """As torch's, where it keeps the size or doubles it: a convolution, then a pixel shuffle."""
    (step,), (edge,) = set(_pair(stride)), set(_pair(padding))
    theirs = weight.detach().numpy()
    c_in, c_out, size, _ = theirs.shape
    is_known = (step, size - 2 * edge) in ((1, 1), (2, 1))
    if not is_known or groups != 1 or _pair(output_padding) != (step - 1, step - 1):
        raise OptionError(
            f"a transposed convolution of stride {step}, padding {edge}, kernel {size} has no form "
            "for ONNX in float64; leave it out of the entropy model"
        )
    reach = (edge + step - 1) // step  # an output looks at so many inputs before and behind
    own = np.zeros((c_out, step, step, c_in, 2 * reach + 1, 2 * reach + 1))
    # Output step * q + a gets input q + j through the tap a + edge - step * j.
    taps = [
        (a, j, a + edge - step * j)
        for a in range(step)
        for j in range(-reach, reach + 1)
        if 0 <= a + edge - step * j < size
    ]
    for a, i, row in taps:
        for b, j, column in taps:
            own[:, a, b, :, i + reach, j + reach] = theirs[:, :, row, column].T
    own = torch.from_numpy(own.reshape(-1, *own.shape[3:]))
    out = conv2d(x, own, None, 1, reach)
    out = F.pixel_shuffle(out, step) if step > 1 else out
    return out if bias is None else out + bias[:, None, None]


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """As torch's, within 2e-15."""
    far = x.abs()
    z = far * math.sqrt(0.5)
    t = 1 / (1 + z / 2)
    u = 2 * t - 1
    powers = _erfc_series()
    series = torch.full_like(u, powers[-1])
    for c in powers[-2::-1]:
        series = series * u + c
    return F.relu(x) - far * t * (series - z * z).exp() / 2


@cache
def _erfc_series() -> list[float]:
    """Coefficients of log(erfc(z) exp(z**2) / t) in 2 t - 1, where t = 1 / (1 + z / 2)."""
    from numpy.polynomial import chebyshev
    from scipy.special import erfcx

    def wanted(u: np.ndarray) -> np.ndarray:
        t = (u + 1) / 2
        return np.log(erfcx(2 / t - 2) / t)

    return chebyshev.cheb2poly(chebyshev.chebinterpolate(wanted, _TERMS)).tolist()


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    """As torch's, over the last dimension; a graph's own holds eps in float32 only."""
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weight + bias


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch's in evaluation; a graph's own holds eps in float32 only."""
    factor = weight / (variance + eps).sqrt()
    return x * factor[:, None, None] + (bias - mean * factor)[:, None, None]


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """As torch's."""
    scale = int(q.shape[-1]) ** -0.5  # a traced size to a power would be float32
    logits = q @ k.transpose(-2, -1) * scale
    return (logits if attn_mask is None else logits + attn_mask).softmax(-1) @ v


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """As torch's."""
    return torch.maximum(x, negative_slope * x)


def adaptive_avg_pool2d(x: Tensor, output_size: object) -> Tensor:
    """As torch's, for means over the whole map."""
    return x.mean((2, 3), keepdim=True)


#: What onnxruntime cannot do in float64 on a CPU, by its name in torch.nn.functional.
WIDE: dict[str, Callable] = {
    f.__name__: f
    for f in (
        adaptive_avg_pool2d, batch_norm, conv2d, conv_transpose2d, gelu, layer_norm, leaky_relu,
        scaled_dot_product_attention,
    )
}  # fmt: skip


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _halve(onnx: ModuleType, model) -> None:
    """Keep float64 weights as float32 where that says the same: checkpoints hold float32."""
    graph = model.graph
    kept, casts = [], []
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        found = node.attribute[0].t
        if node.attribute[0].name == "value" and np.prod(found.dims) >= _WORTH_HALVING:
            found.name = node.output[0]
            graph.initializer.append(found)
            graph.node.remove(node)
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        short = values.astype(np.float32) if values.dtype == np.float64 else values
        if values.size >= _WORTH_HALVING and short is not values and (short == values).all():
            kept.append(onnx.numpy_helper.from_array(short, tensor.name + "_32"))
            casts.append(onnx.helper.make_node("Cast", [kept[-1].name], [tensor.name], to=11))
        else:
            kept.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    nodes = [*casts, *(onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node)]
    for field, values in (("initializer", kept), ("node", nodes)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
