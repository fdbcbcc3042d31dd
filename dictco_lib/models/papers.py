"""How a page names the paper of its networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication: ``authors`` may be empty; ``link`` is an arXiv number or an address."""

    authors: str
    title: str
    venue: str
    year: int
    link: str

    def __str__(self) -> str:
        who = f"{self.authors}, " if self.authors else ""
        return f'{who}"{self.title}", {self.venue} {self.year}, {self.link}'
