"""Parts of a model switched off, one or several at a time, and what the rest then makes of it.

A part is switched off by putting a constant in place of what it hands on, with torch's forward
hooks: the model's code knows nothing of it, and the slice loop stays the only one.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dictco_lib.book.inspect.routing import Rule, rerouted, uniform
from dictco_lib.entropy.ring import LatentCodec
from dictco_lib.errors import OptionError
from dictco_lib.evaluation.bdrate import Curve
from dictco_lib.evaluation.measure import estimated_rows
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.images import Picture, eight_bit, to_uint8
from dictco_lib.layers.dictionary import DictionaryAttention
from dictco_lib.models import DictionaryCodec

#: What can be switched off, and what that means.
PARTS = {
    "dictionary": "nothing is read from the dictionaries; the network around them stays",
    "context": "the whole dictionary attention hands on a constant",
    "router": "every expert counts alike, everywhere",
    "LRP": "slices stay as they were rounded",
    "hyperprior": "constant side information, and no bits for z in estimates",
    "slices": "no slice sees the ones before it",
    "gains": "one step for all channels of y, and one for all of z",
}
#: Parts that have no output of their own, so that no mean can stand in for it.
WITHOUT_MEAN = ("router", "gains")
#: Name of a module of the latent codec -> mean of what it hands on, ready to be broadcast. For
#: a slice head it is the mean of what it is handed: the earlier slices.
Means = dict[str, Tensor]


def _heads(codec: LatentCodec) -> list[str]:
    return [f"slices.{k}" for k in range(len(codec.slices))]


def _modules(codec: LatentCodec, part: str) -> list[str]:
    """Names of the modules whose outputs are what a part hands on."""
    if part == "hyperprior":
        return ["h_scale", "h_mean"]
    leaf = {"dictionary": "attention.proj", "context": "attention.fc_out", "LRP": "lrp"}.get(part)
    return [f"{head}.{leaf}" for head in _heads(codec)] if leaf else []


@contextlib.contextmanager
def _outputs(
    codec: LatentCodec, names: list[str], change: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """Let ``change`` see and replace the outputs of some modules while inside."""
    with contextlib.ExitStack() as stack:
        for name in names:

            def hook(module: nn.Module, args: tuple, output: Tensor, name: str = name) -> Tensor:
                return change(name, output)

            stack.enter_context(codec.get_submodule(name).register_forward_hook(hook))
        yield


@contextlib.contextmanager
def _earlier(codec: LatentCodec, change: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Let ``change`` see and replace the earlier slices that heads are handed, while inside."""
    with contextlib.ExitStack() as stack:
        for name in _heads(codec):

            def hook(module: nn.Module, args: tuple, name: str = name) -> tuple:
                side, earlier, dictionary = args
                if earlier:
                    earlier = [change(name, torch.cat(earlier, dim=1))]
                return side, earlier, dictionary

            stack.enter_context(codec.get_submodule(name).register_forward_pre_hook(hook))
        yield


@torch.no_grad()
def mean_outputs(
    model: DictionaryCodec, pictures: Sequence[Picture], qualities: Sequence[float | None]
) -> Means:
    """What the parts hand on in the mean, by channel: over pictures, places and qualities.

    Args:
        model: a codec in evaluation mode, with nothing switched off.
        pictures: of one size; best not those that will be measured.
        qualities: 0-100, or one None for a fixed-rate model.
    """
    codec, means = model.latent_codec, {}

    def keep(name: str, values: Tensor) -> Tensor:
        # The dictionary attention works on (B, H, W, C), all else on (B, C, H, W).
        is_map = not isinstance(codec.get_submodule(name), nn.Linear)
        mean = values.mean((0, 2, 3))[:, None, None] if is_map else values.mean((0, 1, 2))
        means[name] = means.get(name, 0) + mean / len(qualities)
        return values

    names = [name for part in PARTS for name in _modules(codec, part)]
    x = torch.stack([picture.pixels for picture in pictures]).to(next(model.parameters()))
    with _outputs(codec, names, keep), _earlier(codec, keep):
        for quality in qualities:
            model(x, quality)
    return means


