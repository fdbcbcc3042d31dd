"""Checkpoints in the layouts of their authors: recognise, convert, convert back.

The layouts are data, on the pages of the members.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dictco_lib.checkpoints.census import check_shares, read_pickle
from dictco_lib.checkpoints.compressai import container_of, from_container, to_container
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
from dictco_lib.config import CodecConfig
from dictco_lib.errors import CheckpointError, ConfigError, foreign, listed, quoted
from dictco_lib.layers.meta import on_meta
from dictco_lib.models import FAMILIES, Codec
from dictco_lib.models.layout import Layout, Sizes

#: Every published layout.
ALL = tuple(layout for page in FAMILIES.values() for layout in page.LAYOUTS)
_SLACK = 2**24  # numbers that a model may ask for beyond what its file holds
_OLD_PRIOR = re.compile(r"\._(matrix|bias|factor)(\d)$")
_NEW_PRIOR = {"matrix": "matrices", "bias": "biases", "factor": "factors"}


def load_published(source: str | Path | Mapping) -> Codec:
    """Load a model from the authors' checkpoint of any member of the family.

    Family and sizes are read from the tensors; CompressAI's containerised layout of the same
    members is recognised too. Buffers that hold constants may be missing, and so may tables that
    CompressAI has not filled yet.

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
    if name := container_of(state):
        state = from_container(state, name)
    layout = _layout(state)
    model = _empty_model_of(state, layout)
    tables = _fill(model, state, layout)
    model.update()
    _set_tables(model, tables)
    return model


def empty_model(config: CodecConfig) -> Codec:
    """A model to be filled: float32, evaluation mode, the caller's random numbers untouched."""
    with torch.random.fork_rng(devices=[]):
        return Codec(config).float().eval()


def skeleton_of(config: CodecConfig, state: Mapping[str, Tensor]) -> Codec:
    """The model of a config, without memory: a damaged file may ask for any size.

    Raises:
        CheckpointError: if the config asks for more than the file's tensors hold.
    """
    # Each block has tensors of its own and each channel of z numbers of its own. (CompressAI's
    # prior of z takes memory, whatever the device.)
    numbers = sum(value.numel() for value in state.values())
    if _least_tensors(config) <= len(state) and config.N <= numbers:
        with torch.random.fork_rng(devices=[]), on_meta():
            return Codec(config)
    raise CheckpointError(
        f"config {quoted(config.name)} needs more than the {len(state)} tensors of {numbers} "
        "numbers that are there"
    )


def _least_tensors(config: CodecConfig) -> int:
    """A number of tensors that a model has at the least: one for each of its blocks."""
    blocks = (getattr(config, name, 0) for name in ("blocks", "depths", "residual_blocks"))
    return sum(sum(n) if isinstance(n, tuple) else n for n in blocks)


def _empty_model_of(state: Mapping[str, Tensor], layout: Layout) -> Codec:
    what = f"looks like a {layout.name} checkpoint, but its sizes cannot be read"
    with foreign(what, CheckpointError, "is it complete?"):
        try:
            config = layout.config(Sizes(state, layout))
            asked = sum(p.numel() for p in skeleton_of(config, state).parameters())
            there = sum(value.numel() for value in state.values())
            if asked > 4 * there + _SLACK:  # less is named tensor by tensor
                raise CheckpointError(f"{what}: they ask for {asked} numbers, {there} are there")
            return empty_model(config)
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
        key = _OLD_PRIOR.sub(lambda m: f".{_NEW_PRIOR[m[1]]}.{m[2]}", key)
        if not is_same(result.setdefault(key, value), value):
            raise CheckpointError(
                f"tensor {quoted(key)} is there twice, with different values; keep one"
            )
    return result


def _layout(state: Mapping[str, Tensor]) -> Layout:
    # The later page tells more: SAAF names its skeleton as DCAE does, from which it comes.
    found = [layout for layout in ALL if layout.is_of(state)]
    if found:
        return found[-1]
    names = ", ".join(layout.name for layout in ALL)
    raise CheckpointError(
        f"no layout that is known: {len(state)} tensors, first {listed(list(state))}; "
        f"expected the authors' checkpoint of one of {names}"
    )


def _own_tables(key: str) -> bool:
    return key.startswith(("latent_codec.y_tables.", "latent_codec.z_tables."))


