"""compress, decompress, inspect."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from dictco_lib.commands.average import averaged, check_average, search_result
from dictco_lib.commands.common import (
    DEFAULT_MODEL,
    PLAIN_SUFFIX,
    check_standard,
    each,
    find_device,
    load_model,
    read_bytes,
    refuse,
    set_precision,
    shown,
    tell,
)
from dictco_lib.commands.jobs import CODED_SUFFIXES, STANDARD, Job, check_target, plan
from dictco_lib.commands.ledger import digest_of
from dictco_lib.commands.options import Declare, add_force, add_model, add_transforms
from dictco_lib.commands.outputs import Outputs, Write
from dictco_lib.errors import DictcoError, OptionError, WrongModel


def add_compress(command: Declare) -> None:
    """Declare ``compress``."""
    sub = command(
        "compress", compress, "compress an image, or a folder of them, to .dco files",
        "photo.jpg photo.dco", "photo.jpg small.dco --quality 10",
        "photo.jpg small.dco --max-bytes 100000", "photos/ compressed/", "a.jpg b.png compressed/",
        "photo.jpg photo.dco --quality 40 --region 200,100,320,240:90",
        "photos/ compressed/ --bpp 0.5 --average",
        "- - < photo.jpg > photo.dco",
    )  # fmt: skip
    sub.add_argument(
        "input", metavar="IN", nargs="+",
        help="images, and folders that are searched with their sub-folders; - is standard input",
    )  # fmt: skip
    sub.add_argument(
        "output", metavar="OUT",
        help="the .dco file (.bin for the plain format), a folder (out/ makes it), or -",
    )  # fmt: skip
    add_force(sub)
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
    wish.add_argument(
        "--ssimulacra2", type=float, metavar="S", help="a SSIMULACRA 2 of at least S, hardly more"
    )
    sub.add_argument(
        "--average", action="store_true",
        help="--bpp is that of all images together, at most 1 %% below: one quality for all",
    )  # fmt: skip
    sub.add_argument(
        "--region", action="append", default=[], metavar="WHERE:Q",
        help="another quality there: X,Y,WIDTH,HEIGHT:Q in pixels, or MASK.png:Q (white: Q, black: "
        "that of the rest); may be given again",
    )  # fmt: skip
    sub.add_argument("--metadata", action="store_true", help="keep EXIF data in the file")
    sub.add_argument(
        "--fast", action="store_true",
        help="code in float32: quicker, but only this machine and software can read it back",
    )  # fmt: skip
    add_transforms(sub)
    add_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")


def compress(args: argparse.Namespace) -> None:
    """Images to .dco (or plain .bin) files."""
    from dictco_lib.checkpoints import fingerprint
    from dictco_lib.coding import encode
    from dictco_lib.images import find_images, read_image
    from dictco_lib.plain import encode_plain, plain_losses
    from dictco_lib.rate_control import encode_to

    regions = [_region(text) for text in args.region]
    options = {"metadata": args.metadata, "fast": args.fast}
    wish = {"bpp": args.bpp, "max_bytes": args.max_bytes, "min_psnr": args.min_psnr}
    if args.ssimulacra2 is not None:  # later than the list of what was made: see Outputs
        wish["ssimulacra2"] = args.ssimulacra2
    made = plan(args.input, args.output, find_images, _coded_name, "images")
    if args.average:
        check_average(made, args)
    if not made.is_run:
        _check_coded_target(made.jobs[0], args, options | wish | {"region": regions or None})
    is_targeted = any(value is not None for value in wish.values())
    model = load_model(args)
    settings = {"quality": args.quality, **options, **wish, "model": fingerprint(model).hex()}
    if args.transforms != "float32":
        settings["transforms"] = args.transforms
    if regions:
        settings["regions"] = [[_named(place), quality] for place, quality in regions]
    put = Outputs(args.force, made.is_run)
    together = {}
    if args.average:
        found = averaged(made, put, model, args.bpp, options | {"regions": regions})
        settings |= {"quality": found.quality, "bpp": None}  # as if it had been given
        together = found.files

    def code(job: Job, is_plain: bool) -> tuple[bytes, str]:
        image = read_image(read_bytes(None) if job.source is None else job.source)
        tell(job.label, image.losses(args.metadata))
        if is_plain:
            tell(job.label, plain_losses(image))
            data = encode_plain(model, image)
            return data, f"{len(data)} bytes"
        is_searched = is_targeted and not together
        if is_searched:
            encoded = encode_to(model, image, **wish, **options, regions=regions)
        elif together:
            encoded = together[job.label]
        else:
            encoded = encode(model, image, args.quality, **options, regions=regions)
        line = f"{len(encoded.data)} bytes, {encoded.bpp:.3f} bpp, {encoded.width}x{encoded.height}"
        return encoded.data, line + search_result(encoded) if is_searched else line

    def work(job: Job) -> str | None:
        is_plain = job.target is not None and job.target.suffix.lower() == PLAIN_SUFFIX

        def make() -> Write:
            data, line = code(job, is_plain)

            def write(file: BinaryIO) -> str:
                file.write(data)
                return line

            return write

        return put(job, settings | {"plain": is_plain}, make)

    each(made, work, args.debug)
    put.warn()


def _region(text: str) -> tuple[tuple[int, ...] | Path, float]:
    """A place, a box or a mask, and its quality."""
    where, _, quality = text.rpartition(":")
    try:
        number = float(quality)
    except ValueError:
        number = None
    if number is None or not where:
        raise OptionError(
            f"--region {text!r}: expected a place, a colon and a quality, as in 200,100,320,240:90 "
            "(x, y, width, height) or mask.png:90"
        )
    numbers = where.split(",")
    is_box = len(numbers) > 1 and all(n.strip().lstrip("-").isdecimal() for n in numbers)
    return (tuple(map(int, numbers)) if is_box else Path(where)), number


def _named(place: tuple[int, ...] | Path) -> object:
    """What makes a place the same one again: of a mask, its content."""
    return digest_of(place) if isinstance(place, Path) and place.is_file() else place


def _coded_name(source: Path) -> str:
    """Only what stands for an image is a suffix: ``holiday.1`` and ``holiday.2`` stay apart."""
    from dictco_lib.images import looks_like_image

    return (source.stem if looks_like_image(source) else source.name) + ".dco"


def _check_coded_target(job: Job, args: argparse.Namespace, options: dict) -> None:
    from dictco_lib.images import looks_like_image

    if job.target is None:
        return check_standard()
    check_target(job, "the image itself")
    if looks_like_image(job.target):
        raise DictcoError(
            f"{job.target} looks like an image, and the last name is the output; give the output "
            "the suffix .dco"
        )
    if job.target.suffix.lower() == PLAIN_SUFFIX:
        refuse("a .bin file has no place for it", quality=args.quality, **options)
    return None


def _model_finder(args: argparse.Namespace) -> Callable:
    """Models by fingerprint: the one that was named, or whichever shipped one made the file."""
    from dictco_lib.checkpoints import fingerprint, load, shipped_models

    if args.model:
        model = load_model(args)
        return lambda wanted: model
    device = find_device(args.device)
    by_fingerprint: dict[bytes, object] = {}

    def find(wanted: bytes):
        if wanted not in by_fingerprint:
            for name in shipped_models():
                model = load(name, device)
                by_fingerprint[fingerprint(model)] = model
            if wanted in by_fingerprint:
                set_precision(by_fingerprint[wanted], args.transforms)
        if wanted not in by_fingerprint:
            raise WrongModel(
                f"the file was made by model {wanted.hex()}, and none of the shipped ones "
                f"({', '.join(shipped_models()) or 'none'}) is that; give its checkpoint: --model"
            )
        return by_fingerprint[wanted]

    return find


def add_decompress(command: Declare) -> None:
    """Declare ``decompress``."""
    sub = command(
        "decompress", decompress, "decompress a .dco file, or a folder, to images",
        "photo.dco photo.png", "compressed/ images/", "photo.dco coarse.png --slices 2",
        "photo.dco part.png --crop 2000,1000,640,480",
        "a.dco b.dco images/ --format webp", "- - < photo.dco > photo.png",
    )  # fmt: skip
    sub.add_argument(
        "input", metavar="IN", nargs="+",
        help=".dco files, and folders that are searched with their sub-folders; or -",
    )  # fmt: skip
    sub.add_argument(
        "output", metavar="OUT",
        help="the image (any format Pillow writes), a folder (out/ makes it), or -",
    )  # fmt: skip
    sub.add_argument(
        "--format", metavar="SUFFIX", help="of images in a folder or standard output: default png"
    )
    add_force(sub)
    sub.add_argument("--slices", type=int, metavar="K", help="decode only the first K slices")
    sub.add_argument("--partial", action="store_true", help="show what a cut-off file still holds")
    sub.add_argument(
        "--crop", metavar="X,Y,W,H",
        help="only this part, in pixels: reads and decodes no more of the file than it needs",
    )  # fmt: skip
    add_transforms(sub)
    add_model(sub, "name or path of a checkpoint; default: the shipped one that made the file")


def decompress(args: argparse.Namespace) -> None:
    """Files to images."""
    from dictco_lib.coding import decode, read_header
    from dictco_lib.images import find_files, output_format, save_image
    from dictco_lib.plain import decode_plain

    suffix = "." + (args.format or "png").lstrip(".").lower()
    output_format("x" + suffix)
    search = partial(find_files, verdict=_coded_verdict(bool(args.model)))
    made = plan(args.input, args.output, search, partial(_image_name, suffix), ".dco files")
    if any(_is_plain(job) for job in made.jobs):
        refuse("a .bin file has no slices", slices=args.slices, partial=args.partial)
        refuse("a .bin file has no tiles", crop=args.crop)
    if not made.is_run:
        _check_image_target(made.jobs[0], args.format)
    crop = _crop(args.crop)
    find = _model_finder(args)
    put = Outputs(args.force, made.is_run)

    def work(job: Job) -> str | None:
        # Standard input cannot be read twice, a file need not be read whole.
        data = read_bytes(None) if job.source is None else job.source
        wanted = b"" if _is_plain(job) else read_header(data).fingerprint

        def make() -> Write:
            if not _is_plain(job):
                part = {"slices": args.slices, "partial": args.partial, "crop": crop}
                image = decode(find(wanted), data, **part)
            elif args.model:
                image = decode_plain(find(wanted), read_bytes(job.source))
            else:
                raise WrongModel(f"{job.source} does not say which model made it; give it: --model")

            def write(file: BinaryIO) -> str:
                tell(job.label, save_image(image, file, job.target or "x" + suffix))
                return f"{image.width}x{image.height} {image.mode}"

            return write

        settings = {"slices": args.slices, "partial": args.partial, "crop": crop, "suffix": suffix}
        if args.transforms != "float32":
            settings["transforms"] = args.transforms
        return put(job, settings | {"model": args.model if _is_plain(job) else None}, make)

    each(made, work, args.debug)
    put.warn()


def _crop(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        x, y, width, height = (int(side) for side in text.split(","))
    except ValueError:
        raise OptionError(
            f"--crop {text!r}: expected four whole numbers X,Y,WIDTH,HEIGHT, as in 0,0,640,480"
        ) from None
    return x, y, width, height


def _is_plain(job: Job) -> bool:
    return job.source is not None and job.source.suffix.lower() == PLAIN_SUFFIX


def _image_name(suffix: str, source: Path) -> str:
    is_coded = source.suffix.lower() in CODED_SUFFIXES
    return (source.stem if is_coded else source.name) + suffix


def _check_image_target(job: Job, asked: str | None) -> None:
    from dictco_lib.images import output_format

    if job.target is None:
        return check_standard()
    output_format(job.target)  # a wrong suffix is named before the slow part
    if asked:
        raise OptionError(f"--format would be ignored: {job.target} has a suffix; leave it out")
    return check_target(job, "the file itself")


def _coded_verdict(has_model: bool) -> Callable[[Path], str | None]:
    """Which files of a folder a single call would decode: .dco by content, .bin by its suffix."""
    from dictco_lib.bitstream import MAGIC

    def verdict(path: Path) -> str | None:
        suffix = path.suffix.lower()
        if suffix == PLAIN_SUFFIX:
            return None if has_model else "does not say which model made it; give it: --model"
        with path.open("rb") as file:
            return None if suffix == ".dco" or file.read(len(MAGIC)) == MAGIC else ""

    return verdict


def add_inspect(command: Declare) -> None:
    """Declare ``inspect``."""
    sub = command("inspect", inspect, "show what is inside a .dco file", "photo.dco")
    sub.add_argument("file", metavar="FILE.dco", help="or - for standard input")


def inspect(args: argparse.Namespace) -> None:
    """The header and chunk table of a file."""
    from dictco_lib.bitstream import Flag, unpack
    from dictco_lib.checkpoints import fingerprint, load, shipped_models
    from dictco_lib.chunks import map_of

    data = read_bytes(None if args.file == STANDARD else Path(args.file))
    container = unpack(data)
    names = {fingerprint(load(name)): name for name in shipped_models()}
    name = names.get(container.fingerprint, "not one that ships")
    pixels = container.width * container.height
    flags = [f.name.lower() for f in Flag if container.flags & f] or ["none"]
    quality = "fixed rate" if container.quality is None else f"{container.quality:g}"
    print(f"{shown(args.file)}: {len(data)} bytes, {8 * len(data) / pixels:.4f} bpp")
    print(f"  size     {container.width} x {container.height}")
    print(f"  quality  {quality}")
    if (plane := map_of(container)) is not None:
        print(f"  regions  {_shares(plane)}")
    print(f"  model    {container.fingerprint.hex()} ({name})")
    print(f"  flags    {', '.join(flags)}")
    print(f"  tiles    {'one' if not container.tile else f'{16 * container.tile} pixels a side'}")
    print(f"\n  {'chunk':10} {'bytes':>9} {'bits':>10} {'bpp':>8} {'share':>7}")
    rows = [("header", container.header_bytes)]
    rows += [(chunk.label, len(chunk.data)) for chunk in container.chunks]
    for label, size in rows:
        share = size / len(data)
        print(f"  {label:10} {size:9} {8 * size:10} {8 * size / pixels:8.4f} {share:7.1%}")


def _shares(plane) -> str:
    """Qualities of a map with their shares of the image, the largest first."""
    import numpy as np

    from dictco_lib.regions import ELSEWHERE

    values, counts = np.unique(plane[plane != ELSEWHERE], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    parts = [f"{values[i]} on {counts[i] / plane.size:.1%}" for i in order[:5]]
    more = [f"{len(order) - 5} more"] if len(order) > 5 else []
    return ", ".join(parts + more)
