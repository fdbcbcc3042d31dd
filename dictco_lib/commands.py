"""What each command of the command line does: calls the library, prints. No arithmetic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from dictco_lib.errors import DictcoError, WrongModel

DEFAULT_MODEL = "classroom"
PLAIN_SUFFIX = ".bin"


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DictcoError("--device cuda: no CUDA device is visible; use --device cpu or auto")
    return name


def _load(args: argparse.Namespace):
    from dictco_lib.checkpoints import load

    return load(args.model or DEFAULT_MODEL, _device(args.device))


def _jobs(source: str, target: str, is_input: Callable[[Path], bool], suffix: str) -> list:
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


def _each(jobs: list, work: Callable[[Path, Path], str]) -> None:
    """Do all jobs with a progress bar; report failures at the end instead of stopping."""
    if len(jobs) == 1:
        print(work(*jobs[0]))
        return
    failed = []
    with tqdm(jobs, unit="file") as bar:
        for source, target in bar:
            try:
                bar.write(work(source, target))
            except (DictcoError, OSError) as error:
                failed.append(source.name)
                bar.write(f"{source}: {error}", file=sys.stderr)
    if failed:
        raise DictcoError(f"{len(failed)} of {len(jobs)} files failed: {', '.join(failed[:5])}")


def compress(args: argparse.Namespace) -> None:
    """Pictures to .dco (or plain .bin) files."""
    from dictco_lib.coding import encode
    from dictco_lib.files import write_atomic
    from dictco_lib.images import SUFFIXES
    from dictco_lib.plain import encode_plain

    jobs = _jobs(args.input, args.output, lambda p: p.suffix.lower() in SUFFIXES, ".dco")
    for _, target in jobs:
        if target.suffix.lower() in SUFFIXES:
            raise DictcoError(f"{target} looks like a picture; give the output the suffix .dco")
    model = _load(args)

    def work(source: Path, target: Path) -> str:
        if target.suffix.lower() == PLAIN_SUFFIX:
            data = encode_plain(model, source)
            write_atomic(target, data)
            return f"{target}: {len(data)} bytes"
        encoded = encode(model, source, args.quality, metadata=args.metadata, fast=args.fast)
        write_atomic(target, encoded.data)
        return (
            f"{target}: {len(encoded.data)} bytes, {encoded.bpp:.3f} bpp, "
            f"{encoded.width}x{encoded.height}"
        )

    _each(jobs, work)


def _model_finder(args: argparse.Namespace) -> Callable:
    """Models by fingerprint: the one that was named, or whichever shipped one made the file."""
    from dictco_lib.checkpoints import fingerprint, load, shipped_models

    if args.model:
        model = load(args.model, _device(args.device))
        return lambda wanted: model
    device = _device(args.device)
    by_fingerprint: dict[bytes, object] = {}

    def find(wanted: bytes):
        if wanted not in by_fingerprint:
            for name in shipped_models():
                model = load(name, device)
                by_fingerprint[fingerprint(model)] = model
        if wanted not in by_fingerprint:
            raise WrongModel(
                f"the file was made by model {wanted.hex()}, and none of the shipped ones "
                f"({', '.join(shipped_models()) or 'none'}) is that; give its checkpoint: --model"
            )
        return by_fingerprint[wanted]

    return find


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise DictcoError(f"{path} is a folder, expected a .dco file")
    if not path.exists():
        raise DictcoError(f"{path} does not exist")
    return path.read_bytes()


def decompress(args: argparse.Namespace) -> None:
    """Files to pictures."""
    from dictco_lib.bitstream import unpack
    from dictco_lib.coding import decode
    from dictco_lib.images import write_image
    from dictco_lib.plain import decode_plain

    jobs = _jobs(args.input, args.output, lambda p: p.suffix.lower() == ".dco", ".png")
    find = _model_finder(args)

    def work(source: Path, target: Path) -> str:
        data = _read_bytes(source)
        if source.suffix.lower() == PLAIN_SUFFIX:
            if not args.model:
                raise WrongModel(f"{source} does not say which model made it; give it: --model")
            image = decode_plain(find(b""), data)
        else:
            model = find(unpack(data, partial=args.partial).fingerprint)
            image = decode(model, data, slices=args.slices, partial=args.partial)
        write_image(image, target)
        return f"{target}: {image.width}x{image.height} {image.mode}"

    _each(jobs, work)


def inspect(args: argparse.Namespace) -> None:
    """The header and chunk table of a file."""
    from dictco_lib.bitstream import Flag, unpack
    from dictco_lib.checkpoints import fingerprint, load, shipped_models

    data = _read_bytes(Path(args.file))
    container = unpack(data)
    names = {fingerprint(load(name)): name for name in shipped_models()}
    name = names.get(container.fingerprint, "not one that ships")
    pixels = container.width * container.height
    flags = [f.name.lower() for f in Flag if container.flags & f] or ["none"]
    quality = "fixed rate" if container.quality is None else f"{container.quality:g}"
    print(f"{args.file}: {len(data)} bytes, {8 * len(data) / pixels:.4f} bpp")
    print(f"  size     {container.width} x {container.height}")
    print(f"  quality  {quality}")
    print(f"  model    {container.fingerprint.hex()} ({name})")
    print(f"  flags    {', '.join(flags)}")
    print(f"  tiles    {'one' if not container.tile else f'{16 * container.tile} pixels a side'}")
    print(f"\n  {'chunk':10} {'bytes':>9} {'bits':>10} {'bpp':>8} {'share':>7}")
    rows = [("header", container.header_bytes)]
    rows += [(chunk.label, len(chunk.data)) for chunk in container.chunks]
    for label, size in rows:
        share = size / len(data)
        print(f"  {label:10} {size:9} {8 * size:10} {8 * size / pixels:8.4f} {share:7.1%}")


def evaluate(args: argparse.Namespace) -> None:
    """A rate-distortion table from real files."""
    from dictco_lib.evaluation import rd

    model = _load(args)
    qualities: tuple = tuple(args.quality or rd.DEFAULT_QUALITIES)
    if not model.config.is_variable_rate:
        qualities = (None,)
    for quality in qualities:
        if quality is not None:
            model.config.level(quality)
    paths = rd.pictures_in(args.folder)
    with tqdm(total=len(paths) * len(qualities), unit="file") as bar:
        report = rd.evaluate(model, paths, qualities, progress=lambda row: bar.update())
    results = report["results"]
    print(f"{len(paths)} pictures in {args.folder}, model {model.config.name}, real files")
    print(f"{'quality':>8} {'bpp':>8} {'PSNR dB':>8} {'MS-SSIM':>8} {'enc s':>7} {'dec s':>7}")
    for i, quality in enumerate(qualities):
        ssim = f"{results['ms-ssim-rgb'][i]:.4f}" if "ms-ssim-rgb" in results else "-"
        label = "fixed" if quality is None else f"{quality:g}"
        print(
            f"{label:>8} {results['bpp'][i]:8.4f} {results['psnr-rgb'][i]:8.3f} {ssim:>8} "
            f"{results['encode_s'][i]:7.2f} {results['decode_s'][i]:7.2f}"
        )
    if args.out:
        rd.save_report(report, args.out)
        print(f"wrote {args.out}")


def bdrate(args: argparse.Namespace) -> None:
    """BD-rates of curves against an anchor."""
    from dictco_lib.evaluation.rd import bd_rate_between

    for test in args.test:
        value, low, high = bd_rate_between(args.anchor, test)
        print(f"{test}: {value:+.2f} % against {args.anchor} ({low:.1f}-{high:.1f} dB)")


def plot(args: argparse.Namespace) -> None:
    """A figure from reports or a training log."""
    import json

    import matplotlib

    matplotlib.use("agg")
    from dictco_lib import plots
    from dictco_lib.evaluation.rd import load_curve
    from dictco_lib.files import atomic_path

    plots.use_style()
    if args.files[0].endswith(".jsonl"):
        rows = [json.loads(line) for line in _read_bytes(Path(args.files[0])).splitlines()]
        figure = plots.training_log(rows)
    else:
        figure = plots.rd_curves({name: (x, y) for name, x, y in map(load_curve, args.files)})
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, format="png")
    print(f"wrote {args.output}")


def bench(args: argparse.Namespace) -> None:
    """Median seconds of the parts of a codec."""
    from dictco_lib.evaluation import timing

    print(f"{'what':34} {'seconds':>9}   medians of {args.repeats}")
    for name, seconds in timing.bench(_load(args), args.size, args.repeats).items():
        print(f"{name:34} {seconds:9.4f}")


def train(args: argparse.Namespace) -> None:
    """Run a recipe to its end."""
    from dictco_lib.training import trainer
    from dictco_lib.training.recipe import load_recipe

    run = trainer.train(load_recipe(args.recipe), _device(args.device))
    print(f"{run.out / 'last.safetensors'}: {run.step} steps in {run.seconds:.0f} s")


def export(args: argparse.Namespace) -> None:
    """Halve a checkpoint for shipping."""
    from dictco_lib import checkpoints

    checkpoints.export(args.input, args.output)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB")


def models(args: argparse.Namespace) -> None:
    """Presets and shipped weights."""
    from dictco_lib.checkpoints import fingerprint, load, shipped_models
    from dictco_lib.config import PRESETS

    shipped = shipped_models()
    for name in sorted(set(PRESETS) | set(shipped)):
        if name in shipped:
            model = load(name)
            size = sum(p.numel() for p in model.parameters()) / 1e6
            print(
                f"{name:10} ships, {size:.1f} M parameters, {fingerprint(model).hex()}, "
                f"{shipped[name].stat().st_size / 1e6:.1f} MB"
            )
        else:
            print(f"{name:10} preset, no weights ship")
