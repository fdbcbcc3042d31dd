"""An author's tensors into the places of a model: every one is placed, checked, or named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from dictco_lib.checkpoints.compressai import Crossing, container_keys, port_constants
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
from dictco_lib.errors import CheckpointError, listed
from dictco_lib.models import Codec
from dictco_lib.models.layout import Layout

_CHECKED = "a constant, checked"


def own_tables(key: str) -> bool:
    """Whether a key of ours names integer tables, which no layout but ours has."""
    return key.startswith(("latent_codec.y_tables.", "latent_codec.z_tables."))


def index_of(bias: str) -> str:
    """The name of the index that lies beside a table of position biases."""
    return bias.rpartition(".")[0] + ".relative_position_index"


def way(*names: str, note: str = "") -> str:
    """A line of a report: the names that a tensor has on its way, and what is done to it."""
    return " -> ".join(names) + (f" ({note})" if note else "")


@dataclass
class Filling:
    """One author's state dict on its way into one model.

    Args:
        model: to be filled.
        layout: of the state dict.
        crossing: the state dict, and where it came from CompressAI the names it had there.
        container: the member's name there, or None.
    """

    model: Codec
    layout: Layout
    crossing: Crossing
    container: str | None = None
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    tables: dict[str, Tensor] = field(default_factory=dict)
    #: An author's key -> where the tensor went (our key, or nothing) and what was done to it.
    went: dict[str, tuple[str, str]] = field(default_factory=dict)

    @torch.no_grad()
    def run(self) -> None:
        """Fill the model.

        Raises:
            CheckpointError: naming what is missing, wrong or unknown.
        """
        state = self.crossing.state
        for key, target in self.model.state_dict().items():
            if not own_tables(key):
                self._take(key, target)
        for key, own in (self.layout.constants(state) | port_constants(state)).items():
            if key in state:
                self._check(key, state[key], own)
        self._check_tables()
        unknown = sorted(state.keys() - self.went.keys())
        if self.missing or self.wrong or unknown:
            missing, unknown = (self._called(keys) for keys in (self.missing, unknown))
            raise CheckpointError(
                f"{self.layout.name} checkpoint does not fit: missing [{listed(missing)}]; wrong "
                f"[{listed(self.wrong)}]; unknown [{listed(unknown)}]; expected the layout of its "
                "authors' code or CompressAI's, complete"
            )

    def set_tables(self) -> None:
        """Keep CompressAI's tables, if there are any: ``update`` makes no others then."""
        for key, value in self.tables.items():
            path, leaf = key.rsplit(".", 1)
            module = self.model.get_submodule(path)
            if value.numel():
                setattr(module, leaf, value.detach().clone().to(getattr(module, leaf)))

    def report(self) -> list[str]:
        """Every tensor's way, a line for each key of the file."""
        crossing, lines = self.crossing, []
        gone = dict.fromkeys(crossing.names.keys() - self.went.keys(), ("", ""))
        for key, (ours, note) in (self.went | gone).items():
            notes = [text for text in (crossing.notes.get(key), note) if text]
            for name in crossing.names.get(key, [key]):
                names = [name, key, ours] if self.container else [key, ours]
                lines.append(way(*(names if ours else [name]), note="; ".join(notes)))
        return lines

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """An author's key -> what the file calls the tensor, or would call it."""
        if self.container is None:
            return {}
        every = [self.layout.key(key) for key in self.model.state_dict()]
        there = container_keys([*every, *self.crossing.names], self.container)
        return there | self.crossing.names

    def _called(self, keys: list[str]) -> list[str]:
        return [name for key in keys for name in self._names.get(key, [key])[:1]]

    def _wrong(self, key: str, problem: str | None) -> None:
        if problem:
            self.wrong.append(f"{self._called([key])[0]}: {problem}")

    def _take(self, key: str, target: Tensor) -> None:
        published, leaf = self.layout.key(key), key.rsplit(".", 1)[-1]
        note = ""
        if leaf in TABLE_LEAVES:
            note = "a table of CompressAI's coder, kept"
        elif leaf in CONSTANT_LEAVES and leaf != "num_batches_tracked":
            note = _CHECKED
        value = self._look_up(published, key, note)
        if key.endswith("attention.bias"):
            self._check_position_index(published, target)
        if value is None:
            if leaf not in CONSTANT_LEAVES:
                self.missing.append(published)
        elif leaf in TABLE_LEAVES:
            self.tables[key] = value
        else:
            self._wrong(published, self._place(value, target, leaf))

    def _look_up(self, published: str, ours: str, note: str) -> Tensor | None:
        """A tensor under either spelling; they must not contradict each other."""
        alias, state = self.layout.alias(published), self.crossing.state
        found = {name: state[name] for name in (published, alias) if name in state}
        self.went |= dict.fromkeys(found, (ours, note))
        values = list(found.values())
        if len(values) == 2 and not is_same(*values):
            self.wrong.append(f"{published} and {alias} are one tensor, but hold different values")
        return values[0] if values else None

    def _place(self, value: Tensor, target: Tensor, leaf: str) -> str | None:
        """Copy a value to its target, or check it if that is a constant; returns what is wrong."""
        if leaf == "bias" and target.dim() == 3 and self.layout.has_rows:
            side = target.shape[-1]
            if value.dim() == 2 and value.shape[0] == side**2:
                value = value.T.reshape(-1, side, side)
        problem = tensor_problem(value, target)
        if problem is None and leaf in CONSTANT_LEAVES and leaf != "num_batches_tracked":
            return constant_problem(value, target)
        if problem is None:
            target.copy_(value)
        return problem

    def _check(self, key: str, value: Tensor, own: Tensor) -> None:
        self.went[key] = ("", _CHECKED)
        self._wrong(key, tensor_problem(value, own) or constant_problem(value, own))

    def _check_position_index(self, published: str, bias: Tensor) -> None:
        """Compare the index that lies beside a bias table, if any."""
        name = index_of(published)
        value = self._look_up(name, "", _CHECKED)
        if value is not None:
            own = position_index(bias.shape[-1] ** 2)
            self._wrong(name, tensor_problem(value, own) or constant_problem(value, own))

    def _check_tables(self) -> None:
        self.wrong += table_problems(self.tables, self.model.config.N)


def table_problems(tables: Mapping[str, Tensor], channels: int) -> list[str]:
    """What CompressAI's coder, which checks nothing itself, would trip over."""
    result = []
    for name in ("entropy_bottleneck", "gaussian"):
        cdf, length, offset, scales = (
            tables.get(f"latent_codec.{name}.{leaf}", torch.zeros(0))
            for leaf in ("_quantized_cdf", "_cdf_length", "_offset", "scale_table")
        )
        if not is_increasing(scales):
            result.append(f"{name}: scale_table, expected increasing positive floats")
        rows = channels if name == "entropy_bottleneck" else scales.numel()
        is_given = any(t.numel() for t in (cdf, length, offset))
        if is_given and not is_coder_table(cdf, length, offset, rows):
            result.append(f"{name}: _quantized_cdf, _cdf_length, _offset are no {rows} tables")
    return result
