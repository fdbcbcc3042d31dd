"""CompressAI's containerised layouts of the members: data, composed after the authors' layouts.

Names are pairs of templates, read in both directions. What is more than a name (exchanged inputs,
tables turned, an extra linear layer, networks without influence) has a function each way, which
says of every tensor that it changes, makes or drops what it did.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dictco_lib.checkpoints.fit import position_index
from dictco_lib.config import CodecConfig
from dictco_lib.errors import CheckpointError

State = dict[str, Tensor]
#: An author's key -> what was done to the tensor, beside giving it another name.
Notes = dict[str, str]
CONTEXT = "latent_codec.y.channel_context.y{k}."
CODEC = "latent_codec.y.latent_codec.y{k}."
INNER = "aux_entropy_model.inner_codec."
_PARAMETERS = ".msa.relative_position_params"
_HALF_ROOT = 0.5**0.5
#: The wavelets' constants of AuxT there: first filter (sum) and second (difference), each once as
#: a column and once as a row, in g_a (analysis, turned round) and in g_s (synthesis).
_FILTERS = {"0": (_HALF_ROOT, _HALF_ROOT), "1": (_HALF_ROOT, -_HALF_ROOT)}
_SHAPES = {"col": (1, 1, 2, 1), "row": (1, 1, 1, 2)}


def _same(state: State, notes: Notes) -> State:
    return state


def _anything(c: CodecConfig) -> dict[str, object]:
    return {}


@dataclass(frozen=True)
class Container:
    """One member in CompressAI's layout.

    ``mark``: a key that tells it from the others. ``names``: pairs of an author's key and
    CompressAI's, where ``{k}`` is a number and ``{*}`` the rest. ``words``: parts of keys that
    differ inside the networks; a third entry names a sibling that must be there. ``pack`` and
    ``unpack`` change values, on authors' keys: the first before the names change, the second
    after. ``fixed``: numbers that the port's constructor gives no choice of. ``differs``: what
    the port computes otherwise with the same weights.
    """

    mark: str
    names: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, ...], ...] = ()
    pack: Callable[[State, Notes], State] = _same
    unpack: Callable[[State, Notes], State] = _same
    fixed: Callable[[CodecConfig], dict[str, object]] = _anything
    differs: str = ""


def slices_of(state: State) -> list[int]:
    """Numbers of the slices of an author's state dict."""
    found = map(re.compile(r"lrp_transforms\.(\d+)\.").match, state)
    return sorted({int(m[1]) for m in found if m})


_FIRST = re.compile(
    r"((cc_(mean|scale)|lrp)_transforms\.\d+\.0|dt_cross_attention\.\d+\.x_trans)\.weight$"
)


def _exchanged(state: State, notes: Notes) -> State:
    """Swap the inputs that stand for scales and for means: CompressAI has the means first.

    The first networks behind the joint support, of every slice; its own inverse.
    """
    query = state.get("dt_cross_attention.0.x_trans.weight")  # slice 0: both maps and no more
    if query is None or query.dim() != 2:
        return state  # named when the tensors are put into their places
    s, result = query.shape[1] // 2, dict(state)
    for key, v in state.items():
        if _FIRST.match(key) and v.dim() in (2, 4):
            result[key] = torch.cat([v[:, s : 2 * s], v[:, :s], v[:, 2 * s :]], dim=1)
            notes[key] = "inputs exchanged: scales before means in ours, means first there"
    return result


def _pack_saaf(state: State, notes: Notes) -> State:
    for key in [key for key in state if key.endswith("identity_matrix")]:
        notes[key] = "a constant that is not kept there"
        state = {k: v for k, v in state.items() if k != key}
    return _exchanged(state, notes)


def _pack_tcm(state: State, notes: Notes) -> State:
    """Tables as rows, the port's extra linear layer as an identity, the port's wavelets."""
    packed: State = {}
    for key, value in state.items():
        stem = key.removesuffix("relative_position_params")
        if re.search(r"\.i?dwt\.", key):
            notes[key] = "a constant that has another form there"
            continue
        packed[key] = value
        if key.endswith(_PARAMETERS):
            packed[key] = value.flatten(1).T.contiguous()
            notes[key] = "a table of each head turned into rows"
            packed[stem + "relative_position_index"] = position_index(value.shape[-1] ** 2)
            linear = state[stem + "linear.weight"]
            packed[stem + "proj.weight"] = torch.eye(linear.shape[1], dtype=linear.dtype)
            packed[stem + "proj.bias"] = torch.zeros(linear.shape[1], dtype=linear.dtype)
            notes |= dict.fromkeys(
                (stem + "proj.weight", stem + "proj.bias"),
                "the port's extra linear layer: an identity",
            )
    return packed | haar_constants(packed)


