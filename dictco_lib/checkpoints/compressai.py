"""CompressAI's containerised layout of the same models: composed after the authors' layouts.

Its ports keep everything but the transforms in one ``latent_codec`` and a copy of the Gaussian's
buffers in each slice. Names are pairs of templates, read in both directions; what is more than a
name (exchanged inputs, tables turned, an extra linear layer, networks without influence) has a
function each way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dictco_lib.checkpoints.fit import is_same, position_index
from dictco_lib.errors import CheckpointError, listed

State = dict[str, Tensor]
_CONTEXT = "latent_codec.y.channel_context.y{k}."
_CODEC = "latent_codec.y.latent_codec.y{k}."
_GAUSSIAN = "gaussian_conditional."


def _same(state: State) -> State:
    return state


@dataclass(frozen=True)
class Container:
    """One member in CompressAI's layout.

    ``names``: pairs of an author's key and CompressAI's, where ``{k}`` is a number and ``{*}``
    the rest. ``words``: parts of keys that differ inside the networks. ``pack`` and ``unpack``
    change values, on authors' keys: the first before the names change, the second after.
    """

    mark: str
    names: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, str], ...] = ()
    pack: Callable[[State], State] = _same
    unpack: Callable[[State], State] = _same


def _skeleton(
    mean: str = "h_mean_s",
    scale: str = "h_scale_s",
    prior: str = "entropy_bottleneck",
    nets: str = "cc_{}_transforms",
) -> tuple[tuple[str, str], ...]:
    return (
        ("h_a.{*}", "latent_codec.h_a.{*}"),
        (f"{mean}.{{*}}", "latent_codec.h_s.h_mean_s.{*}"),
        (f"{scale}.{{*}}", "latent_codec.h_s.h_scale_s.{*}"),
        (f"{prior}.{{*}}", "latent_codec.z.entropy_bottleneck.{*}"),
        (nets.format("mean") + ".{k}.{*}", _CONTEXT + "mean_cc.{*}"),
        (nets.format("scale") + ".{k}.{*}", _CONTEXT + "scale_cc.{*}"),
        ("lrp_transforms.{k}.{*}", _CODEC + "lrp_transform.{*}"),
    )


def _slices(state: State) -> list[int]:
    """Numbers of the slices of an author's state dict."""
    found = map(re.compile(r"lrp_transforms\.(\d+)\.").match, state)
    return sorted({int(m[1]) for m in found if m})


def _exchanged(state: State) -> State:
    """Swap the inputs that stand for scales and for means: CompressAI has the means first.

    The first networks behind the joint support, of every slice; its own inverse.
    """
    first = re.compile(
        r"((cc_(mean|scale)|lrp)_transforms\.\d+\.0|dt_cross_attention\.\d+\.x_trans)\.weight$"
    )
    width = state["dt_cross_attention.0.x_trans.weight"].shape[1] // 2  # slice 0: both and no more
    return {
        key: torch.cat([v[:, width : 2 * width], v[:, :width], v[:, 2 * width :]], dim=1)
        if first.match(key)
        else v
        for key, v in state.items()
    }


def _pack_saaf(state: State) -> State:
    return _exchanged({k: v for k, v in state.items() if not k.endswith("identity_matrix")})


def _pack_tcm(state: State) -> State:
    """Tables as rows, and the extra linear layer of the port as an identity."""
    packed = {}
    for key, value in state.items():
        if re.search(r"\.i?dwt\.", key):
            continue  # constants of the wavelets, which the port makes itself
        if key.endswith(".relative_position_params"):
            packed[key] = value.flatten(1).T.contiguous()
            stem = key.removesuffix("relative_position_params")
            packed[stem + "relative_position_index"] = position_index(value.shape[-1] ** 2)
            width = state[stem + "linear.weight"].shape[0]
            packed[stem + "proj.weight"], packed[stem + "proj.bias"] = (
                torch.eye(width), torch.zeros(width),
            )  # fmt: skip
        else:
            packed[key] = value
    return packed


def _unpack_tcm(state: State) -> State:
    """The extra layer is folded into the one behind it: only the order of tokens lies between."""
    out = {k: v for k, v in state.items() if not re.search(r"\.i?dwt\.", k)}
    for key in [k for k in out if k.endswith(".relative_position_params")]:
        stem = key.removesuffix("relative_position_params")
        rows = out[key]
        side = round(rows.shape[0] ** 0.5)
        out[key] = rows.T.reshape(-1, side, side)
        out.pop(stem + "relative_position_index", None)
        extra, bias = out.pop(stem + "proj.weight", None), out.pop(stem + "proj.bias", None)
        if extra is None:
            continue
        weight = out[stem + "linear.weight"]
        if not torch.equal(extra, torch.eye(len(extra))) or bool(bias.any()):
            w = weight.double()
            out[stem + "linear.bias"] = (w @ bias.double() + out[stem + "linear.bias"]).float()
            out[stem + "linear.weight"] = (w @ extra.double()).float()
    return out


