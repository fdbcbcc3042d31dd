"""What the commands share: devices, models, jobs over files."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from dictco_lib.errors import DictcoError, OptionError, printable

DEFAULT_MODEL = "classroom"
#: Names on the command line -> names of curves.
METRICS = {"psnr": "PSNR", "ms-ssim": "MS-SSIM"}
PLAIN_SUFFIX = ".bin"


def find_device(name: str) -> str:
    """The device that a --device option means."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DictcoError("--device cuda: no CUDA device is visible; use --device cpu or auto")
    return name


def load_model(args: argparse.Namespace):
    """The model that --model and --device ask for."""
    from dictco_lib.checkpoints import load

    return load(args.model or DEFAULT_MODEL, find_device(args.device))


def jobs_of(source: str, target: str, is_input: Callable[[Path], bool], suffix: str) -> list:
    """Pairs of input and output paths: one file to a file, or a folder to a folder."""
    source, target = Path(source), Path(target)
    if not source.is_dir():
        return [(source, target / (source.stem + suffix) if target.is_dir() else target)]
    if target.is_file():
        raise DictcoError(f"{source} is a folder, so {target} must be one too, but it is a file")
    inputs = sorted(p for p in source.iterdir() if p.is_file() and is_input(p))
    if not inputs:
        raise DictcoError(f"nothing to do: no suitable files in {source}")
    outputs = [target / (p.stem + suffix) for p in inputs]
    if len(set(outputs)) < len(outputs):
        twin = next(p for p in inputs if sum(q.stem == p.stem for q in inputs) > 1)
        raise DictcoError(f"several files in {source} are called {twin.stem!r}; rename them")
    return list(zip(inputs, outputs, strict=True))


def explain(error: Exception, debug: bool) -> str:
    """One line for the user; with --debug the traceback."""
    if debug:
        return "".join(traceback.format_exception(error)).rstrip()
    line = printable(" ".join(str(error).split()))
    if isinstance(error, (DictcoError, OSError)):
        return line
    return f"{type(error).__name__}: {line or 'no message'}; use --debug to see where"


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


def tell(path: Path, losses: Iterable[str]) -> None:
    """Name what a file could not keep of a picture, one line each, on stderr."""
    for loss in losses:
        tqdm.write(f"{path}: note: {loss}", file=sys.stderr)


def each(jobs: list, work: Callable[[Path, Path], str], debug: bool) -> None:
    """Do all jobs with a progress bar; report failures at the end instead of stopping."""
    if len(jobs) == 1:
        print(work(*jobs[0]))
        return
    failed = []
    with tqdm(jobs, unit="file") as bar:
        for source, target in bar:
            try:
                bar.write(work(source, target))
            except Exception as error:
                failed.append(source.name)
                bar.write(f"{source}: {explain(error, debug)}", file=sys.stderr)
    if failed:
        raise DictcoError(f"{len(failed)} of {len(jobs)} files failed: {', '.join(failed[:5])}")


def read_bytes(path: Path) -> bytes:
    """A file's bytes, or an error that says what is wrong with the path."""
    if path.is_dir():
        raise DictcoError(f"{path} is a folder, expected a .dco file")
    if not path.exists():
        raise DictcoError(f"{path} does not exist")
    return path.read_bytes()


def refuse_failed(failed: dict[str, str], total: int) -> None:
    """Name the pictures that were left out of reports, picture -> reason, and raise for them."""
    for name, reason in failed.items():
        print(reason if name in reason else f"{name}: {reason}", file=sys.stderr)
    if failed:
        text = f"{len(failed)} of {total} pictures failed and are left out: "
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise DictcoError(text + ", ".join(list(failed)[:5]) + more)