def _unpack_tcm(state: State, notes: Notes) -> State:
    """The extra layer is folded into the one behind it: only the order of tokens lies between."""
    out = dict(state)
    for key in [k for k in out if k.endswith(_PARAMETERS)]:
        rows = out[key]
        side = round(len(rows) ** 0.5) if rows.dim() == 2 else 0
        if side and side**2 == len(rows):  # else it is named when it is put into its place
            out[key] = rows.T.reshape(-1, side, side)
            notes[key] = "rows turned into a table of each head"
        _fold(out, key.removesuffix("relative_position_params"), notes)
    return out


def _fold(state: State, stem: str, notes: Notes) -> None:
    """W (P x + p) + b of a port's attention, as the one linear layer that its authors have."""
    names = [stem + name for name in ("proj.weight", "proj.bias", "linear.weight", "linear.bias")]
    if any(name not in state for name in names):
        missing = ", ".join(name for name in names if name not in state)
        raise CheckpointError(f"the port's attention lacks {missing}; is the file complete?")
    extra, shift, weight, bias = (state[name] for name in names)
    width = weight.shape[-1] if weight.dim() == 2 else 0
    if extra.shape != (width, width) or shift.shape != (width,) or bias.dim() != 1:
        raise CheckpointError(
            f"{stem}proj has shapes {tuple(extra.shape)} and {tuple(shift.shape)}, expected an "
            f"extra linear layer of the {width} inputs of {stem}linear"
        )
    del state[names[0]], state[names[1]]
    identity = torch.eye(width, dtype=extra.dtype, device=extra.device)
    if torch.equal(extra, identity) and not bool(shift.any()):
        what = "the port's extra linear layer: an identity, left out"
    else:
        w = weight.double()
        state[names[3]] = (w @ shift.double() + bias).float()
        state[names[2]] = (w @ extra.double()).float()
        what = "the port's extra linear layer, folded into the one behind it"
        notes |= dict.fromkeys(names[2:], "multiplied by the port's extra linear layer")
    notes |= dict.fromkeys(names[:2], what)


def haar_constants(state: State) -> State:
    """The port's constants of the wavelets, by the author's names of the branches."""
    found = {}
    for key in state:
        if key.startswith("AuxT_") and key.endswith(".scaling_factors"):
            step = key.removesuffix("scaling_factors")
            name = "dwt.transform.h" if key.startswith("AuxT_enc") else "idwt.inverse.g"
            for number, taps in _FILTERS.items():
                for form, shape in _SHAPES.items():
                    value = torch.tensor(taps, dtype=torch.float32).reshape(shape)
                    found[f"{step}{name}{number}_{form}"] = value
    return found


def _pack_cca(state: State, notes: Notes) -> State:
    """Zeros for the port's auxiliary LRP networks that no output depends on."""
    packed, stem = dict(state), "aux_entropymodel.lrp_transforms."
    if not any(key.startswith(stem) for key in state):
        return packed
    for key in [key for key in state if key.startswith("lrp_transforms.")]:
        k, name = int(key.split(".")[1]), "aux_entropymodel." + key
        if name not in state:
            shape = list(state[key].shape)
            if key.endswith(f"transforms.{k}.0.weight"):  # one slice less is seen
                first = f"aux_entropymodel.mean_cc_transforms.{k}.0.weight"
                size = state[f"lrp_transforms.{k}.4.bias"].shape[0]
                shape[1] = state[first].shape[1] + size
            packed[name] = torch.zeros(shape, dtype=state[key].dtype)
            notes[name] = "zeros: no output depends on it"
    return packed


def _unpack_cca(state: State, notes: Notes) -> State:
    """Auxiliary LRP networks of the last two slices go: no later slice sees what they refine."""
    last = max(slices_of(state), default=-1)
    idle = tuple(f"aux_entropymodel.lrp_transforms.{k}." for k in (last - 1, last))
    notes |= {key: "left out: no output depends on it" for key in state if key.startswith(idle)}
    return {key: value for key, value in state.items() if not key.startswith(idle)}


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
        (nets.format("mean") + ".{k}.{*}", CONTEXT + "mean_cc.{*}"),
        (nets.format("scale") + ".{k}.{*}", CONTEXT + "scale_cc.{*}"),
        ("lrp_transforms.{k}.{*}", CODEC + "lrp_transform.{*}"),
    )


