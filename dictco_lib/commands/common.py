"""What the commands share: devices, models, lines for the user, work on many files."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from dictco_lib.errors import DictcoError, ImageError, OptionError, OutputError
from dictco_lib.files import check_writable, is_full, special_kind
from dictco_lib.progress import bar

if TYPE_CHECKING:
    from dictco_lib.commands.jobs import Job, Plan

DEFAULT_MODEL = "classroom"
#: Names on the command line -> names of curves.
METRICS = {"psnr": "PSNR", "ms-ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA 2"}
PLAIN_SUFFIX = ".bin"
_MOST_NAMED = 5
_unsaid: list[OSError] = []  # like the streams, of the process


def find_device(name: str) -> str:
    """The device that a --device option means."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DictcoError("--device cuda: no CUDA device is visible; use --device cpu or auto")
    return name


def load_model(args: argparse.Namespace):
    """The model that --model and --device, and --transforms where there is one, ask for."""
    from dictco_lib.checkpoints import load

    model = load(args.model or DEFAULT_MODEL, find_device(args.device))
    set_precision(model, getattr(args, "transforms", "float32"))
    return model


def set_precision(model, wanted: str) -> str:
    """What --transforms asks for; says aloud what ``auto`` came to. Returns its name."""
    if wanted == "float32":
        return wanted
    from dictco_lib.training.transforms import set_transforms

    name = set_transforms(model, wanted)
    if wanted == "auto":
        which = "faster" if name == "bf16" else "no faster"
        print(f"transforms in {name}: bf16 is {which} on this machine", file=sys.stderr)
    return name


def explain(error: BaseException, debug: bool) -> str:
    """One line for the user; with --debug the traceback."""
    if debug:
        return "".join(traceback.format_exception(error)).rstrip()
    line = shown(" ".join(str(error).split()))
    if is_full(error) and not isinstance(error, DictcoError):
        return f"the disk is full: {line}; make room, or give a place on another disk"
    if isinstance(error, (DictcoError, OSError)):
        return line
    return f"{type(error).__name__}: {line or 'no message'}; use --debug to see where"


def shown(text: object) -> str:
    """A name as it can be printed: what would act on a terminal is escaped."""
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
        for c in str(text)
    )


def say(text: str, file: TextIO | None = None, write: Callable[..., None] = print) -> None:
    """Print a line; that it cannot be printed is no reason to stop the work.

    What a full disk did not take, :func:`unsaid` tells at the end.
    """
    stream = sys.stdout if file is None else file
    try:
        write(text, file=stream)
        stream.flush()
    except BrokenPipeError:  # nobody reads any more
        forget(stream)
    except OSError as error:
        _unsaid.append(error)


def unsaid() -> OSError | None:
    """Why some of what was said is lost; None if it is not, or if nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            forget(stream)  # or Python would try once more, and complain
            if not isinstance(error, BrokenPipeError):
                _unsaid.append(error)
    found = _unsaid[0] if _unsaid else None
    _unsaid.clear()
    return found


def forget(stream: TextIO) -> None:
    """Let what is still written to a closed pipe go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def refuse(why: str, **options: object) -> None:
    """Raise OptionError if options were given that would be ignored.

    Args:
        why: what makes them meaningless.
        options: their values by name; None and False stand for not given.
    """
    given = [
        f"--{k.replace('_', '-')}" for k, v in options.items() if not (v is None or v is False)
    ]
    if given:
        raise OptionError(f"{' and '.join(given)} would be ignored: {why}; leave out the option")


def tell(name: object, losses: Iterable[str]) -> None:
    """Name what a file could not keep of an image, one line each, on stderr."""
    for loss in losses:
        say(f"{shown(name)}: note: {shown(loss)}", sys.stderr, tqdm.write)


def each(made: Plan, work: Callable[[Job], str | None], debug: bool) -> None:
    """Do all jobs of a plan; in a run of many, failures are told at the end and stop nothing.

    Args:
        made: the jobs.
        work: does one and returns a line about it; None if it was done before.
        debug: show tracebacks.

    Raises:
        DictcoError: if anything failed.
    """
    if not made.is_run:
        job = made.jobs[0]
        say(shown(work(job)), sys.stderr if job.target is None else None)
        return
    failed, before = dict(made.failed), 0
    for label, reason in failed.items():
        say(f"{shown(label)}: {shown(reason)}", sys.stderr)
    with bar(total=len(made.jobs), unit="file") as progress:
        for job in made.jobs:
            try:
                line = work(job)
            except Exception as error:
                failed[job.label] = str(error)
                text = f"{shown(job.source)}: {explain(error, debug)}"
                say(text, sys.stderr, progress.write)
            else:
                before += line is None
                if line is not None:
                    say(shown(line), write=progress.write)
            progress.update()
    total = len(made.jobs) + len(made.failed)
    _sum_up(made, total - len(failed) - before, before, len(failed))
    if failed:
        names = ", ".join(shown(label) for label in list(failed)[:5])
        more = ", ..." if len(failed) > 5 else ""
        raise DictcoError(f"{len(failed)} of {total} files failed: {names}{more}")


