"""Checkpoints in the published layouts of DCAE and DictCO: recognise, convert, convert back.

Only one direction of names is written down, from ours to the published ones; loading builds the
model that the tensors describe and looks every name of ours up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dictco_lib.config import ModelConfig
from dictco_lib.errors import CheckpointError, ConfigError
from dictco_lib.models import DictionaryCodec

#: Last part of keys whose value is a constant of the architecture, or a table of another coder.
CONSTANT_LEAVES = frozenset(
    ("num_batches_tracked", "_offset", "_quantized_cdf", "_cdf_length", "target", "bound")
    + ("scale_table", "scale_bound", "relative_position_index")
)

_SLICE = r"^latent_codec\.slices\.(\d+)\."
_ATTENTION = r"^(dt_cross_attention\.\d+)\."
_COMMON = [
    (_SLICE + r"(mean|scale)\.", r"cc_\2_transforms.\1."),
    (_SLICE + r"lrp\.", r"lrp_transforms.\1."),
    (_SLICE + r"attention\.", r"dt_cross_attention.\1."),
    (r"^latent_codec\.h_a\.", "h_a."),
    (r"^latent_codec\.h_scale\.", "h_z_s1."),
    (r"^latent_codec\.h_mean\.", "h_z_s2."),
    (r"^latent_codec\.entropy_bottleneck\.", "entropy_bottleneck."),
    (r"^latent_codec\.gaussian\.", "gaussian_conditional."),
    (r"^latent_codec\.dictionary$", "dt"),
    (_ATTENTION + r"temperature$", r"\1.scale"),
    (_ATTENTION + r"fc_in\.", r"\1.x_trans."),
    (_ATTENTION + r"norm_in\.", r"\1.ln_scale."),
    (_ATTENTION + r"aggregate\.conv_in\.", r"\1.msa.s."),
    (_ATTENTION + r"aggregate\.spatial_gate\.", r"\1.msa.spatial_atte.conv1."),
    (_ATTENTION + r"aggregate\.proj\.", r"\1.msa.dense.proj."),
    (_ATTENTION + r"aggregate\.units\.(\d+)\.", r"\1.msa.dense.conv_layers.\2.1."),
    (r"(conv_layers\.\d+\.1)\.conv_in\.", r"\1.in_trans."),
    (r"(conv_layers\.\d+\.1)\.dwconv\.", r"\1.dw_conv."),
    (r"(conv_layers\.\d+\.1)\.conv_out\.", r"\1.out_trans."),
    (_ATTENTION + r"norm_query\.", r"\1.lnx."),
    (_ATTENTION + r"to_query\.", r"\1.q_trans."),
    (_ATTENTION + r"norm_dictionary\.", r"\1.dict_ln."),
    (_ATTENTION + r"proj\.", r"\1.linear."),
    (_ATTENTION + r"norm_mlp\.", r"\1.ln_mlp."),
    (r"\.skip(\d)\.", r".res_scale_\1."),
    (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
    (r"\.blocks\.(\d+)\.(norm|attention|mlp|res_scale)", r".layers.\1.\2"),
    (r"(\.layers\.\d+)\.norm(\d)\.", r"\1.ln\2."),
    (r"(\.layers\.\d+)\.attention\.bias$", r"\1.msa.relative_position_params"),
    (r"(\.layers\.\d+)\.attention\.qkv\.", r"\1.msa.embedding_layer."),
    (r"(\.layers\.\d+)\.attention\.proj\.", r"\1.msa.linear."),
]
_DCAE = [
    (r"\.blocks\.(\d+)\.", lambda m: f".res{int(m[1]) + 1}."),
    (_ATTENTION + r"to_key\.", r"\1.k."),
    (_ATTENTION + r"fc_out\.", r"\1.output_trans.0."),
]
_DICTCO = [
    # The published Sequentials nest a stage and the step after it: index i > 0 is (i + 1) // 2, ...
    (r"^(g_[as])\.([1-9])\.", lambda m: f"{m[1]}.{(int(m[2]) + 1) // 2}.{(int(m[2]) - 1) % 2}."),
    (r"\.blocks\.(\d+)\.", r".res_blocks.\1."),
    (r"^(g_a\.0|g_a\.[12]\.1|h_a\.0)\.conv\.", r"\1.conv_down."),
    (r"^(g_s\.[123]\.1|h_z_s[12]\.2)\.conv\.", r"\1.conv_up."),
    (_ATTENTION + r"to_key\.", r"\1.k_trans."),
    (_ATTENTION + r"fc_out\.", r"\1.output_trans."),
]
_RULES = {"dcae": _COMMON + _DCAE, "dictco": _COMMON + _DICTCO}
#: DictCO registers each bracket of its transforms twice; either spelling holds the tensors.
_ALIASES = [(r"^g_a\.([123])\.", r"m_down\1."), (r"^g_s\.([123])\.", r"m_up\1.")]
_OLD_PRIOR = re.compile(r"\.(_)(matrix|bias|factor)(\d)$")
_NEW_PRIOR = {"matrix": "matrices", "bias": "biases", "factor": "factors"}


def _published_key(key: str, family: str) -> str:
    for pattern, replacement in _RULES[family]:
        key = re.sub(pattern, replacement, key)
    return key


def _alias(published: str) -> str | None:
    for pattern, replacement in _ALIASES:
        if re.match(pattern, published):
            return re.sub(pattern, replacement, published)
    return None


def load_published(source: str | Path | Mapping) -> DictionaryCodec:
    """Load a model from a published checkpoint of DCAE or DictCO.

    Family and sizes are read from the tensors. Buffers that hold constants may be missing, and
    so may tables that CompressAI has not filled yet.

    Args:
        source: path of a ``torch.save`` file (read with ``weights_only``), or its state dict;
            with or without a ``state_dict`` wrapper, with or without ``module.`` prefixes.

    Returns:
        The model in evaluation mode, float32, its integer tables built.

    Raises:
        CheckpointError: if the file cannot be read, the family is not known, or tensors other
            than the tolerated ones are missing, unknown, or of the wrong shape.
    """
    state = _normalised(source if isinstance(source, Mapping) else _read(Path(source)))
    family = _family(state)
    try:
        model = DictionaryCodec(_infer_config(state, family)).eval()
    except (KeyError, StopIteration, IndexError, ValueError, ZeroDivisionError, ConfigError) as e:
        raise CheckpointError(
            f"looks like a {family} checkpoint, but its sizes cannot be read "
            f"({type(e).__name__}: {e}); is it complete?"
        ) from None
    _fill(model, state, family)
    model.update()
    return model


def _read(path: Path) -> Mapping:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on foreign bytes the unpickler raises whatever it trips over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as plain weights: {reason}") from None
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, expected a state dict")
    return loaded


def _normalised(state: Mapping) -> dict[str, Tensor]:
    if isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    result = {}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"entry {key!r} is a {type(value).__name__}, expected a tensor; give the state "
                "dict itself, or a mapping that holds it as 'state_dict'"
            )
        key = key.removeprefix("module.")
        result[_OLD_PRIOR.sub(lambda m: f".{_NEW_PRIOR[m[2]]}.{m[3]}", key)] = value
    return result


def _family(state: Mapping[str, Tensor]) -> str:
    if "dt" in state and "dt_cross_attention.0.x_trans.weight" in state:
        return "dcae"
    if "dt_cross_attention.0.experts" in state:
        return "dictco"
    raise CheckpointError(
        f"no layout that is known: {len(state)} tensors, first {list(state)[:5]}; "
        "expected DCAE (dt, dt_cross_attention.*) or DictCO (dt_cross_attention.*.experts)"
    )


def _infer_config(state: Mapping[str, Tensor], family: str) -> ModelConfig:
    def shape(native: str) -> tuple[int, ...]:
        key = _published_key(native, family)
        if key not in state and family == "dictco":
            key = _alias(key) or key
        return tuple(state[key].shape)

    def count(template: str) -> int:
        return next(i for i in range(1000) if not _has(state, template.format(i), family))

    slices = count("latent_codec.slices.{}.mean.0.weight")
    first = "latent_codec.slices.0."
    widths = tuple(shape(f"g_a.{i}.conv.weight")[0] for i in (0, 2, 4))

    def window_and_head_dim(stage: str, width: int) -> tuple[int, int]:
        bias = shape(f"{stage}.blocks.0.attention.bias")
        if family == "dcae":
            return (bias[1] + 1) // 2, width // bias[0]
        return (round(bias[0] ** 0.5) + 1) // 2, width // bias[1]

    stages = [window_and_head_dim(f"g_a.{i}", w) for i, w in zip((1, 3, 5), widths, strict=True)]
    n = shape("latent_codec.entropy_bottleneck.quantiles")[0]
    hyper_window, hyper_head_dim = window_and_head_dim("latent_codec.h_a.1", n)
    if family == "dcae":
        entries, dim = shape("latent_codec.dictionary")
        experts = 0
    else:
        experts, entries, dim = shape(first + "attention.experts")
    return ModelConfig(
        name=family,
        N=n,
        M=shape("g_a.6.weight")[0],
        groups=tuple(shape(f"latent_codec.slices.{k}.mean.4.weight")[0] for k in range(slices)),
        widths=widths,
        head_dims=tuple(head for _, head in stages),
        blocks=tuple(count(f"g_a.{i}.blocks.{{}}.norm1.weight") for i in (1, 3, 5)),
        residual_blocks=count("g_a.0.blocks.{}.conv1.weight"),
        reduction=widths[0] // shape("g_a.0.blocks.0.conv1.weight")[0],
        batch_norm=family == "dictco",
        window=stages[0][0],
        hyper_head_dim=hyper_head_dim,
        hyper_window=hyper_window,
        hyper_channels=shape("latent_codec.h_scale.2.conv.weight")[1],
        experts=experts,
        entries=entries,
        dictionary_dim=dim,
        heads=shape(first + "attention.temperature")[0],
        context_channels=shape(first + "attention.fc_out.weight")[0],
        parameter_widths=tuple(shape(f"{first}mean.{j}.weight")[0] for j in (0, 2)),
    )


def _has(state: Mapping[str, Tensor], native: str, family: str) -> bool:
    key = _published_key(native, family)
    return key in state or (family == "dictco" and _alias(key) in state)


def _own_tables(key: str) -> bool:
    return key.startswith(("latent_codec.y_tables.", "latent_codec.z_tables."))


@torch.no_grad()
def _fill(model: DictionaryCodec, state: dict[str, Tensor], family: str) -> None:
    missing, wrong = [], []
    unused = {key for key in state if not key.endswith("relative_position_index")}
    for key, target in model.state_dict().items():
        if _own_tables(key):
            continue
        published = _published_key(key, family)
        alias = _alias(published) if family == "dictco" else None
        value = state.get(published, state.get(alias))
        unused -= {published, alias}
        leaf = key.rsplit(".", 1)[-1]
        if value is None:
            if leaf not in CONSTANT_LEAVES:
                missing.append(published)
            continue
        if leaf == "bias" and key.endswith("attention.bias") and family == "dictco":
            side = target.shape[-1]
            value = value.T.reshape(-1, side, side) if value.shape[0] == side**2 else value
        if leaf in CONSTANT_LEAVES and leaf != "num_batches_tracked":
            if target.shape != value.shape and value.numel():
                _set_buffer(model, key, value)  # tables that CompressAI has filled
        elif target.shape != value.shape:
            wrong.append(f"{published} {tuple(value.shape)}, expected {tuple(target.shape)}")
        else:
            target.copy_(value)
    if missing or wrong or unused:
        raise CheckpointError(
            f"{family} checkpoint does not fit: missing {missing}; "
            f"wrong shape {wrong}; unknown {sorted(unused)}"
        )


def _set_buffer(model: DictionaryCodec, key: str, value: Tensor) -> None:
    path, leaf = key.rsplit(".", 1)
    setattr(model.get_submodule(path), leaf, value.clone())


def to_published(model: DictionaryCodec) -> dict[str, Tensor]:
    """State dict of a fixed-rate model in the published layout, ready for ``torch.save``.

    Raises:
        CheckpointError: if the model has parts that no published layout has (gains).
    """
    config = model.config
    if config.is_variable_rate or bool(config.experts) != config.batch_norm:
        raise CheckpointError(
            f"model {config.name!r} has no published layout: it must be fixed-rate, and either "
            "DCAE (shared dictionary, no BatchNorm) or DictCO (experts and BatchNorm)"
        )
    family = "dictco" if config.experts else "dcae"
    result = {}
    for key, value in model.state_dict().items():
        if _own_tables(key):
            continue
        published = _published_key(key, family)
        value = value.detach().cpu().clone()
        if family == "dictco" and key.endswith("attention.bias"):
            value = value.flatten(1).T.contiguous()
            index = published.replace("relative_position_params", "relative_position_index")
            result[index] = _position_index(value.shape[0])
        result[published] = value
    if family == "dictco":
        result |= {alias: value for key, value in result.items() if (alias := _alias(key))}
    return result


def _position_index(rows: int) -> Tensor:
    """Row of the bias table for each query-key pair of a window, shape (L, L)."""
    side = round(rows**0.5)
    place = torch.arange((side + 1) // 2)
    delta = place[:, None] - place[None, :] + side // 2  # (w, w)
    index = delta[:, None, :, None] * side + delta[None, :, None, :]  # (w, w, w, w)
    return index.reshape(len(place) ** 2, -1)