def _even(c: CodecConfig) -> tuple[int, ...]:
    return (c.M // len(c.groups),) * len(c.groups)


def _fixed_dcae(c: CodecConfig) -> dict[str, object]:
    return {
        "groups": _even(c), "residual_blocks": 3, "reduction": 2, "hyper_channels": c.M,
        "context_channels": c.M, "parameter_widths": (224, 128),
    }  # fmt: skip


def _fixed_saaf(c: CodecConfig) -> dict[str, object]:  # its denoiser's width follows M
    return _fixed_dcae(c) | {"denoiser": True, "M": 320}


def _fixed_tcm(c: CodecConfig) -> dict[str, object]:
    return {
        "groups": _even(c), "support_width": 128, "support_head_dim": 16, "window": 8,
        "hyper_window": 4, "parameter_widths": (224, 128),
    }  # fmt: skip


def _fixed_wacnn(c: CodecConfig) -> dict[str, object]:
    return {
        "groups": _even(c), "heads": 8, "windows": (8, 4), "hyper_widths": (224, 256, 288),
        "parameter_widths": (224, 176, 128, 64),
    }  # fmt: skip


def _fixed_stf(c: CodecConfig) -> dict[str, object]:
    eighth = c.M // 8
    return {
        "groups": _even(c), "N": 4 * eighth, "parameter_widths": (224, 176, 128, 64),
        "hyper_widths": (5 * eighth, 6 * eighth, 7 * eighth),
    }  # fmt: skip


def _fixed_cca(c: CodecConfig) -> dict[str, object]:
    return {
        "residual_blocks": 3, "hyper_width": c.widths[-1],
        "parameter_widths": (c.support_width, 128),
    }  # fmt: skip


_TCM_WORDS = (
    (".ln1.", ".norm1."),
    (".ln2.", ".norm2."),
    (".mlp.0.", ".mlp.fc1."),
    (".mlp.2.", ".mlp.fc2."),
    (".msa.embedding_layer.", ".msa.attn.qkv."),
    (".msa.linear.", ".msa.output_proj."),
    (".msa.proj.", ".msa.attn.proj."),
    (_PARAMETERS, ".msa.attn.relative_position_bias_table"),
    (".msa.relative_position_index", ".msa.attn.relative_position_index"),
    (".OLP.", ".olp."),
)
_TCM_NAMES = (
    *_skeleton(),
    ("atten_mean.{k}.0.{*}", CONTEXT + "mean_support_transform.{*}"),
    ("atten_scale.{k}.0.{*}", CONTEXT + "scale_support_transform.{*}"),
)
_TCM_DIFFERS = (
    "the latent residual prediction takes the support before its transform, not after (and where "
    "sides are no multiples of 128 pixels, Swin blocks pad behind their norm)"
)
_DCAE_NAMES = (
    *_skeleton("h_z_s2", "h_z_s1"),
    ("dt", "shared_dictionary.dt"),
    ("dt_cross_attention.{k}.{*}", CONTEXT + "cross_attention.{*}"),
)
CONTAINERS = {
    "wacnn": Container(
        "g_a.4.conv_b.0.attn.attn.qkv.weight", _skeleton(), ((".attn.", ".attn.attn."),),
        fixed=_fixed_wacnn,
    ),
    "stf": Container("patch_embed.proj.weight", _skeleton(), fixed=_fixed_stf),
    "dcae": Container(
        "shared_dictionary.dt", _DCAE_NAMES, (), _exchanged, _exchanged, _fixed_dcae
    ),
    "saaf": Container(
        "aux_enc.0.olp.linear.weight", _DCAE_NAMES, (), _pack_saaf, _exchanged, _fixed_saaf,
        "the logits of the global tokens are scaled, and the maps of the side branches keep the "
        "input's size until they are added",
    ),
    "tcm": Container(
        "latent_codec.y.channel_context.y0.mean_support_transform.in_conv.weight",
        _TCM_NAMES, _TCM_WORDS, _pack_tcm, _unpack_tcm, _fixed_tcm, _TCM_DIFFERS,
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
        _TCM_WORDS, _pack_tcm, _unpack_tcm, _fixed_tcm, _TCM_DIFFERS,
    ),
    "cca": Container(
        "latent_codec.y.channel_context.y0.mean_support_transform.input_projection.weight",
        (
            *_skeleton(prior="z_entropy_bottleneck", nets="{}_cc_transforms"),
            ("mean_NAF_transforms.{k}.{*}", CONTEXT + "mean_support_transform.{*}"),
            ("scale_NAF_transforms.{k}.{*}", CONTEXT + "scale_support_transform.{*}"),
            ("aux_entropymodel.mean_NAF_transforms.{k}.{*}",
             INNER + "channel_context.y{k}.mean_support_transform.{*}"),
            ("aux_entropymodel.scale_NAF_transforms.{k}.{*}",
             INNER + "channel_context.y{k}.scale_support_transform.{*}"),
            ("aux_entropymodel.mean_cc_transforms.{k}.{*}",
             INNER + "channel_context.y{k}.mean_cc.{*}"),
            ("aux_entropymodel.scale_cc_transforms.{k}.{*}",
             INNER + "channel_context.y{k}.scale_cc.{*}"),
            ("aux_entropymodel.lrp_transforms.{k}.{*}",
             INNER + "latent_codec.y{k}.lrp_transform.{*}"),
            ("aux_entropymodel.{*}", "aux_entropy_model.{*}"),
        ),
        (  # other blocks have a conv1 of their own, which stays
            (".conv1.", ".project.", ".dwconv.0.weight"),
            (".in_conv.", ".input_projection."), (".out_conv.", ".output_projection."),
            (".dwconv.", ".pointwise_depthwise."), (".sca.", ".channel_attention."),
            (".FFN.", ".feed_forward."),
        ),
        _pack_cca, _unpack_cca, _fixed_cca,
    ),
}  # fmt: skip
