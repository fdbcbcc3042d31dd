"""The command line: ``dictco`` or ``python -m dictco_lib``. Parses, calls, prints."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from dictco_lib.errors import DictcoError, WrongModel

DEFAULT_MODEL = "classroom"
PLAIN_SUFFIX = ".bin"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except KeyboardInterrupt:
        print("dictco: interrupted", file=sys.stderr)
        return 130
    except (DictcoError, OSError) as error:
        if args.debug:
            traceback.print_exc()
        else:
            print(f"dictco: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


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
            except DictcoError as error:
                failed.append(source.name)
                bar.write(f"{source}: {error}", file=sys.stderr)
    if failed:
        raise DictcoError(f"{len(failed)} of {len(jobs)} files failed: {', '.join(failed[:5])}")


def _compress(args: argparse.Namespace) -> None:
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


def _decompress(args: argparse.Namespace) -> None:
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


def _inspect(args: argparse.Namespace) -> None:
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


def _evaluate(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.rd import DEFAULT_QUALITIES, evaluate, pictures_in, save_report

    model = _load(args)
    qualities: tuple = tuple(args.quality or DEFAULT_QUALITIES)
    if not model.config.is_variable_rate:
        qualities = (None,)
    for quality in qualities:
        if quality is not None:
            model.config.level(quality)
    paths = pictures_in(args.folder)
    with tqdm(total=len(paths) * len(qualities), unit="file") as bar:
        report = evaluate(model, paths, qualities, progress=lambda row: bar.update())
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
        save_report(report, args.out)
        print(f"wrote {args.out}")


def _bdrate(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.rd import bd_rate_between

    for test in args.test:
        value, low, high = bd_rate_between(args.anchor, test)
        print(f"{test}: {value:+.2f} % against {args.anchor} ({low:.1f}-{high:.1f} dB)")


def _train(args: argparse.Namespace) -> None:
    from dictco_lib.training.recipe import load_recipe
    from dictco_lib.training.trainer import train

    trainer = train(load_recipe(args.recipe), _device(args.device))
    print(f"{trainer.out / 'last.safetensors'}: {trainer.step} steps in {trainer.seconds:.0f} s")


def _export(args: argparse.Namespace) -> None:
    from dictco_lib.checkpoints import export

    export(args.input, args.output)
    print(f"{args.output}: {Path(args.output).stat().st_size / 1e6:.1f} MB")


def _models(args: argparse.Namespace) -> None:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dictco",
        description="Dictionary-based learned image compression: photo to file and back.",
        epilog="examples:\n"
        "  dictco compress photo.jpg photo.dco --quality 60\n"
        "  dictco decompress photo.dco photo.png\n"
        "  dictco inspect photo.dco\n"
        "  dictco evaluate my_photos/ --out report.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable, text: str, *examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  dictco {name} {e}" for e in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show a traceback on errors")
        return sub

    def with_model(sub: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
        sub.add_argument("--model", metavar="M", help=text)
        return with_device(sub)

    def with_device(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        return sub

    sub = command(
        "compress", _compress, "compress a picture, or a folder of them, to .dco files",
        "photo.jpg photo.dco", "photo.jpg small.dco --quality 10", "photos/ compressed/",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", help="a picture, or a folder of pictures")
    sub.add_argument(
        "output", metavar="OUT", help="the .dco file, or a folder; .bin for the plain format"
    )
    sub.add_argument(
        "--quality", type=float, metavar="Q", help="0 (small) to 100 (good); default 50"
    )
    sub.add_argument("--metadata", action="store_true", help="keep EXIF data in the file")
    sub.add_argument(
        "--fast", action="store_true",
        help="code in float32: quicker, but only this machine and software can read it back",
    )  # fmt: skip
    with_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")

    sub = command(
        "decompress", _decompress, "decompress a .dco file, or a folder of them, to pictures",
        "photo.dco photo.png", "compressed/ pictures/", "photo.dco coarse.png --slices 2",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", help="a .dco file, or a folder of them")
    sub.add_argument("output", metavar="OUT", help="the picture (any format Pillow writes)")
    sub.add_argument("--slices", type=int, metavar="K", help="decode only the first K slices")
    sub.add_argument("--partial", action="store_true", help="show what a cut-off file still holds")
    with_model(sub, "name or path of a checkpoint; default: the shipped one that made the file")

    sub = command("inspect", _inspect, "show what is inside a .dco file", "photo.dco")
    sub.add_argument("file", metavar="FILE.dco")

    sub = command(
        "evaluate", _evaluate, "measure bpp, PSNR and MS-SSIM from real files",
        "photos/", "photos/ --quality 20 60 --out report.json",
    )  # fmt: skip
    sub.add_argument("folder", metavar="FOLDER", help="folder of pictures")
    sub.add_argument("--quality", type=float, nargs="+", metavar="Q", help="default: 0 20 ... 100")
    sub.add_argument("--out", metavar="JSON", help="write the report, per-image rows included")
    with_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")

    sub = command(
        "bdrate", _bdrate, "average rate difference between RD curves",
        "data/kodak_jpeg_420.json data/classroom_kodak.json",
    )  # fmt: skip
    sub.add_argument("anchor", metavar="ANCHOR.json")
    sub.add_argument("test", metavar="TEST.json", nargs="+")

    sub = command(
        "train", _train, "train a model by a recipe; a run that was stopped continues",
        "data/nano.toml", "data/classroom.toml",
    )  # fmt: skip
    sub.add_argument("recipe", metavar="RECIPE", help="a TOML file")
    with_device(sub)

    sub = command(
        "export", _export, "halve a trained checkpoint for shipping (float16 weights, new tables)",
        "build/classroom/last.safetensors data/classroom.safetensors",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN.safetensors")
    sub.add_argument("output", metavar="OUT.safetensors")

    command("models", _models, "list presets and the weights that ship", "")
    return parser
