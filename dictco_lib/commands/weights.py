"""train, pairs, export, convert."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dictco_lib.commands.common import find_device, may_replace, say
from dictco_lib.commands.options import Declare, add_force, add_recipe
from dictco_lib.errors import OptionError, OutputError, PortWarning
from dictco_lib.files import check_writable

if TYPE_CHECKING:
    from dictco_lib.models import Codec


def add_train(command: Declare) -> None:
    """Declare ``train``."""
    sub = command(
        "train", train, "train a model by a recipe; a run that was stopped continues",
        "data/nano.toml", "data/nano.toml --set seed=1 shape.experts=8 'out=\"../build/other\"'",
    )  # fmt: skip
    add_recipe(sub)


def train(args: argparse.Namespace) -> None:
    """Run a recipe to its end."""
    from dictco_lib.training.loop import train as run
    from dictco_lib.training.recipe import load_recipe

    device = None if args.device == "auto" else find_device(args.device)
    trainer = run(load_recipe(args.recipe, args.changes), device)
    if trainer.accelerator.is_main_process:
        weights = trainer.out / "last.safetensors"
        print(f"{weights}: {trainer.step} steps in {trainer.seconds:.0f} s")


def add_pairs(command: Declare) -> None:
    """Declare ``pairs``."""
    sub = command(
        "pairs", pairs,
        "train a mixture, one dictionary and a sparse mixture alike, and compare them",
        "data/nano.toml --out data/nano_pairs.json",
        "data/nano.toml --seeds 0 --set steps=600 validate_every=600",
    )  # fmt: skip
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    sub.add_argument("--out", metavar="JSON", help="write the losses of all runs")
    add_force(sub, "replace --out even if no such losses are in it")
    add_recipe(sub)


def pairs(args: argparse.Namespace) -> None:
    """Train a recipe with and without its mixture, and say what the mixture brings."""
    from dictco_lib.training.pairs import is_pairs, save_pairs, table, train_pairs
    from dictco_lib.training.recipe import load_recipe

    if args.out:
        may_replace(args.out, args.force, is_pairs, "losses of pairs")
    device = None if args.device == "auto" else find_device(args.device)
    recipe = load_recipe(args.recipe, args.changes)
    results = train_pairs(recipe, args.seeds, device)
    print(f"{recipe.config.name}, {recipe.steps} steps, seeds {' '.join(map(str, args.seeds))}:")
    print("validation loss of the mixture, and of the others against it, the same seed each")
    print("\n".join(table(results)))
    if args.out:
        save_pairs(results, recipe, args.out)
        print(f"wrote {args.out}")


def add_export(command: Declare) -> None:
    """Declare ``export``."""
    sub = command(
        "export", export,
        "halve a trained checkpoint for shipping, or write a model as ONNX graphs",
        "build/classroom/last.safetensors data/classroom.safetensors",
        "classroom classroom_onnx/ --onnx",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", help="a checkpoint; with --onnx a name will do")
    sub.add_argument("output", metavar="OUT", help="a .safetensors file; with --onnx a folder")
    form = sub.add_mutually_exclusive_group()
    form.add_argument(
        "--onnx", action="store_true",
        help="a folder of graphs, tables and a script, decode_onnx.py, that decodes without torch",
    )  # fmt: skip
    form.add_argument(
        "--rows8", action="store_true",
        help="matrices of the entropy model as 8-bit integers: smaller, up to 0.3 %% more bits; "
        "all of a model that was trained with weight_bits = 8",
    )  # fmt: skip
    add_force(sub, "replace OUT even if it is not what this command makes")


def export(args: argparse.Namespace) -> None:
    """Halve a checkpoint for shipping, or write it as a folder of ONNX graphs."""
    from dictco_lib import checkpoints

    if args.onnx:
        return _export_onnx(args)
    may_replace(args.output, args.force, checkpoints.is_halved, "a halved checkpoint")
    checkpoints.export(args.input, args.output, rows8=args.rows8)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB")


def _export_onnx(args: argparse.Namespace) -> None:
    from dictco_lib.export import SCRIPT, check_packages, export_onnx, is_exported

    check_packages()
    folder = Path(args.output)
    is_taken = folder.is_dir() and any(folder.iterdir())
    if is_taken and not args.force and not is_exported(folder):
        raise OutputError(
            f"{folder} is not empty and holds no exported model; give another name, or write into "
            "it with --force"
        )
    check_writable(folder, "folder")
    differences = export_onnx(_read_any(args.input, False, []), folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"{folder}: {len(differences)} graphs, {size / 1e6:.1f} MB")
    for name, found in differences.items():
        say(f"  {name:10} differs from torch by {found:.1e} of its largest number")
    say(f"python {folder / SCRIPT} photo.dco photo.png decodes with them")


def add_convert(command: Declare) -> None:
    """Declare ``convert``."""
    sub = command(
        "convert", convert, "write a checkpoint in another layout, either way",
        "authors.pth dcae.safetensors --to dco", "dcae.safetensors there.pth --to compressai",
        "trained_there.pth tcm.safetensors --to dco --ported",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", help="ours, an authors' or a CompressAI checkpoint")
    sub.add_argument("output", metavar="OUT", help=".safetensors for dco, else .pth")
    sub.add_argument("--to", choices=("published", "compressai", "dco"), required=True)
    sub.add_argument(
        "--ported", action="store_true",
        help="IN was trained in CompressAI's port: its TCM and SAAF compute something else",
    )  # fmt: skip
    sub.add_argument("--report", action="store_true", help="list every tensor's way")
    add_force(sub)


def convert(args: argparse.Namespace) -> None:
    """A checkpoint in another layout: the authors', CompressAI's, or ours."""
    from dictco_lib import checkpoints

    may_replace(args.output, args.force, lambda path: False, "made by this command")
    if checkpoints.is_published(args.output) == (args.to == "dco"):
        wanted = ".safetensors" if args.to == "dco" else ".pth"
        raise OptionError(
            f"--to {args.to} writes {wanted} files, and by the suffix of {args.output} nothing "
            f"would find out what it is; name it {Path(args.output).stem}{wanted}"
        )
    read: list[str] = []
    written: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PortWarning)
        model = _read_any(args.input, args.ported, read)
        count = _write_as(model, args.output, args.to, written)
    for path, lines in ((args.input, read), (args.output, written)):
        if args.report and lines:
            say("\n  ".join([f"{path}, every tensor's way:", *lines]))
    for warning in caught:
        if issubclass(warning.category, PortWarning):
            say(f"dictco: note: {warning.message}", sys.stderr)
    say(f"{args.output}: {model.config.name}, {count} tensors, layout {args.to}")


def _read_any(source: str, ported: bool, report: list[str]) -> Codec:
    from dictco_lib import checkpoints

    if Path(source).is_file() and checkpoints.is_published(source):
        return checkpoints.load_published(source, ported=ported, report=report)
    if ported:
        raise OptionError(
            f"--ported is for checkpoints in CompressAI's layout, .pth; {source} is ours, which "
            "holds that already; leave --ported out"
        )
    return checkpoints.load(source)


def _write_as(model: Codec, target: str, layout: str, report: list[str]) -> int:
    """Write a model's checkpoint; returns how many tensors it has."""
    import torch

    from dictco_lib import checkpoints
    from dictco_lib.files import atomic_path

    if layout == "dco":
        checkpoints.save_checkpoint(model, target)
        return len(checkpoints.own_state(model))
    write = {"published": checkpoints.to_published, "compressai": checkpoints.to_compressai}
    state = write[layout](model, report=report)
    with atomic_path(target) as temporary:
        torch.save({"state_dict": state}, temporary)
    return len(state)
