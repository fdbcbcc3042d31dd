"""Options that several commands have, and the shape of every command's declaration."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from dictco_lib.commands.common import METRICS

#: Makes the parser of a command: its name, what runs it, what it does in a line, examples.
Declare = Callable[..., argparse.ArgumentParser]

CURVE = "a report (.json), or published:NAME"
#: No option of ours begins so. Left alone, argparse takes -5 for a value, but not -5,0,9,9 or -1e3.
_VALUE = re.compile(r"-[\d.]")
_AGAIN = "replace files that this command did not make, and do again what is done"


def declare_in(subparsers: argparse._SubParsersAction) -> Declare:
    """A function that adds commands to these parsers, each with ``--debug`` and examples."""

    def command(name: str, run: Callable, text: str, *examples: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  dictco {name} {e}" for e in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub._negative_number_matcher = _VALUE
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show a traceback on errors")
        return sub

    return command


def add_device(sub: argparse.ArgumentParser) -> None:
    """``--device``: see :func:`dictco_lib.commands.common.find_device`."""
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def add_model(sub: argparse.ArgumentParser, text: str) -> None:
    """``--model`` and ``--device``."""
    sub.add_argument("--model", metavar="M", help=text)
    add_device(sub)


def add_transforms(sub: argparse.ArgumentParser) -> None:
    """``--transforms``: see :func:`dictco_lib.training.transforms.set_transforms`."""
    sub.add_argument(
        "--transforms", choices=("float32", "bf16", "auto"), default="float32",
        help="precision of the transforms, never of the entropy model: bf16 is up to twice as fast "
        "where the processor has it, pixels differ a bit; auto measures; default float32",
    )  # fmt: skip


def add_recipe(sub: argparse.ArgumentParser) -> None:
    """A recipe, what changes in it, and ``--device``."""
    sub.add_argument("recipe", metavar="RECIPE", help="a TOML file")
    sub.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="changes",
        help="settings that replace the recipe's; texts in quotes",
    )  # fmt: skip
    add_device(sub)


def add_force(sub: argparse.ArgumentParser, text: str = _AGAIN) -> None:
    """``--force``: what is there may be replaced."""
    sub.add_argument("--force", action="store_true", help=text)


def add_perceptual(sub: argparse.ArgumentParser) -> None:
    """``--ssimulacra2``: a metric that reports hold on demand."""
    sub.add_argument(
        "--ssimulacra2", action="store_true",
        help="measure SSIMULACRA 2 too: half a second more for a file of 768x512 pixels",
    )  # fmt: skip


def add_metric(sub: argparse.ArgumentParser) -> None:
    """What curves are compared by, and over which images."""
    sub.add_argument("--metric", choices=tuple(METRICS), default="psnr", help="default psnr")
    sub.add_argument(
        "--common", action="store_true",
        help="means over the images that the reports share, where they are of others too",
    )  # fmt: skip
