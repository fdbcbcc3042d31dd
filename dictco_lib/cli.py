"""The command line: ``dictco`` or ``python -m dictco_lib``. Parses, and hands over."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dictco_lib import commands
from dictco_lib.commands import DEFAULT_MODEL
from dictco_lib.commands.common import METRICS, explain, forget
from dictco_lib.files import is_full


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    _print_any_name()
    try:
        with _ended_like_interrupts():
            return _run(_parsed(argv))
    except _Ended as end:
        print(f"dictco: ended by {end.signal.name}", file=sys.stderr)
        return 128 + end.signal
    except KeyboardInterrupt:
        print("dictco: interrupted", file=sys.stderr)
        return 130


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    is_list = isinstance(getattr(args, "input", None), list)
    if is_list and not any(text.startswith("-") and text != "-" for text in rest):
        # argparse takes names in one piece: not those behind an option, as in a b --quality 9 out/
        *args.input, args.output = [*args.input, args.output, *rest]
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _run(args: argparse.Namespace) -> int:
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        forget(sys.stdout)
    except Exception as error:
        print(f"dictco: error: {explain(error, args.debug)}", file=sys.stderr)
        if is_full(error):
            forget(sys.stdout)  # or Python would try once more, and complain
        return 1
    return 0


class _Ended(KeyboardInterrupt):
    """A signal that ends the process, as an interrupt from the keyboard does: tidily."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


