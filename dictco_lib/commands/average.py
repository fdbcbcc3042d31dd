"""Searches of ``compress``: one quality for a folder (``--average``), and what was found."""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dictco_lib.commands.common import say
from dictco_lib.commands.jobs import Plan
from dictco_lib.commands.outputs import Outputs
from dictco_lib.errors import LossWarning, OptionError
from dictco_lib.progress import bar

if TYPE_CHECKING:
    from dictco_lib.models import Codec
    from dictco_lib.rate_control import Averaged


def check_average(made: Plan, args: argparse.Namespace) -> None:
    """Raise OptionError unless there is an average, of all that was named."""
    if args.bpp is None:
        raise OptionError("--average says how --bpp is meant; give both, as in --bpp 0.5 --average")
    if not made.is_run:
        raise OptionError("--average is of several images: give a folder, or leave it out")
    if made.failed:
        label, reason = next(iter(made.failed.items()))
        raise OptionError(f"{label}: {reason}; the average is of all images")


def averaged(made: Plan, put: Outputs, model: Codec, bpp: float, options: dict) -> Averaged:
    """Search the quality of all images, say what it gives, and hand over the files.

    An output that may not be replaced is named before the search, which writes nothing.
    """
    from dictco_lib.rate_control import encode_to_average

    for job in made.jobs:
        put.check(job)
    passes = itertools.count(1)

    def watch(names: Iterable[str]) -> Iterator[str]:
        with bar(total=len(made.jobs), unit="file") as progress:
            progress.set_postfix(search=f"pass {next(passes)}")
            for name in names:
                yield name
                progress.update()

    images = {job.label: job.source for job in made.jobs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossWarning)  # told when the files are written
        found = encode_to_average(model, images, bpp, watch=watch, **options)
    say(
        f"{len(images)} images: {found.bpp:.4f} bpp together ({found.size} bytes), asked for "
        f"{bpp:g}: quality {found.quality:g} after {found.passes} passes"
    )
    return found


def search_result(found) -> str:
    """What the search for a rate or a measure ended with, for the line of an image."""
    text = f", quality {found.quality:g} after {found.passes} passes"
    if found.psnr is not None:
        text += f", {found.psnr:.2f} dB"
    if found.ssimulacra2 is not None:
        text += f", SSIMULACRA 2 {found.ssimulacra2:.2f}"
    if found.is_bound:
        bounds = {0.0: "no quality is lower", 100.0: "no quality is higher"}
        text += f"; {bounds.get(found.quality, 'no nearer size was found')}"
    return text