@contextlib.contextmanager
def switched_off(
    model: DictionaryCodec, parts: Collection[str], means: Means | None = None
) -> Iterator[DictionaryCodec]:
    """Switch parts off while inside; they are back afterwards, whatever happened.

    Files that are coded inside can only be decoded inside, with the same parts off.

    Args:
        model: a codec.
        parts: names from :data:`PARTS`.
        means: what stands in for the outputs of a part, from :func:`mean_outputs`; zeros if
            left out.

    Raises:
        OptionError: for a part that the model does not have.
    """
    config, codec = model.config, model.latent_codec
    parts = (parts,) if isinstance(parts, str) else parts
    lacks = {"router": config.experts < 2, "gains": not config.is_variable_rate}
    for part in parts:
        if part not in PARTS or lacks.get(part):
            raise OptionError(
                f"model {config.name!r} has no part {part!r}; choose from {', '.join(PARTS)} "
                "(router: of a mixture; gains: of a variable-rate model)"
            )
    with contextlib.ExitStack() as stack:
        stack.callback(_sealed_again, codec)
        for part in parts:
            stack.enter_context(_SWITCHES.get(part, _constant)(model, part, means))
        _sealed_again(codec)
        yield model


def _sealed_again(codec: LatentCodec) -> None:
    """Let coding follow what was hung into the modules, or changed in them, on purpose."""
    if codec.y_tables.is_filled:
        codec.seal()


def _filler(like: Tensor, mean: Tensor | None) -> Tensor:
    return torch.zeros_like(like) if mean is None else mean.to(like).expand_as(like)


def _constant(
    model: DictionaryCodec, part: str, means: Means | None
) -> AbstractContextManager[None]:
    def change(name: str, output: Tensor) -> Tensor:
        return _filler(output, means and means[name])

    return _outputs(model.latent_codec, _modules(model.latent_codec, part), change)


@contextlib.contextmanager
def _no_hyperprior(model: DictionaryCodec, part: str, means: Means | None) -> Iterator[None]:
    def free(module: nn.Module, args: tuple, output: tuple) -> tuple:
        return output[0], torch.ones_like(output[1])  # nobody needs z, so nobody sends it

    hook = model.latent_codec.entropy_bottleneck.register_forward_hook(free)
    with hook, _constant(model, part, means):
        yield


def _no_earlier_slices(
    model: DictionaryCodec, part: str, means: Means | None
) -> AbstractContextManager[None]:
    def change(name: str, earlier: Tensor) -> Tensor:
        return _filler(earlier, means and means[name])

    return _earlier(model.latent_codec, change)


def _no_router(
    model: DictionaryCodec, part: str, means: Means | None
) -> AbstractContextManager[DictionaryCodec]:
    return rerouted(model, uniform)


@contextlib.contextmanager
def _one_gain(model: DictionaryCodec, part: str, means: Means | None) -> Iterator[None]:
    codec = model.latent_codec
    rows = [*codec.gain_y.parameters(), *codec.gain_z.parameters()]  # logarithms, (anchors, C)
    kept = [row.detach().clone() for row in rows]
    try:
        for row in rows:
            row.data.copy_(row.data.mean(1, keepdim=True).expand_as(row))
        yield
    finally:
        for row, values in zip(rows, kept, strict=True):
            row.data.copy_(values)


_SWITCHES = {
    "hyperprior": _no_hyperprior,
    "slices": _no_earlier_slices,
    "router": _no_router,
    "gains": _one_gain,
}


@dataclass(frozen=True)
class Result:
    """One picture through a model: ``pixels`` (H, W, 3) uint8, ``bits`` of each 16x16, ``psnr``."""

    pixels: np.ndarray
    bits: np.ndarray
    psnr: float


@torch.no_grad()
def reconstruct(model: DictionaryCodec, picture: Picture, quality: float | None = None) -> Result:
    """What the model as it stands makes of a picture; bits are estimated.

    Bits of z are shared out among its 16 places.
    """
    out = model(picture.pixels[None].to(next(model.parameters())), quality)
    y, z = (-out["likelihoods"][n][0].log2().sum(0).double().cpu().numpy() for n in ("y", "z"))
    pixels = to_uint8(out["x_hat"][0].cpu())
    bits = y + np.kron(z, np.full((4, 4), 1 / 16))
    return Result(pixels, bits, psnr(eight_bit(picture), pixels))


