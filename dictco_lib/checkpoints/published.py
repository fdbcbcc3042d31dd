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

from dictco_lib.checkpoints.census import check_shares, read_pickle
from dictco_lib.checkpoints.fit import (
    CONSTANT_LEAVES,
    TABLE_LEAVES,
    constant_problem,
    is_coder_table,
    is_increasing,
    is_same,
    position_index,
    tensor_problem,
)
from dictco_lib.config import ModelConfig
from dictco_lib.errors import CheckpointError, ConfigError, foreign, listed, quoted
from dictco_lib.models import DictionaryCodec

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
            than the tolerated ones are missing, unknown, of the wrong shape or kind, not finite,
            or given twice with different values.
    """
    is_file = not isinstance(source, Mapping)
    state = _normalised(_read(Path(source)) if is_file else source)
    if is_file:
        check_shares(state, str(source), CheckpointError)
    family = _family(state)
    model = _empty_model_of(state, family)
    tables = _fill(model, state, family)
    model.update()
    _set_tables(model, tables)
    return model


def empty_model(config: ModelConfig) -> DictionaryCodec:
    """A model to be filled: float32, evaluation mode, the caller's random numbers untouched."""
    with torch.random.fork_rng(devices=[]):
        return DictionaryCodec(config).float().eval()


def _empty_model_of(state: Mapping[str, Tensor], family: str) -> DictionaryCodec:
    what = f"looks like a {family} checkpoint, but its sizes cannot be read"
    with foreign(what, CheckpointError, "is it complete?"):
        try:
            return empty_model(_infer_config(state, family))
        except ConfigError as error:
            raise CheckpointError(f"{what}: {error}; is it complete?") from None


def _read(path: Path) -> Mapping:
    loaded = read_pickle(path, CheckpointError)
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
                f"entry {quoted(key)} is a {type(value).__name__}, expected a tensor; give the "
                "state dict itself, or a mapping that holds it as 'state_dict'"
            )
        key = str(key).removeprefix("module.")
        key = _OLD_PRIOR.sub(lambda m: f".{_NEW_PRIOR[m[2]]}.{m[3]}", key)
        if not is_same(result.setdefault(key, value), value):
            raise CheckpointError(
                f"tensor {quoted(key)} is there twice, with different values; keep one"
            )
    return result


def _family(state: Mapping[str, Tensor]) -> str:
    if "dt" in state and "dt_cross_attention.0.x_trans.weight" in state:
        return "dcae"
    if "dt_cross_attention.0.experts" in state:
        return "dictco"
    raise CheckpointError(
        f"no layout that is known: {len(state)} tensors, first {listed(list(state))}; "
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
def _fill(model: DictionaryCodec, state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """Copy all weights; returns CompressAI's tables by our names."""
    missing, wrong, tables = [], [], {}
    unused = set(state)
    for key, target in model.state_dict().items():
        if _own_tables(key):
            continue
        published = _published_key(key, family)
        value, names = _look_up(state, published, family, wrong)
        unused -= names
        leaf = key.rsplit(".", 1)[-1]
        if key.endswith("attention.bias"):
            unused -= _check_position_index(state, published, target, family, wrong)
        if value is None:
            if leaf not in CONSTANT_LEAVES:
                missing.append(published)
        elif leaf in TABLE_LEAVES:
            tables[key] = value
        elif problem := _place(value, target, leaf, family):
            wrong.append(f"{published}: {problem}")
    wrong += _table_problems(model, tables)
    if missing or wrong or unused:
        raise CheckpointError(
            f"{family} checkpoint does not fit: missing [{listed(missing)}]; wrong "
            f"[{listed(wrong)}]; unknown [{listed(sorted(unused))}]; expected the layout of its "
            "authors' code, complete"
        )
    return tables


def _look_up(
    state: Mapping[str, Tensor], published: str, family: str, wrong: list[str]
) -> tuple[Tensor | None, set[str]]:
    """A tensor under either spelling, and the spellings; they must not contradict each other."""
    alias = _alias(published) if family == "dictco" else None
    found = {name: state[name] for name in (published, alias) if name in state}
    values = list(found.values())
    if len(values) == 2 and not is_same(*values):
        wrong.append(f"{published} and {alias} are one tensor, but hold different values")
    return (values[0] if values else None), set(found)


def _place(value: Tensor, target: Tensor, leaf: str, family: str) -> str | None:
    """Copy a value to its target, or check it if that is a constant; returns what is wrong."""
    if leaf == "bias" and target.dim() == 3 and family == "dictco":
        side = target.shape[-1]
        if value.dim() == 2 and value.shape[0] == side**2:
            value = value.T.reshape(-1, side, side)
    problem = tensor_problem(value, target)
    if problem is None and leaf in CONSTANT_LEAVES and leaf != "num_batches_tracked":
        return constant_problem(value, target)
    if problem is None:
        target.copy_(value)
    return problem


def _check_position_index(
    state: Mapping[str, Tensor], published: str, bias: Tensor, family: str, wrong: list[str]
) -> set[str]:
    """Compare the index that lies beside a bias table, if any; returns the names it goes by."""
    name = published.replace("relative_position_params", "relative_position_index")
    value, names = _look_up(state, name, family, wrong)
    if value is not None:
        own = position_index(bias.shape[-1] ** 2)
        problem = tensor_problem(value, own) or constant_problem(value, own)
        wrong += [f"{name}: {problem}"] if problem else []
    return names


def _table_problems(model: DictionaryCodec, tables: Mapping[str, Tensor]) -> list[str]:
    """What CompressAI's coder, which checks nothing itself, would trip over."""
    result = []
    for name in ("entropy_bottleneck", "gaussian"):
        cdf, length, offset, scales = (
            tables.get(f"latent_codec.{name}.{leaf}", torch.zeros(0))
            for leaf in ("_quantized_cdf", "_cdf_length", "_offset", "scale_table")
        )
        if not is_increasing(scales):
            result.append(f"{name}: scale_table, expected increasing positive floats")
        rows = model.config.N if name == "entropy_bottleneck" else scales.numel()
        is_given = any(t.numel() for t in (cdf, length, offset))
        if is_given and not is_coder_table(cdf, length, offset, rows):
            result.append(f"{name}: _quantized_cdf, _cdf_length, _offset are no {rows} tables")
    return result


def _set_tables(model: DictionaryCodec, tables: Mapping[str, Tensor]) -> None:
    for key, value in tables.items():
        path, leaf = key.rsplit(".", 1)
        module = model.get_submodule(path)
        if value.numel():
            setattr(module, leaf, value.detach().clone().to(getattr(module, leaf)))


def to_published(model: DictionaryCodec) -> dict[str, Tensor]:
    """State dict of a fixed-rate model in the published layout, ready for ``torch.save``.

    Raises:
        CheckpointError: if the model has parts that no published layout has (gains, top_k), or
            lacks some that all have.
    """
    config = model.config
    is_family = bool(config.experts) == config.batch_norm and not config.top_k
    is_whole = all(config.blocks) and config.residual_blocks > 0
    if config.is_variable_rate or not (is_family and is_whole):
        raise CheckpointError(
            f"model {config.name!r} has no published layout: it must be fixed-rate, have blocks in "
            "every stage and no top_k, and be either DCAE (shared dictionary, no BatchNorm) or "
            "DictCO (experts and BatchNorm)"
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
            result[index] = position_index(value.shape[0])
        result[published] = value
    if family == "dictco":
        result |= {alias: value for key, value in result.items() if (alias := _alias(key))}
    return result
