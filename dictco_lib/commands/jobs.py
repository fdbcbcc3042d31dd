"""Which file becomes which: inputs and an output as users name them, files, folders and ``-``."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dictco_lib.errors import DictcoError, OptionError
from dictco_lib.files import check_name, check_writable, ignores_case, remove_leftovers

STANDARD = "-"
#: Of what `compress` makes: .dco files, and the plain ones of fixed-rate models.
CODED_SUFFIXES = (".dco", ".bin")


@dataclass(frozen=True)
class Job:
    """One file to make of another; None is standard input or output."""

    source: Path | None
    target: Path | None
    label: str  # the source as a user knows it


@dataclass
class Plan:
    """The jobs of a command.

    ``is_run`` tells that the outputs' names follow from the inputs'; ``failed`` is what cannot
    be done, ``skipped`` what looks like an input and is none, by label, with reasons; ``others``
    labels of files of another ``kind`` than the inputs'.
    """

    jobs: list[Job] = field(default_factory=list)
    is_run: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    kind: str = "images"


def plan(
    inputs: list[str], output: str, find: Callable, rename: Callable[[Path], str], kind: str
) -> Plan:
    """The jobs that inputs and an output stand for.

    Args:
        inputs: files, folders, or ``-``.
        output: a file, a folder (one that exists, or a name that ends in a slash), or ``-``.
        find: searches a folder: see :func:`dictco_lib.images.find_files`.
        rename: the name of the output of an input.
        kind: of the inputs, for messages: "images".

    Raises:
        DictcoError: if they do not fit together, or nothing is to be done.
    """
    if STANDARD in (*inputs, output) or not _is_folder(output, inputs):
        return Plan([_single(inputs, output, kind)])
    folder = Path(output)
    check_writable(folder, "folder")
    made = Plan(is_run=True, kind=kind)
    for name in dict.fromkeys(inputs):
        source = Path(name)
        if not os.path.isdir(source):  # unlike Path's, never an error
            made.jobs.append(Job(source, folder / rename(source), name))
            continue
        _add_folder(made, source, folder, find, rename, is_alone=len(inputs) == 1)
    if not made.jobs:
        reasons = [f"{label} {reason}" for label, reason in list(made.skipped.items())[:5]]
        raise DictcoError("; ".join([f"nothing to do: no {kind} in {', '.join(inputs)}", *reasons]))
    for parent in {job.target.parent for job in made.jobs}:
        remove_leftovers(parent)
    _stop_collisions(made, folder)
    return made


def _is_folder(output: str, inputs: list[str]) -> bool:
    """Is the output a folder? An error if it must be one and is none."""
    path = Path(output)
    if os.path.isdir(path):
        return True
    is_meant = output.endswith(("/", "/.", os.sep))
    several = len(inputs) > 1 or (os.path.isdir(inputs[0]) and inputs[0] != STANDARD)
    if not several and not is_meant:
        return False
    if os.path.lexists(path):
        what = f"{len(inputs)} inputs" if len(inputs) > 1 else inputs[0]
        raise OptionError(
            f"the last name is the output, and {output} is a file; {what} need a folder: give one "
            "as the last name, as in out/"
        )
    if is_meant or not _is_called_a_file(path):
        return True
    raise OptionError(
        f"the last name is the output, and there is no folder {output}; write {output}/ to make it"
    )


def _is_called_a_file(path: Path) -> bool:
    from dictco_lib.images.formats import looks_like_image

    return path.suffix.lower() in CODED_SUFFIXES or looks_like_image(path)


def _single(inputs: list[str], output: str, kind: str) -> Job:
    if len(inputs) > 1:
        raise OptionError(f"- stands for one file, but {len(inputs)} inputs are given; give one")
    name = inputs[0]
    if name == STANDARD and (output != STANDARD and _is_folder(output, inputs)):
        raise OptionError("standard input has no name; give the output's name, or -")
    if name != STANDARD and os.path.isdir(name):
        raise OptionError(f"{name} is a folder of {kind}, and - stands for one file")
    source = None if name == STANDARD else Path(name)
    target = None if output == STANDARD else Path(output)
    return Job(source, target, "standard input" if source is None else name)


def _add_folder(
    made: Plan, source: Path, folder: Path, find: Callable, rename: Callable, *, is_alone: bool
) -> None:
    # A folder among several inputs keeps its name, as in a copy.
    inside = folder if is_alone else folder / source.resolve().name
    # The results of an earlier run are no inputs, but one folder may hold both.
    found = find(source, without=None if _is_same(folder, source) else folder)

    def label(path: Path) -> str:
        return str(path.relative_to(source) if is_alone else path)

    for path in found.taken:
        target = inside / path.relative_to(source).parent / rename(path)
        made.jobs.append(Job(path, target, label(path)))
    made.skipped |= {label(path): reason for path, reason in found.skipped.items()}
    made.others += [label(path) for path in found.others]


def _is_same(one: Path, other: Path) -> bool:
    return one.is_dir() and one.samefile(other)


def _stop_collisions(made: Plan, folder: Path) -> None:
    """Two inputs with one output stop each other, and nobody else."""
    groups = _groups(made.jobs, str)
    folded = _groups(made.jobs, lambda name: unicodedata.normalize("NFC", name).casefold())
    if len(folded) < len(groups) and ignores_case(folder):
        groups = folded
    sources = {os.path.realpath(job.source): job.label for job in made.jobs}
    made.jobs = []
    for jobs in groups:
        if len({os.path.abspath(job.source) for job in jobs}) == 1:
            _add_unless_an_input(made, jobs[0], sources)
            continue
        names = " and ".join(job.label for job in jobs)
        for job in jobs:
            made.failed[job.label] = (
                f"{names} would both become {job.target}; rename one, or do one of them by itself"
            )


def _add_unless_an_input(made: Plan, job: Job, sources: dict[str, str]) -> None:
    """Not even ``--force`` replaces what another job has still to read."""
    other = sources.get(os.path.realpath(job.target), job.label)
    if other == job.label:
        made.jobs.append(job)
    else:
        made.failed[job.label] = f"would become {job.target}, which is an input too; rename one"


def _groups(jobs: list[Job], key: Callable[[str], str]) -> list[list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(str(job.target)), []).append(job)
    return list(groups.values())


def check_target(job: Job, itself: str, *, is_run: bool = False) -> None:
    """Name a target that cannot be written, or is the source, before the slow part.

    Args:
        job: what is to be done.
        itself: what the source is: "the image itself".
        is_run: the folder was looked at for all jobs together.
    """
    if job.target is None:
        return
    with contextlib.suppress(OSError):
        if job.source is not None and job.target.samefile(job.source):
            raise OptionError(f"{job.target} is {itself}; give the output another name")
    check_name(job.target) if is_run else check_writable(job.target)