@contextmanager
def _ended_like_interrupts() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a closed terminal, run the ``finally`` blocks."""

    def end(number: int, frame: object) -> None:
        raise _Ended(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    mine = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in names] if mine else []
    numbers = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]  # nohup ignores
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _print_any_name() -> None:
    """A name that the terminal's encoding lacks is printed escaped, and stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


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
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable, text: str, *examples: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(
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

    def with_recipe(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("recipe", metavar="RECIPE", help="a TOML file")
        sub.add_argument(
            "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="changes",
            help="settings that replace the recipe's; texts in quotes",
        )  # fmt: skip
        with_device(sub)

    again = "replace files that this command did not make, and do again what is done"

    def with_force(sub: argparse.ArgumentParser, text: str = again) -> None:
        sub.add_argument("--force", action="store_true", help=text)

    def with_metric(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--metric", choices=tuple(METRICS), default="psnr", help="default psnr")
        sub.add_argument(
            "--common", action="store_true",
            help="means over the pictures that the reports share, where they are of others too",
        )  # fmt: skip

    sub = command(
        "compress", commands.compress, "compress a picture, or a folder of them, to .dco files",
        "photo.jpg photo.dco", "photo.jpg small.dco --quality 10",
        "photo.jpg small.dco --max-bytes 100000", "photos/ compressed/", "a.jpg b.png compressed/",
        "- - < photo.jpg > photo.dco",
    )  # fmt: skip
    sub.add_argument(
        "input", metavar="IN", nargs="+",
        help="pictures, and folders that are searched with their sub-folders; - is standard input",
    )  # fmt: skip
    sub.add_argument(
        "output", metavar="OUT",
        help="the .dco file (.bin for the plain format), a folder (out/ makes it), or -",
    )  # fmt: skip
    with_force(sub)
    wish = sub.add_mutually_exclusive_group()
    wish.add_argument(
        "--quality", type=float, metavar="Q", help="0 (small) to 100 (good); default 50"
    )
    wish.add_argument(
        "--bpp", type=float, metavar="B", help="this many bits per pixel, within 1 %%"
    )
    wish.add_argument(
        "--max-bytes", type=int, metavar="N", help="at most N bytes, and at most 2 %% less"
    )
    wish.add_argument(
        "--min-psnr", type=float, metavar="DB", help="a PSNR of at least DB, and hardly more"
    )
    sub.add_argument("--metadata", action="store_true", help="keep EXIF data, resolution and XMP")
    sub.add_argument(
        "--fast", action="store_true",
        help="code in float32: quicker, but only this machine and software can read it back",
    )  # fmt: skip
    with_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")

    sub = command(
        "decompress", commands.decompress, "decompress a .dco file, or a folder, to pictures",
        "photo.dco photo.png", "compressed/ pictures/", "photo.dco coarse.png --slices 2",
        "photo.dco part.png --crop 2000,1000,640,480",
        "a.dco b.dco pictures/ --format webp", "- - < photo.dco > photo.png",
    )  # fmt: skip
    sub.add_argument(
        "input", metavar="IN", nargs="+",
        help=".dco files, and folders that are searched with their sub-folders; or -",
    )  # fmt: skip
    sub.add_argument(
        "output", metavar="OUT",
        help="the picture (any format Pillow writes), a folder (out/ makes it), or -",
    )  # fmt: skip
    sub.add_argument(
        "--format", metavar="SUFFIX", help="of pictures in a folder or standard output: default png"
    )
    with_force(sub)
    sub.add_argument("--slices", type=int, metavar="K", help="decode only the first K slices")
    sub.add_argument("--partial", action="store_true", help="show what a cut-off file still holds")
    sub.add_argument(
        "--crop", metavar="X,Y,W,H",
        help="only this part, in pixels: reads and decodes no more of the file than it needs",
    )  # fmt: skip
    with_model(sub, "name or path of a checkpoint; default: the shipped one that made the file")

    sub = command("inspect", commands.inspect, "show what is inside a .dco file", "photo.dco")
    sub.add_argument("file", metavar="FILE.dco", help="or - for standard input")

    sub = command(
        "evaluate", commands.evaluate, "measure bpp, PSNR, MS-SSIM, seconds and memory",
        "photos/", "photos/ --quality 20 60 --out report.json", "photos/ --mode estimated",
    )  # fmt: skip
    sub.add_argument("folder", metavar="FOLDER", help="pictures, in sub-folders too")
    sub.add_argument(
        "--mode", choices=("real", "estimated"), default="real",
        help="bits of files that are decoded again (default), or bits from likelihoods: quicker",
    )  # fmt: skip
    sub.add_argument(
        "--batch-size", type=int, metavar="B",
        help="pictures of equal size at a time in estimated mode; default 8 on a GPU, else 1",
    )  # fmt: skip
    sub.add_argument(
        "--gates", metavar="RULE",
        help="overrule the router, in estimated mode: uniform, averaged, shuffled, only:K, "
        "without:K or swapped:K:K, where K is an expert",
    )  # fmt: skip
    sub.add_argument("--quality", type=float, nargs="+", metavar="Q", help="default: 0 20 ... 100")
    sub.add_argument("--out", metavar="JSON", help="write the report, per-image rows included")
    with_force(sub, "replace --out even if it is no report")
    with_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")

    sub = command(
        "anchors", commands.anchors, "measure classical codecs on a folder of pictures",
        "photos/ --out build/anchors --workers 4", "photos/ --codecs jpeg avif_444_psnr",
    )  # fmt: skip
    sub.add_argument("folder", metavar="FOLDER", help="pictures, in sub-folders too")
    sub.add_argument(
        "--codecs", nargs="+", metavar="C",
        help="jpeg webp avif jpeg2000 jxl heic, or single variants; default: all that run here",
    )  # fmt: skip
    sub.add_argument("--out", metavar="DIR", help="write one report a codec, as evaluate does")
    with_force(sub, "replace files in --out even if they are no reports")
    sub.add_argument("--workers", type=int, default=1, metavar="N", help="processes; default 1")

    curve = "a report (.json), or published:NAME"
    sub = command(
        "bdrate", commands.bdrate, "average rate difference between RD curves",
        "data/kodak_jpeg_420.json data/classroom_kodak.json", "published:vtm published:dcae",
    )  # fmt: skip
    sub.add_argument("anchor", metavar="ANCHOR", help=curve)
    sub.add_argument("test", metavar="TEST", nargs="+", help=curve)
    sub.add_argument("--per-image", action="store_true", help="picture by picture as well")
    with_metric(sub)

    sub = command(
        "plot", commands.plot, "draw RD curves, or a training log, as PNG",
        "figures/rd.png data/kodak_jpeg_420.json data/classroom_kodak.json published:vtm",
        "figures/log.png data/classroom.log.jsonl data/classroom_continued.log.jsonl",
    )  # fmt: skip
    sub.add_argument("output", metavar="OUT.png")
    with_force(sub, "replace OUT.png even if it is no figure of ours")
    sub.add_argument("files", metavar="CURVE", nargs="+", help=f"{curve}; or logs (.jsonl)")
    sub.add_argument("--max-bpp", type=float, metavar="BPP", help="where the rate axis ends")
    with_metric(sub)

    sub = command(
        "bench", commands.bench, "time the parts of a codec, or of its training, on this machine",
        "", "--size 768 512", "load", "memory", "--recipe data/nano.toml",
    )  # fmt: skip
    sub.add_argument(
        "what", nargs="?", choices=("parts", "load", "memory"), default="parts",
        help="parts: each part alone (default); load: a photo, beside busy programs; memory: "
        "commands on pictures of up to 100 megapixels (minutes)",
    )  # fmt: skip
    sub.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), help="default 768 512")
    sub.add_argument("--repeats", type=int, default=5)
    sub.add_argument("--recipe", metavar="TOML", help="time training steps of this recipe instead")
    with_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")

    sub = command(
        "data", commands.data, "list, fetch and check public sets of photographs",
        "list", "kodak --to build/data/kodak", "kodak --to my_kodak --check",
    )  # fmt: skip
    sub.add_argument("set", metavar="SET", nargs="?", default="list", help="its name, or list")
    sub.add_argument("--to", metavar="DIR", help="its folder; default build/data/SET")
    sub.add_argument("--check", action="store_true", help="fetch nothing, only look")

    sub = command(
        "train", commands.train, "train a model by a recipe; a run that was stopped continues",
        "data/nano.toml", "data/nano.toml --set seed=1 shape.experts=8 'out=\"../build/other\"'",
    )  # fmt: skip
    with_recipe(sub)

    sub = command(
        "pairs", commands.pairs,
        "train a mixture, one dictionary and a sparse mixture alike, and compare them",
        "data/nano.toml", "data/nano.toml --seeds 0 --set steps=600 validate_every=600",
    )  # fmt: skip
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    with_recipe(sub)

    sub = command(
        "convert", commands.convert, "write a checkpoint in another layout, either way",
        "authors.pth dcae.safetensors --to dco", "dcae.safetensors there.pth --to compressai",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", help="ours, an authors' or a CompressAI checkpoint")
    sub.add_argument("output", metavar="OUT", help=".safetensors for dco, else .pth")
    sub.add_argument("--to", choices=("published", "compressai", "dco"), required=True)
    sub.add_argument("--report", action="store_true", help="list every tensor's way")
    with_force(sub)

    sub = command(
        "export", commands.export, "halve a trained checkpoint for shipping",
        "build/classroom/last.safetensors data/classroom.safetensors",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN.safetensors")
    sub.add_argument("output", metavar="OUT.safetensors")
    with_force(sub, "replace OUT even if it is not halved yet")

    command("models", commands.models, "list presets and the weights that ship", "")
    return parser
