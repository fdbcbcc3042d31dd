"""How compress and decompress write: nothing that is not theirs is replaced, or made twice."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import BinaryIO

from dictco_lib.commands.common import say, shown, write_standard
from dictco_lib.commands.jobs import Job, check_target
from dictco_lib.commands.ledger import Ledger, digest_of, recipe_digest, settle
from dictco_lib.files import atomic_path

#: Writes an output into an open file, and returns a line about it.
Write = Callable[[BinaryIO], str]


class Outputs:
    """The one who writes outputs: nothing that is not ours is replaced, nothing is done twice.

    Args:
        force: replace what is there, and do again what is done.
        is_run: the outputs' names follow from the inputs'.
    """

    def __init__(self, force: bool, is_run: bool) -> None:
        self.force, self.is_run = force, is_run
        self.ledger = Ledger()

    def __call__(self, job: Job, settings: dict, make: Callable[[], Write]) -> str | None:
        """Do a job: ``make`` does the slow part; None if it is done already."""
        if job.target is None:
            buffer = io.BytesIO()
            line = make()(buffer)
            write_standard(buffer.getvalue())
            return f"standard output: {line}"
        made_of = self._made_of(job, settings)
        if self.is_run:
            check_target(job, "the input itself", is_run=True)
        named = {"is_chosen": not self.is_run, "force": self.force}
        if not settle(self.ledger, job.source, job.target, made_of, **named):
            return None
        write = make()
        with atomic_path(job.target) as temporary:
            with temporary.open("w+b") as file:
                line = write(file)
            # That took a while: somebody may have put a file there.
            settle(self.ledger, job.source, job.target, made_of, **named)
            self.ledger.note(digest_of(temporary), made_of, job.source)
        return f"{job.target}: {line}"

    def check(self, job: Job) -> None:
        """Raise OutputError now if the job would not be allowed to write; it is done later."""
        check_target(job, "the input itself", is_run=self.is_run)
        named = {"is_chosen": not self.is_run, "force": self.force}
        settle(self.ledger, job.source, job.target, self._made_of(job, {}), **named)

    @staticmethod
    def _made_of(job: Job, settings: dict) -> str:
        if job.source is None or not os.path.isfile(job.source):
            return recipe_digest("", **settings)  # nothing to compare; reading it names the fault
        return recipe_digest(digest_of(job.source), **settings)

    def warn(self) -> None:
        """Say if a second run will not know what this one made."""
        if self.is_run and self.ledger.problem:
            say(
                "dictco: warning: a second run will not know that it made these files: "
                + shown(self.ledger.problem),
                sys.stderr,
            )
