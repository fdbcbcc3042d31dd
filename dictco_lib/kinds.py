"""Whether a value is of the kind that a field declares: model configurations and recipes."""

from __future__ import annotations

import math
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


@cache
def kinds_of(cls: type) -> dict[str, Any]:
    """The declared kind of every field of a dataclass, by name."""
    return get_type_hints(cls)


def is_of_kind(value: object, kind: Any) -> bool:
    """Whether a value, perhaps from a file, is of a declared kind.

    A bool is no number and no integer is a bool; an integer is a float, NaN and infinity are none;
    a list is a tuple, because JSON and TOML know no tuples.

    Args:
        value: anything.
        kind: a class, ``X | None``, ``Literal[...]``, ``tuple[X, ...]`` or ``tuple[X, Y, Z]``.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return any(is_of_kind(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        if parts[-1] is Ellipsis:
            return all(is_of_kind(v, parts[0]) for v in value)
        return len(value) == len(parts) and all(map(is_of_kind, value, parts))
    if kind is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is kind


def told(kind: Any) -> str:
    """A kind in words, for messages: "an integer, or left out"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return " or ".join(told(part) for part in parts)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, parts))
    if origin is tuple:
        count = "a list of" if parts[-1] is Ellipsis else f"a list of {len(parts)}:"
        return f"{count} {told(parts[0])}"
    words = {int: "int", float: "float", str: "text", bool: "true or false", NoneType: "nothing"}
    return words.get(kind, kind.__name__)
