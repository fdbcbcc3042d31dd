"""Checkpoints in the layouts of their authors and of CompressAI: recognise, convert, convert back.

The layouts are data: the authors' on the pages of the members, CompressAI's in :mod:`.containers`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from dictco_lib.checkpoints.census import check_shares, read_pickle
from dictco_lib.checkpoints.compressai import (
    Crossing,
    container_of,
    difference,
    from_container,
    misfits,
    to_container,
)
from dictco_lib.checkpoints.filling import Filling, index_of, own_tables, way
from dictco_lib.checkpoints.fit import is_same, plain_problem, position_index
from dictco_lib.config import CodecConfig
from dictco_lib.errors import (
    CheckpointError,
    ConfigError,
    PortWarning,
    foreign,
    listed,
    quoted,
)
from dictco_lib.layers.meta import on_meta
from dictco_lib.models import FAMILIES, Codec
from dictco_lib.models.layout import Layout, Sizes

#: Every published layout.
ALL = tuple(layout for page in FAMILIES.values() for layout in page.LAYOUTS)
_MOST_WRAPPERS = 3
_UNSURE = (
    "CompressAI's port computes something else with the same weights: {}. They are taken as its "
    "authors' code would; if they were trained in the port, give ported=True (dictco convert "
    "--ported)"
)
_SLACK = 2**24  # numbers that a model may ask for beyond what its file holds
_OLD_PRIOR = re.compile(r"\._(matrix|bias|factor)(\d)$")
_NEW_PRIOR = {"matrix": "matrices", "bias": "biases", "factor": "factors"}


def load_published(
    source: str | Path | Mapping, *, ported: bool = False, report: list[str] | None = None
) -> Codec:
    """Load a model from the authors' checkpoint of any member of the family.

    Family and sizes are read from the tensors; CompressAI's containerised layout of the same
    members is recognised too. Buffers that hold constants may be missing, and so may tables that
    CompressAI has not filled yet.

    Args:
        source: path of a ``torch.save`` file (read with ``weights_only``), or its state dict;
            with or without a ``state_dict`` wrapper, with or without ``module.`` prefixes.
        ported: the weights were trained in CompressAI's port. Its TCM and SAAF compute something
            else than their authors' code, which no name or shape shows: the model will, too.
        report: gets a line about every tensor of the source: its names, and what was done to it.

    Returns:
        The model in evaluation mode, float32, its integer tables built.

    Raises:
        CheckpointError: if the file cannot be read, the family is not known, or tensors other
            than the tolerated ones are missing, unknown, of the wrong shape or kind, not finite,
            or given twice with different values.

    Warns:
        PortWarning: where the port computes something else, and ``ported`` was not given.
    """
    is_file = not isinstance(source, Mapping)
    state = _normalised(_read(Path(source)) if is_file else source)
    if is_file:
        check_shares(state, str(source), CheckpointError)
    with foreign("the checkpoint cannot be converted", CheckpointError, "is it complete?"):
        filling = _filled(state, ported)
    if filling.container and difference(filling.container) and not ported:
        warnings.warn(_UNSURE.format(difference(filling.container)), PortWarning, stacklevel=2)
    filling.model.update()
    filling.set_tables()
    if report is not None:
        report += filling.report()
    return filling.model


def _filled(state: dict[str, Tensor], ported: bool) -> Filling:
    crossing, container = Crossing(state), container_of(state)
    if container:
        crossing = from_container(state, container)
    elif ported:
        raise CheckpointError(
            "ported=True (--ported) is for checkpoints in the layout of CompressAI's ports; this "
            "one has its authors' layout, leave it out"
        )
    layout = _layout(crossing.state)
    model = _empty_model_of(crossing.state, layout, ported)
    filling = Filling(model, layout, crossing, container)
    filling.run()
    return filling


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


def _empty_model_of(state: Mapping[str, Tensor], layout: Layout, ported: bool) -> Codec:
    what = f"looks like a {layout.name} checkpoint, but its sizes cannot be read"
    with foreign(what, CheckpointError, "is it complete?"):
        try:
            config = layout.config(Sizes(state, layout))
            if ported and "ported" in (field.name for field in fields(config)):
                config = replace(config, ported=True)
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
    for _ in range(_MOST_WRAPPERS):  # a pickle can put a mapping into itself
        inner = state.get("state_dict")
        state = inner if isinstance(inner, Mapping) else state
    result, wrong = {}, []
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"entry {quoted(key)} is a {type(value).__name__}, expected a tensor; give the "
                "state dict itself, or a mapping that holds it as 'state_dict'"
            )
        key = str(key).removeprefix("module.")
        key = _OLD_PRIOR.sub(lambda m: f".{_NEW_PRIOR[m[1]]}.{m[2]}", key)
        if problem := plain_problem(value):
            wrong.append(f"{key}: {problem}")
            continue
        if not is_same(result.setdefault(key, value), value):
            raise CheckpointError(
                f"tensor {quoted(key)} is there twice, with different values; keep one"
            )
    if wrong:
        raise CheckpointError(f"wrong [{listed(wrong)}]; save the state dict again, on the CPU")
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


def to_published(model: Codec, *, report: list[str] | None = None) -> dict[str, Tensor]:
    """State dict of a fixed-rate model in its authors' layout, ready for ``torch.save``.

    Args:
        model: any codec that was published.
        report: gets a line about every tensor of the result: its names, and what was done to it.

    Raises:
        CheckpointError: if the model has parts that no published layout has (gains, top_k), lacks
            some that all have, or computes what CompressAI's port does and its authors' code does
            not.
    """
    if model.config.ported:
        raise CheckpointError(
            f"model {model.config.name!r} was trained in CompressAI's port, and its authors' code "
            f"computes something else: there, {difference(model.config.family)}. Give --to "
            "compressai"
        )
    state, lines = _published(model)
    if report is not None:
        report += [way(*names, note=note) for names, note in lines.values()]
    return state


#: A key of a state dict to be written -> the names of the tensor up to it, and what was done.
_Lines = dict[str, tuple[list[str], str]]


def _published(model: Codec) -> tuple[dict[str, Tensor], _Lines]:
    layout, result, lines = _layout_of(model), {}, {}
    for key, value in model.state_dict().items():
        if own_tables(key):
            continue
        published = layout.key(key)
        lines[published] = [key, published], ""
        value = value.detach()
        value = value if value.is_meta else value.cpu().clone()  # meta: names and shapes alone
        if layout.has_rows and key.endswith("attention.bias") and value.dim() == 3:
            value = value.flatten(1).T.contiguous()
            lines[published] = [key, published], "a table of each head turned into rows"
            index = index_of(published)
            result[index] = position_index(value.shape[0])
            lines[index] = [index], "a constant, made anew"
        result[published] = value
    for key in list(result):
        if alias := layout.alias(key):
            result[alias] = result[key]
            names, note = lines[key]
            lines[alias] = [*names[:-1], alias], note or "its second name"
    constants = layout.constants(result)
    lines |= {key: ([key], "a constant, made anew") for key in constants}
    return result | constants, lines


def _layout_of(model: Codec) -> Layout:
    config = model.config
    if model.has_own_page:
        raise CheckpointError(
            "this model has networks of its own, which no published layout has; nothing but its "
            "family's page can be converted"
        )
    fitting = [layout for layout in FAMILIES[config.family].LAYOUTS if layout.fits(config)]
    if config.is_variable_rate or not fitting:
        raise CheckpointError(
            f"model {config.name!r} has no published layout: it must be fixed-rate, have blocks in "
            "every stage and no top_k, and be either DCAE (shared dictionary, no BatchNorm), "
            "DictCO (experts and BatchNorm) or another member of the family as published"
        )
    return fitting[0]


def to_compressai(model: Codec, *, report: list[str] | None = None) -> dict[str, Tensor]:
    """State dict of a fixed-rate model in the layout of CompressAI's ports.

    Args:
        model: any codec that was published and ported.
        report: gets a line about every tensor of the result: its names, and what was done to it.

    Raises:
        CheckpointError: as for :func:`to_published`, or if CompressAI has no such model.

    Warns:
        PortWarning: where the port computes something else with the weights, or cannot be built
            of the model's size.
    """
    published, lines = _published(model)
    name = _layout_of(model).name
    name = "tcm_auxt" if getattr(model.config, "auxt", False) else name
    crossing = to_container(published, name)
    for problem in _port_problems(model.config, name):
        warnings.warn(problem, PortWarning, stacklevel=2)
    if report is not None:
        for key, theirs in crossing.names.items():
            names, note = lines.get(key, ([], ""))
            notes = "; ".join(text for text in (note, crossing.notes.get(key)) if text)
            made = notes or ("" if names else "a constant, made anew")
            report += [way(*names, other, note=made) for other in theirs]
    return crossing.state


def _port_problems(config: CodecConfig, name: str) -> list[str]:
    found = []
    if difference(name) and not config.ported:
        found.append(
            f"CompressAI's port computes something else with the weights of {config.name!r}: "
            f"{difference(name)}"
        )
    if wrong := misfits(config, name):
        found.append(
            f"CompressAI's port cannot be built of the size of {config.name!r}: {'; '.join(wrong)}"
        )
    return found
