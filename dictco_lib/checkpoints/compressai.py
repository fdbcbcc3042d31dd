"""CompressAI's containerised layout of the same models: the way there, and the way back.

Its ports keep everything but the transforms in one ``latent_codec``, and a copy of the Gaussian's
buffers in each slice. What that is for each member is data: :mod:`.containers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from torch import Tensor

from dictco_lib.checkpoints.containers import (
    CODEC,
    CONTAINERS,
    INNER,
    Container,
    Notes,
    State,
    haar_constants,
    slices_of,
)
from dictco_lib.checkpoints.fit import is_same
from dictco_lib.config import CodecConfig
from dictco_lib.errors import CheckpointError, listed

_GAUSSIAN = "gaussian_conditional."
_COPY = re.compile(r"(.*)latent_codec\.y\d+\.(gaussian_conditional\..+)$")


@dataclass
class Crossing:
    """A state dict that went from one layout to the other.

    ``names``: the author's key of a tensor -> CompressAI's, of which the Gaussian's buffers have
    one for each slice. ``notes``: what was done to a tensor, by the author's key.
    """

    state: State = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    notes: Notes = field(default_factory=dict)


@cache
def _template(text: str) -> re.Pattern:
    pattern = re.escape(text).replace(r"\{k\}", r"(?P<k>\d+)").replace(r"\{\*\}", r"(?P<rest>.+)")
    return re.compile(f"^{pattern}$")


def _renamed(key: str, names: Iterable[tuple[str, str]]) -> str:
    for old, new in names:
        if m := _template(old).match(key):
            found = m.groupdict()
            return new.replace("{k}", found.get("k", "")).replace("{*}", found.get("rest", ""))
    return key


def container_keys(keys: Iterable[str], name: str) -> dict[str, list[str]]:
    """An author's key -> the keys that CompressAI has for it.

    Args:
        keys: all that a state dict of the author's layout has: some mean another layer where they
            stand beside others.
        name: of the member.
    """
    box, keys = CONTAINERS[name], dict.fromkeys(keys)
    slices, result = slices_of(keys), {}
    for key in keys:
        if _GAUSSIAN in key:  # a copy in each slice
            leaf = key.rpartition(_GAUSSIAN)[2]
            base = CODEC if key.startswith(_GAUSSIAN) else INNER + "latent_codec.y{k}."
            result[key] = [base.format(k=k) + _GAUSSIAN + leaf for k in slices]
            continue
        new = _renamed(key, box.names)
        for old, word, *beside in box.words:
            if all(key.rpartition(old)[0] + sibling in keys for sibling in beside):
                new = new.replace(old, word)
        result[key] = [new]
    return result


def _author_key(key: str, box: Container) -> str:
    if m := _COPY.match(key):
        return ("aux_entropymodel." if m[1].startswith(INNER) else "") + m[2]
    for old, word, *_ in reversed(box.words):
        key = key.replace(word, old)
    return _renamed(key, ((new, old) for old, new in box.names))


def to_container(published: Mapping[str, Tensor], name: str) -> Crossing:
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
    result = Crossing()
    state = CONTAINERS[name].pack(dict(published), result.notes)
    result.names = container_keys(state, name)
    for key, value in state.items():
        first, *others = result.names[key]
        result.state[first] = value
        result.state |= {other: value.clone() for other in others}
    return result


def container_of(state: Mapping[str, Tensor]) -> str | None:
    """The member whose containerised layout a state dict has; None if it has no such layout.

    Raises:
        CheckpointError: if it is the layout of a model that is not known.
    """
    if not any(key.startswith("latent_codec.y.") for key in state):
        return None
    found = [name for name, box in CONTAINERS.items() if box.mark in state]
    if not found:
        raise CheckpointError(
            f"CompressAI's layout of a model that is not known: first keys {listed(list(state))}"
        )
    return found[-1]  # the later one tells more


def from_container(state: Mapping[str, Tensor], name: str) -> Crossing:
    """The way back: an author's state dict, with the port's constants still in it.

    Raises:
        CheckpointError: if two tensors that are one in the author's layout contradict each other,
            such as the slices' copies of the Gaussian's buffers.
    """
    box, result, authors = CONTAINERS[name], Crossing(), {}
    for key, value in state.items():
        one = _author_key(key, box)
        if not is_same(authors.setdefault(one, value), value):
            raise CheckpointError(
                f"{key} differs from {result.names[one][0]}, of which it should be a copy (both "
                f"are {one} to its authors); which is meant?"
            )
        result.names.setdefault(one, []).append(key)
    result.state = box.unpack(authors, result.notes)
    return result


def port_constants(state: State) -> State:
    """Constants that CompressAI's ports keep, and their authors do not, by the authors' names."""
    return haar_constants(state)


def misfits(config: CodecConfig, name: str) -> list[str]:
    """Numbers of a configuration that the port's constructor has no choice of: none if it loads."""
    fixed = CONTAINERS[name].fixed(config).items()
    return [
        f"{field} {getattr(config, field)} (there: {value})"
        for field, value in fixed
        if getattr(config, field) != value
    ]


def difference(name: str) -> str:
    """What CompressAI's port computes otherwise with the same weights; empty if nothing."""
    return CONTAINERS[name].differs