def _pack_cca(state: State) -> State:
    """Zeros for the port's auxiliary LRP networks that no output depends on."""
    packed = _with_projections(state, "conv1", "project")
    stem = "aux_entropymodel.lrp_transforms."
    if not any(key.startswith(stem) for key in state):
        return packed
    for k in _slices(state):
        for key in [key for key in state if key.startswith(f"lrp_transforms.{k}.")]:
            name = "aux_entropymodel." + key
            if name not in state:
                shape = list(state[key].shape)
                if key.endswith(f"transforms.{k}.0.weight"):  # one slice less is seen
                    first = f"aux_entropymodel.mean_cc_transforms.{k}.0.weight"
                    size = state[f"lrp_transforms.{k}.4.bias"].shape[0]
                    shape[1] = state[first].shape[1] + size
                packed[name] = torch.zeros(shape)
    return packed


def _unpack_cca(state: State) -> State:
    """Auxiliary LRP networks of the last two slices go: no later slice sees what they refine."""
    last = max(_slices(state))
    idle = tuple(f"aux_entropymodel.lrp_transforms.{k}." for k in (last - 1, last))
    state = _with_projections(state, "project", "conv1")
    return {key: value for key, value in state.items() if not key.startswith(idle)}


def _with_projections(state: State, old: str, new: str) -> State:
    """Another name for a layer of the NAF blocks; other blocks have layers of the same name."""
    gate = ".dwconv.0.weight"
    blocks = {key.removesuffix(gate) for key in state if key.endswith(gate)}
    renamed = {}
    for key, value in state.items():
        block, _, leaf = key.rpartition(f".{old}.")
        renamed[f"{block}.{new}.{leaf}" if block in blocks else key] = value
    return renamed


_TCM_WORDS = (
    (".ln1.", ".norm1."),
    (".ln2.", ".norm2."),
    (".mlp.0.", ".mlp.fc1."),
    (".mlp.2.", ".mlp.fc2."),
    (".msa.embedding_layer.", ".msa.attn.qkv."),
    (".msa.linear.", ".msa.output_proj."),
    (".msa.proj.", ".msa.attn.proj."),
    (".msa.relative_position_params", ".msa.attn.relative_position_bias_table"),
    (".msa.relative_position_index", ".msa.attn.relative_position_index"),
)
_TCM_NAMES = (
    *_skeleton(),
    ("atten_mean.{k}.0.{*}", _CONTEXT + "mean_support_transform.{*}"),
    ("atten_scale.{k}.0.{*}", _CONTEXT + "scale_support_transform.{*}"),
)
_DCAE_NAMES = (
    *_skeleton("h_z_s2", "h_z_s1"),
    ("dt", "shared_dictionary.dt"),
    ("dt_cross_attention.{k}.{*}", _CONTEXT + "cross_attention.{*}"),
)
_INNER = "aux_entropy_model.inner_codec."
CONTAINERS = {
    "wacnn": Container(
        "g_a.4.conv_b.0.attn.attn.qkv.weight", _skeleton(), ((".attn.", ".attn.attn."),)
    ),
    "stf": Container("patch_embed.proj.weight", _skeleton()),
    "dcae": Container("shared_dictionary.dt", _DCAE_NAMES, (), _exchanged, _exchanged),
    "saaf": Container("aux_enc.0.olp.linear.weight", _DCAE_NAMES, (), _pack_saaf, _exchanged),
    "tcm": Container(
        "latent_codec.y.channel_context.y0.mean_support_transform.in_conv.weight",
        _TCM_NAMES, _TCM_WORDS, _pack_tcm, _unpack_tcm,
    ),
    "tcm_auxt": Container(
        "g_a.auxiliary_layers.0.scaling_factors",
        (
            *_TCM_NAMES,
            ("AuxT_enc.{k}.{*}", "g_a.auxiliary_layers.{k}.{*}"),
            ("AuxT_dec.{k}.{*}", "g_s.auxiliary_layers.{k}.{*}"),
            ("g_a.{k}.{*}", "g_a.transform.{k}.{*}"),
            ("g_s.{k}.{*}", "g_s.transform.{k}.{*}"),
        ),
        (*_TCM_WORDS, (".OLP.", ".olp.")), _pack_tcm, _unpack_tcm,
    ),
    "cca": Container(
        "latent_codec.y.channel_context.y0.mean_support_transform.input_projection.weight",
        (
            *_skeleton(prior="z_entropy_bottleneck", nets="{}_cc_transforms"),
            ("mean_NAF_transforms.{k}.{*}", _CONTEXT + "mean_support_transform.{*}"),
            ("scale_NAF_transforms.{k}.{*}", _CONTEXT + "scale_support_transform.{*}"),
            ("aux_entropymodel.mean_NAF_transforms.{k}.{*}",
             _INNER + "channel_context.y{k}.mean_support_transform.{*}"),
            ("aux_entropymodel.scale_NAF_transforms.{k}.{*}",
             _INNER + "channel_context.y{k}.scale_support_transform.{*}"),
            ("aux_entropymodel.mean_cc_transforms.{k}.{*}",
             _INNER + "channel_context.y{k}.mean_cc.{*}"),
            ("aux_entropymodel.scale_cc_transforms.{k}.{*}",
             _INNER + "channel_context.y{k}.scale_cc.{*}"),
            ("aux_entropymodel.lrp_transforms.{k}.{*}",
             _INNER + "latent_codec.y{k}.lrp_transform.{*}"),
            ("aux_entropymodel.{*}", "aux_entropy_model.{*}"),
        ),
        ((".in_conv.", ".input_projection."), (".out_conv.", ".output_projection."),
         (".dwconv.", ".pointwise_depthwise."), (".sca.", ".channel_attention."),
         (".FFN.", ".feed_forward.")),
        _pack_cca, _unpack_cca,
    ),
}  # fmt: skip


