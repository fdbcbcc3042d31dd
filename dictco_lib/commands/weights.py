"""train, pairs, export, convert."""

from __future__ import annotations

import argparse
from pathlib import Path

from dictco_lib.commands.common import find_device, may_replace
from dictco_lib.commands.options import Declare, add_force, add_recipe


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
        "data/nano.toml", "data/nano.toml --seeds 0 --set steps=600 validate_every=600",
    )  # fmt: skip
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    add_recipe(sub)


def pairs(args: argparse.Namespace) -> None:
    """Train a recipe with and without its mixture, and say what the mixture brings."""
    from dictco_lib.training.pairs import table, train_pairs
    from dictco_lib.training.recipe import load_recipe

    device = None if args.device == "auto" else find_device(args.device)
    recipe = load_recipe(args.recipe, args.changes)
    results = train_pairs(recipe, args.seeds, device)
    print(f"{recipe.config.name}, {recipe.steps} steps, seeds {' '.join(map(str, args.seeds))}:")
    print("validation loss of the mixture, and of the others against it, the same seed each")
    print("\n".join(table(results)))


def add_export(command: Declare) -> None:
    """Declare ``export``."""
    sub = command(
        "export", export, "halve a trained checkpoint for shipping",
        "build/classroom/last.safetensors data/classroom.safetensors",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN.safetensors")
    sub.add_argument("output", metavar="OUT.safetensors")
    add_force(sub, "replace OUT even if it is not halved yet")


def export(args: argparse.Namespace) -> None:
    """Halve a checkpoint for shipping."""
    from dictco_lib import checkpoints

    may_replace(args.output, args.force, checkpoints.is_halved, "a halved checkpoint")
    checkpoints.export(args.input, args.output)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB")


def add_convert(command: Declare) -> None:
    """Declare ``convert``."""
    sub = command(
        "convert", convert, "write a checkpoint in another layout, either way",
        "authors.pth dcae.safetensors --to dco", "dcae.safetensors there.pth --to compressai",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", help="ours, an authors' or a CompressAI checkpoint")
    sub.add_argument("output", metavar="OUT", help=".safetensors for dco, else .pth")
    sub.add_argument("--to", choices=("published", "compressai", "dco"), required=True)
    sub.add_argument("--report", action="store_true", help="list every tensor's way")
    add_force(sub)


def convert(args: argparse.Namespace) -> None:
    """A checkpoint in another layout: the authors', CompressAI's, or ours."""
    import torch

    from dictco_lib import checkpoints
    from dictco_lib.files import atomic_path

    may_replace(args.output, args.force, lambda path: False, "made by this command")
    model = checkpoints.load(args.input)
    if args.to == "dco":
        checkpoints.save_checkpoint(model, args.output)
        count = len(model.state_dict())
    else:
        write = {"published": checkpoints.to_published, "compressai": checkpoints.to_compressai}
        state = write[args.to](model)
        count = len(state)
        with atomic_path(args.output) as temporary:
            torch.save({"state_dict": state}, temporary)
    if args.report:
        for ours, theirs in checkpoints.ways(model).items():
            print(f"{ours} -> {theirs}")
    print(f"{args.output}: {model.config.name}, {count} tensors, layout {args.to}")