@torch.no_grad()
def _fill(model: Codec, state: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Copy all weights; returns CompressAI's tables by our names."""
    missing, wrong, tables = [], [], {}
    unused = set(state)
    for key, target in model.state_dict().items():
        if _own_tables(key):
            continue
        published = layout.key(key)
        value, names = _look_up(state, published, layout, wrong)
        unused -= names
        leaf = key.rsplit(".", 1)[-1]
        if key.endswith("attention.bias"):
            unused -= _check_position_index(state, published, target, layout, wrong)
        if value is None:
            if leaf not in CONSTANT_LEAVES:
                missing.append(published)
        elif leaf in TABLE_LEAVES:
            tables[key] = value
        elif problem := _place(value, target, leaf, layout):
            wrong.append(f"{published}: {problem}")
    for key, own in layout.constants(state).items():
        unused.discard(key)
        value = state.get(key)
        if value is not None:
            problem = tensor_problem(value, own) or constant_problem(value, own)
            wrong += [f"{key}: {problem}"] if problem else []
    wrong += _table_problems(model, tables)
    if missing or wrong or unused:
        raise CheckpointError(
            f"{layout.name} checkpoint does not fit: missing [{listed(missing)}]; wrong "
            f"[{listed(wrong)}]; unknown [{listed(sorted(unused))}]; expected the layout of its "
            "authors' code, complete"
        )
    return tables


def _look_up(
    state: Mapping[str, Tensor], published: str, layout: Layout, wrong: list[str]
) -> tuple[Tensor | None, set[str]]:
    """A tensor under either spelling, and the spellings; they must not contradict each other."""
    alias = layout.alias(published)
    found = {name: state[name] for name in (published, alias) if name in state}
    values = list(found.values())
    if len(values) == 2 and not is_same(*values):
        wrong.append(f"{published} and {alias} are one tensor, but hold different values")
    return (values[0] if values else None), set(found)


def _place(value: Tensor, target: Tensor, leaf: str, layout: Layout) -> str | None:
    """Copy a value to its target, or check it if that is a constant; returns what is wrong."""
    if leaf == "bias" and target.dim() == 3 and layout.has_rows:
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
    state: Mapping[str, Tensor], published: str, bias: Tensor, layout: Layout, wrong: list[str]
) -> set[str]:
    """Compare the index that lies beside a bias table, if any; returns the names it goes by."""
    name = _index_of(published)
    value, names = _look_up(state, name, layout, wrong)
    if value is not None:
        own = position_index(bias.shape[-1] ** 2)
        problem = tensor_problem(value, own) or constant_problem(value, own)
        wrong += [f"{name}: {problem}"] if problem else []
    return names


def _table_problems(model: Codec, tables: Mapping[str, Tensor]) -> list[str]:
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


def _set_tables(model: Codec, tables: Mapping[str, Tensor]) -> None:
    for key, value in tables.items():
        path, leaf = key.rsplit(".", 1)
        module = model.get_submodule(path)
        if value.numel():
            setattr(module, leaf, value.detach().clone().to(getattr(module, leaf)))


def _index_of(bias: str) -> str:
    return bias.rpartition(".")[0] + ".relative_position_index"


def to_published(model: Codec) -> dict[str, Tensor]:
    """State dict of a fixed-rate model in its authors' layout, ready for ``torch.save``.

    Raises:
        CheckpointError: if the model has parts that no published layout has (gains, top_k), or
            lacks some that all have.
    """
    layout, result = _layout_of(model), {}
    for key, value in model.state_dict().items():
        if _own_tables(key):
            continue
        published = layout.key(key)
        value = value.detach()
        value = value if value.is_meta else value.cpu().clone()  # meta: names and shapes alone
        if layout.has_rows and key.endswith("attention.bias") and value.dim() == 3:
            value = value.flatten(1).T.contiguous()
            result[_index_of(published)] = position_index(value.shape[0])
        result[published] = value
    result |= {alias: value for key, value in result.items() if (alias := layout.alias(key))}
    return result | layout.constants(result)


def _layout_of(model: Codec) -> Layout:
    config = model.config
    fitting = [layout for layout in FAMILIES[config.family].LAYOUTS if layout.fits(config)]
    if config.is_variable_rate or not fitting:
        raise CheckpointError(
            f"model {config.name!r} has no published layout: it must be fixed-rate, have blocks in "
            "every stage and no top_k, and be either DCAE (shared dictionary, no BatchNorm), "
            "DictCO (experts and BatchNorm) or another member of the family as published"
        )
    return fitting[0]


def ways(model: Codec) -> dict[str, str]:
    """Our name of every tensor -> its name in the authors' layout.

    Raises:
        CheckpointError: as for :func:`to_published`.
    """
    layout = _layout_of(model)
    return {key: layout.key(key) for key in model.state_dict() if not _own_tables(key)}


def to_compressai(model: Codec) -> dict[str, Tensor]:
    """State dict of a fixed-rate model in the layout of CompressAI's ports.

    Note:
        CompressAI's TCM and SAAF compute something else with the same weights: the support
        before its transform goes to the LRP, and the global tokens' logits are scaled.

    Raises:
        CheckpointError: as for :func:`to_published`, or if CompressAI has no such model.
    """
    published = to_published(model)
    name = _layout(published).name
    return to_container(published, "tcm_auxt" if getattr(model.config, "auxt", False) else name)
