"""One job over several processes, as ``accelerate launch`` or ``torchrun`` start them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among those that share a job; the default is one that works alone."""

    index: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items that fall to this process, dealt out like cards."""
        return items[self.index :: self.count]

    def gather(self, items: list[T]) -> list[T]:
        """The items of all processes, in every process; of any kind that pickles."""
        if self.count == 1:
            return items
        from accelerate.utils import gather_object

        return gather_object(items)


ALONE = Team()


@contextmanager
def join_team(device: str) -> Iterator[Team]:
    """The team that a launcher put this process into; alone, nothing is initialised.

    Args:
        device: ``"cpu"`` or ``"cuda"``; each process of a team gets a GPU of its own.
    """
    from accelerate import PartialState
    from accelerate.utils import get_cpu_distributed_information  # launchers' variables, MPI's too

    if get_cpu_distributed_information().world_size == 1:
        yield Team(device=torch.device(device))
        return
    # A process that is done waits for the slowest one, perhaps for longer than the usual limit.
    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=1))
    yield Team(state.process_index, state.num_processes, state.device)
    state.destroy_process_group()