def _sum_up(made: Plan, done: int, before: int, failed: int) -> None:
    parts = [f"{done} done"]
    if before:
        parts.append(f"{before} done before (--force does them again)")
    if failed:
        parts.append(f"{failed} failed")
    say(", ".join([*parts, *skipped_lines(made.skipped, made.others, made.kind)]))


def skipped_lines(
    skipped: Mapping[object, str], others: Sequence[object], kind: str = "images"
) -> list[str]:
    """What a search did not take, and why: each by name, files of other kinds together.

    More than a handful get lines of their own on standard error.
    """
    parts = []
    if skipped:
        lines = [f"{shown(label)} {shown(reason)}" for label, reason in skipped.items()]
        if len(lines) > _MOST_NAMED:
            for line in lines:
                say(f"skipped: {line}", sys.stderr)
            lines = [*lines[:_MOST_NAMED], "..."]
        parts.append(f"{len(skipped)} skipped: {'; '.join(lines)}")
    if others:
        names = ", ".join(shown(label) for label in others[:_MOST_NAMED])
        more = ", ..." if len(others) > _MOST_NAMED else ""
        parts.append(f"{len(others)} left alone, no {kind}: {names}{more}")
    return parts


def find_all(folder: str) -> list[Path]:
    """The images of a folder, for commands that measure them; names what is skipped.

    Raises:
        ImageError: if the folder is missing or holds none.
    """
    from dictco_lib.images import find_images

    path = Path(folder)
    if not os.path.isdir(path):
        raise ImageError(f"{folder} is no folder; give a folder of images")
    found = find_images(path)
    skipped = {p.relative_to(path): reason for p, reason in found.skipped.items()}
    lines = skipped_lines(skipped, [p.relative_to(path) for p in found.others])
    if not found.taken:
        raise ImageError("; ".join([f"no images in {folder}", *lines]))
    for line in lines:
        say(f"{shown(folder)}: {line}", sys.stderr)
    return found.taken


def may_replace(path: str, force: bool, is_ours: Callable[[Path], bool], what: str) -> None:
    """Find out before the work whether a file can be written, and is ours to replace.

    Args:
        path: of the output.
        force: replace what is there.
        is_ours: does a file look like what the command makes?
        what: that is, for the message.

    Raises:
        OutputError: if it cannot be written, or holds something else.
    """
    check_writable(path)
    if force or not os.path.exists(path):
        return
    try:
        ours = is_ours(Path(path))
    except Exception:  # foreign files make readers raise nearly anything
        ours = False
    if not ours:
        raise OutputError(
            f"{path} exists and is not {what}; give another name, or replace it with --force"
        )


def read_bytes(path: Path | None) -> bytes:
    """A file's bytes (None: standard input), or an error that says what is wrong with the path."""
    if path is None:
        if sys.stdin is None:
            raise DictcoError("standard input is closed; send a file into it, or name one")
        return sys.stdin.buffer.read()
    try:
        if kind := special_kind(path):
            raise DictcoError(f"{path} is {kind}, expected a .dco file; - reads standard input")
        return path.read_bytes()
    except FileNotFoundError:
        raise DictcoError(f"{path} does not exist") from None
    except OSError as error:
        raise DictcoError(f"{path} cannot be read: {error.strerror or error}") from None


def refuse_failed(failed: dict[str, str], total: int) -> None:
    """Name the images that were left out of reports, image -> reason, and raise for them."""
    for name, reason in failed.items():
        print(reason if name in reason else f"{name}: {reason}", file=sys.stderr)
    if failed:
        text = f"{len(failed)} of {total} images failed and are left out: "
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise DictcoError(text + ", ".join(list(failed)[:5]) + more)


def write_standard(data: bytes) -> None:
    """Bytes to standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def check_standard() -> None:
    """Refuse to fill a terminal with bytes, or to write where nothing is."""
    if sys.__stdout__ is None:
        raise OptionError("standard output is closed; send it into a file or a pipe")
    if sys.stdout.isatty():
        raise OptionError("standard output is a terminal; send it into a file or a pipe")