def rd_curves(
    model: DictionaryCodec, pictures: dict[str, Picture], qualities: Sequence[float]
) -> dict[str, Curve]:
    """Picture name -> curve of estimated rate and PSNR, of the model as it stands.

    Args:
        model: a variable-rate codec, whole or with parts switched off.
        pictures: by name, of one size.
        qualities: 0-100, one point each.
    """
    rows = [estimated_rows(model, list(pictures.values()), quality) for quality in qualities]
    return {
        name: Curve(name, [row[i]["bpp"] for row in rows], [row[i]["psnr-rgb"] for row in rows])
        for i, name in enumerate(pictures)
    }


def strongest(k: int) -> Rule:
    """Each place keeps its k largest gates; the others' part is shared out among them."""

    def rule(gates: Tensor) -> Tensor:
        values, chosen = gates.topk(k, dim=-1)
        values = values / values.sum(-1, keepdim=True)
        return torch.zeros_like(gates).scatter(-1, chosen, values)

    return rule


def sparse_attend(
    attention: DictionaryAttention, q: Tensor, entries: Tensor, gates: Tensor
) -> Tensor:
    """What :meth:`DictionaryAttention.attend` gives, without computing what a gate of 0 drops.

    Each expert gathers the places that chose it, attends, and adds its part.

    Args:
        attention: a mixture.
        q: queries, shape (B, H, W, D).
        entries: the experts' dictionaries, shape (K, N, D).
        gates: shape (B, H, W, K), mostly 0.
    """
    dim = q.shape[-1]
    values = attention.norm_dictionary(entries)
    keys = attention.to_key(values)
    split = attention.split_heads
    flat, weights = q.reshape(-1, dim), gates.reshape(-1, len(entries))
    context = torch.zeros_like(flat)
    for k in range(len(entries)):
        rows = weights[:, k].nonzero().squeeze(1)
        logits = split(flat[rows]) @ split(keys[k]).mT * attention.temperature
        part = (logits.softmax(-1) @ split(values[k])).transpose(0, 1).reshape(-1, dim)
        context.index_add_(0, rows, part * weights[rows, k, None])
    return context.view_as(q)


@contextlib.contextmanager
def sparse(model: DictionaryCodec, k: int) -> Iterator[DictionaryCodec]:
    """Each place uses its k strongest experts while inside, and only those are computed."""
    with rerouted(model, strongest(k)), contextlib.ExitStack() as stack:
        for head in model.latent_codec.slices:
            own = vars(head.attention).copy()
            head.attention.attend = functools.partial(sparse_attend, head.attention)
            if "attend" in own:  # sparse within sparse
                stack.callback(setattr, head.attention, "attend", own["attend"])
            else:
                stack.callback(delattr, head.attention, "attend")
        yield model


@torch.no_grad()
def macs_by_part(model: DictionaryCodec, x: Tensor, quality: float | None = None) -> dict[str, int]:
    """Multiply-accumulates of a forward pass, part by part, as torch counts them.

    ``dictionaries`` are the products of queries with keys and of weights with values; ``around
    the dictionaries`` is the rest of their attention.

    Args:
        model: a codec.
        x: pictures, shape (B, 3, H, W).
        quality: 0-100 for a variable-rate model.
    """
    with FlopCounterMode(display=False) as counter:
        model(x, quality)
    counts = counter.get_flop_counts()

    def count(*names: str, kind: str = "") -> int:
        found = [counts.get(f"{type(model).__name__}.{name}", {}) for name in names]
        return sum(n for ops in found for op, n in ops.items() if kind in str(op)) // 2

    heads = [f"latent_codec.{name}" for name in _heads(model.latent_codec)]
    attention = [f"{head}.attention" for head in heads]
    products = count(*attention, kind="bmm")  # linear layers are mm and addmm
    return {
        "g_a": count("g_a"),
        "g_s": count("g_s"),
        "hyperprior": count(*(f"latent_codec.{n}" for n in ("h_a", "h_scale", "h_mean"))),
        "mean, scale and LRP nets": count(
            *(f"{head}.{net}" for head in heads for net in ("mean", "scale", "lrp"))
        ),
        "around the dictionaries": count(*attention) - products,
        "dictionaries": products,
    }