def _template(text: str) -> re.Pattern:
    pattern = re.escape(text).replace(r"\{k\}", r"(?P<k>\d+)").replace(r"\{\*\}", r"(?P<rest>.+)")
    return re.compile(f"^{pattern}$")


def _renamed(key: str, names: list[tuple[str, str]]) -> str:
    for old, new in names:
        if m := _template(old).match(key):
            found = m.groupdict()
            return new.replace("{k}", found.get("k", "")).replace("{*}", found.get("rest", ""))
    return key


def _reworded(key: str, words: tuple[tuple[str, str], ...]) -> str:
    for old, new in words:
        key = key.replace(old, new)
    return key


def to_container(published: Mapping[str, Tensor], name: str) -> State:
    """An author's state dict in CompressAI's layout, ready for a strict load there.

    Args:
        published: from :func:`dictco_lib.checkpoints.to_published`.
        name: of the layout it has.

    Raises:
        CheckpointError: for a member that CompressAI has no port of.
    """
    if name not in CONTAINERS:
        raise CheckpointError(
            f"CompressAI has no {name}; it has {', '.join(CONTAINERS)}. Give --to published"
        )
    box = CONTAINERS[name]
    state = box.pack(dict(published))
    slices, result = _slices(state), {}
    for key, value in state.items():
        if _GAUSSIAN in key:  # a copy in each slice
            leaf = key.rpartition(_GAUSSIAN)[2]
            base = _CODEC if key.startswith(_GAUSSIAN) else _INNER + "latent_codec.y{k}."
            result |= {base.format(k=k) + _GAUSSIAN + leaf: value.clone() for k in slices}
            continue
        result[_reworded(_renamed(key, list(box.names)), box.words)] = value
    return result


def container_of(state: Mapping[str, Tensor]) -> str | None:
    """The member whose containerised layout a state dict has; None if it has no such layout."""
    if not any(key.startswith("latent_codec.y.") for key in state):
        return None
    found = [name for name, box in CONTAINERS.items() if box.mark in state]
    if not found:
        raise CheckpointError(
            f"CompressAI's layout of a model that is not known: first keys {listed(list(state))}"
        )
    return found[-1]  # the later one tells more


def from_container(state: Mapping[str, Tensor], name: str) -> State:
    """The way back: an author's state dict.

    Raises:
        CheckpointError: if the slices' copies of the Gaussian's buffers contradict each other.
    """
    box = CONTAINERS[name]
    words = tuple((new, old) for old, new in reversed(box.words))
    names = [(new, old) for old, new in box.names]
    result: State = {}
    for key, value in state.items():
        if m := re.match(r"(.*)latent_codec\.y\d+\.(gaussian_conditional\..+)$", key):
            one = ("aux_entropymodel." if m[1].startswith(_INNER) else "") + m[2]
            if not is_same(result.setdefault(one, value), value):
                raise CheckpointError(
                    f"{key} differs from the other slices' copies of {one}; which is meant?"
                )
            continue
        result[_renamed(_reworded(key, words), names)] = value
    return box.unpack(result)
