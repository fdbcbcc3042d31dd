"""A model to a folder that decodes without torch: graphs, tables, numbers, and a script.

::

    g_a, h_a, h_scale, h_mean, g_s      .onnx
    gains            level (B, h, w) -> gain_y, inverse_y, and those of z of the same places
    predict_K        scales, means, earlier -> mean, scale, support: slice K before it is known
    refine_K         support, y_bar -> y_hat: latent residual prediction (LRP)
    tables.npz       integer tables, medians and edges of the coder; the prior of z
    model.json       the configuration, and the constants of the stream
    decode_onnx.py   decodes a .dco file with numpy, onnxruntime and constriction

The transforms are in float32. What a decoder repeats, and h_a, is in float64, as in the library.
``earlier`` are the refined slices that a head sees, one map; there is none where it sees none.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dictco_lib.bitstream import ChunkType, Flag
from dictco_lib.checkpoints import fingerprint
from dictco_lib.config import Y_STRIDE, Z_STRIDE
from dictco_lib.entropy.gaussian import LOG_EDGES, SCALE_MIN
from dictco_lib.entropy.heads import Prediction, Side, SliceHead
from dictco_lib.entropy.streams import PRECISION
from dictco_lib.errors import OptionError
from dictco_lib.export.tracing import check_packages, write_graph
from dictco_lib.files import atomic_path, write_atomic
from dictco_lib.models import Codec
from dictco_lib.regions import ELSEWHERE
from dictco_lib.tiles import HALO, TILE

FORMAT = "dictco-onnx-1"
SCRIPT, NUMBERS, TABLES = "decode_onnx.py", "model.json", "tables.npz"
#: Batch, rows and columns of z in the examples that are traced, and in those that are compared.
_TRACED, _COMPARED = (1, 3, 4), (2, 2, 1)
#: Largest difference from torch, as a share of the largest number: of float32, and of float64.
_MOST = {torch.float32: 1e-4, torch.float64: 1e-11}


@dataclass(frozen=True)
class Graph:
    """A network to trace: example inputs by name, names of outputs, and which sizes are free."""

    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    @property
    def free(self) -> dict[str, tuple[int, ...]]:
        """All maps may have any batch, height and width."""
        maps = {name: x.dim() for name, x in self.inputs.items()}
        maps |= dict.fromkeys(self.outputs, 4)
        return {name: (0, 2, 3) if dims == 4 else (0, 1, 2) for name, dims in maps.items()}


class Predict(nn.Module):
    """A head before its slice is known; see :meth:`SliceHead.forward`."""

    def __init__(self, head: SliceHead, sizes: tuple[int, ...], dictionary: Tensor | None) -> None:
        super().__init__()
        self.head, self.sizes, self.dictionary = head, sizes, dictionary

    def forward(self, scales: Tensor, means: Tensor, earlier: Tensor | None = None) -> tuple:
        """``earlier`` are the slices that the head sees, as one map."""
        parts = [] if earlier is None else list(earlier.split(self.sizes, dim=1))
        found = self.head(Side(scales, means), parts, self.dictionary)
        return found.mean, found.scale, found.support


class Refine(nn.Module):
    """A head when its slice is known; see :meth:`SliceHead.refine`."""

    def __init__(self, head: SliceHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, support: Tensor, y_bar: Tensor) -> Tensor:
        """The refined slice."""
        return self.head.refine(Prediction(y_bar, y_bar, (support,)), y_bar)


class Gains(nn.Module):
    """The gains of y and z, and their inverses."""

    def __init__(self, gain_y: nn.Module, gain_z: nn.Module) -> None:
        super().__init__()
        self.gain_y, self.gain_z = gain_y, gain_z

    def forward(self, level: Tensor) -> tuple[Tensor, ...]:
        """At each level, (B, h, w): four maps, (B, M or N, h, w)."""
        return tuple(f(level) for g in (self.gain_y, self.gain_z) for f in (g.gain, g.inverse))


def graphs_of(model: Codec, size: tuple[int, int, int] = _TRACED) -> Iterator[tuple[str, Graph]]:
    """All networks of a model with their names, ready to be traced.

    Args:
        model: on the CPU, in evaluation mode, with its tables.
        size: batch, rows and columns of z in the examples, which are random.
    """
    c, codec = model.config, model.latent_codec.for_coding(torch.float64)
    b, rows, columns = size
    h, w = (side * Z_STRIDE // Y_STRIDE for side in (rows, columns))
    y = torch.randn(b, c.M, h, w, dtype=torch.float64)
    z = torch.randn(b, c.N, rows, columns, dtype=torch.float64)
    x = torch.rand(b, 3, h * Y_STRIDE, w * Y_STRIDE)
    yield "g_a", Graph(model.g_a, {"x": x}, ("y",))
    yield "g_s", Graph(model.g_s, {"y_hat": y.float()}, ("x_hat",))
    yield "h_a", Graph(codec.h_a, {"y": y}, ("z",))
    yield "h_scale", Graph(codec.h_scale, {"z_hat": z}, ("scales",))
    yield "h_mean", Graph(codec.h_mean, {"z_hat": z}, ("means",))
    if c.is_variable_rate:
        level = torch.rand(b, h, w, dtype=torch.float64)
        names = ("gain_y", "inverse_y", "gain_z", "inverse_z")
        yield "gains", Graph(Gains(codec.gain_y, codec.gain_z), {"level": level}, names)
    with torch.no_grad():
        inputs = {"scales": codec.h_scale(z), "means": codec.h_mean(z)}
    for k, head in enumerate(codec.slices):
        sizes = c.groups[:k][: head.sees]
        earlier = {"earlier": y[:, : sum(sizes)]} if sizes else {}
        predict = Predict(head, sizes, codec.dictionary).eval()
        with torch.no_grad():
            _, _, support = predict(*inputs.values(), *earlier.values())
        yield f"predict_{k}", Graph(predict, inputs | earlier, ("mean", "scale", "support"))
        known = {"support": support, "y_bar": y[:, : c.groups[k]]}
        yield f"refine_{k}", Graph(Refine(head).eval(), known, ("y_hat",))


@torch.no_grad()
def export_onnx(model: Codec, folder: str | Path) -> dict[str, float]:
    """Write a model, any member of the family, as a folder that needs no torch.

    Every graph is run by onnxruntime with another batch, height and width than it was traced
    with, and compared with torch.

    Args:
        model: in evaluation mode, with its tables: :func:`dictco_lib.load` gives it so.
        folder: made if it is not there; files in it of the same names are replaced.

    Returns:
        The largest difference from torch of each graph, as a share of its largest number.

    Raises:
        OptionError: if onnx or onnxruntime is not installed, or a graph differs from torch.
        NotUpdatedError, TrainingModeError: if the model is not ready to code.
    """
    check_packages()
    model.check_eval()
    device = next(model.parameters()).device
    own = model if device.type == "cpu" else copy.deepcopy(model).cpu()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    differences = {}
    both = zip(graphs_of(own), graphs_of(own, _COMPARED), strict=True)
    for (name, graph), (_, other) in both:
        path = folder / f"{name}.onnx"
        write_graph(path, graph.network, graph.inputs, graph.outputs, graph.free)
        differences[name] = found = difference(path, other)
        most = _MOST[next(iter(other.inputs.values())).dtype]
        if not found <= most:
            raise OptionError(
                f"{path} differs from torch by {found:.1e} of its largest number, at most "
                f"{most:.0e} was expected; the model has a layer that ONNX computes another way"
            )
    with atomic_path(folder / TABLES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **_arrays(own))
    write_atomic(folder / SCRIPT, Path(__file__).with_name(SCRIPT).read_bytes())
    write_atomic(folder / NUMBERS, json.dumps(_numbers(own), indent=1).encode())
    return differences


def difference(path: Path, graph: Graph) -> float:
    """How far onnxruntime is from torch on a graph's examples, as a share of the largest number."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {name: x.numpy() for name, x in graph.inputs.items()})
    wanted = graph.network(*graph.inputs.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    pairs = [(a, b.numpy()) for a, b in zip(got, wanted, strict=True)]
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return float("inf")
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds what :func:`export_onnx` wrote."""
    try:
        found = json.loads((Path(folder) / NUMBERS).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def _arrays(model: Codec) -> dict[str, np.ndarray]:
    codec = model.latent_codec
    arrays = {"log_edges": LOG_EDGES, "medians": codec.medians().double().flatten()}
    for name, table in codec.tables._asdict().items():
        arrays |= {
            f"{name}_half_widths": table.half_widths,
            f"{name}_frequencies": table.frequencies,
        }
    arrays |= {f"prior.{k}": v.detach() for k, v in codec.entropy_bottleneck.named_parameters()}
    return {name: values.numpy() for name, values in arrays.items()}


def _numbers(model: Codec) -> dict:
    """The configuration, and all that a decoder knows beside it."""
    heads = model.latent_codec.slices
    seen = [k if head.sees is None else min(k, head.sees) for k, head in enumerate(heads)]
    return {
        "format": FORMAT,
        "fingerprint": fingerprint(model).hex(),
        "config": model.config.to_dict(),
        "groups": list(model.config.groups),
        "seen_slices": seen,
        "levels": len(model.config.lmbdas),
        "N": model.config.N,
        "M": model.config.M,
        "scale_min": SCALE_MIN,
        "precision": PRECISION,
        "y_stride": Y_STRIDE,
        "z_stride": Z_STRIDE,
        "tile": TILE,
        "halo": HALO,
        "elsewhere": ELSEWHERE,
        "chunks": {kind.name.lower(): int(kind) for kind in ChunkType},
        "flags": {flag.name.lower(): int(flag) for flag in Flag},
    }
