"""compress, decompress, inspect."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dictco_lib.commands.common import (
    PLAIN_SUFFIX,
    each,
    find_device,
    jobs_of,
    load_model,
    read_bytes,
    refuse,
    tell,
)
from dictco_lib.errors import DictcoError, OptionError, WrongModel


def compress(args: argparse.Namespace) -> None:
    """Pictures to .dco (or plain .bin) files."""
    from dictco_lib.coding import encode
    from dictco_lib.files import write_atomic
    from dictco_lib.images import SUFFIXES, read_picture
    from dictco_lib.plain import encode_plain, plain_losses
    from dictco_lib.rate_control import encode_to

    options = {"metadata": args.metadata, "fast": args.fast}
    wish = {"bpp": args.bpp, "max_bytes": args.max_bytes, "min_psnr": args.min_psnr}
    jobs = jobs_of(args.input, args.output, lambda p: p.suffix.lower() in SUFFIXES, ".dco")
    for source, target in jobs:
        if target.exists() and source.exists() and target.samefile(source):
            raise DictcoError(f"{target} is the picture itself; give the output another name")
        if target.suffix.lower() in SUFFIXES:
            raise DictcoError(f"{target} looks like a picture; give the output the suffix .dco")
        if target.suffix.lower() == PLAIN_SUFFIX:
            refuse("a .bin file has no place for it", quality=args.quality, **options, **wish)
    is_targeted = any(value is not None for value in wish.values())
    model = load_model(args)

    def work(source: Path, target: Path) -> str:
        picture = read_picture(source)
        tell(source, picture.losses(args.metadata))
        if target.suffix.lower() == PLAIN_SUFFIX:
            tell(source, plain_losses(picture))
            data = encode_plain(model, picture)
            write_atomic(target, data)
            return f"{target}: {len(data)} bytes"
        if is_targeted:
            encoded = encode_to(model, picture, **wish, **options)
        else:
            encoded = encode(model, picture, args.quality, **options)
        write_atomic(target, encoded.data)
        line = (
            f"{target}: {len(encoded.data)} bytes, {encoded.bpp:.3f} bpp, "
            f"{encoded.width}x{encoded.height}"
        )
        return line + _search_result(encoded) if is_targeted else line

    each(jobs, work, args.debug)


def _search_result(found) -> str:
    text = f", quality {found.quality:g} after {found.passes} passes"
    if found.psnr is not None:
        text += f", {found.psnr:.2f} dB"
    if found.is_bound:
        bounds = {0.0: "no quality is lower", 100.0: "no quality is higher"}
        text += f"; {bounds.get(found.quality, 'no nearer size was found')}"
    return text


def _model_finder(args: argparse.Namespace) -> Callable:
    """Models by fingerprint: the one that was named, or whichever shipped one made the file."""
    from dictco_lib.checkpoints import fingerprint, load, shipped_models

    if args.model:
        model = load(args.model, find_device(args.device))
        return lambda wanted: model
    device = find_device(args.device)
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


def decompress(args: argparse.Namespace) -> None:
    """Files to pictures."""
    from dictco_lib.coding import decode, read_header
    from dictco_lib.images import output_format, write_image
    from dictco_lib.plain import decode_plain

    jobs = jobs_of(args.input, args.output, lambda p: p.suffix.lower() == ".dco", ".png")
    if any(source.suffix.lower() == PLAIN_SUFFIX for source, _ in jobs):
        refuse("a .bin file has no slices", slices=args.slices, partial=args.partial)
        refuse("a .bin file has no tiles", crop=args.crop)
    for _, target in jobs:
        output_format(target)  # a wrong suffix is named before the slow part
    crop = _crop(args.crop)
    find = _model_finder(args)

    def work(source: Path, target: Path) -> str:
        if source.suffix.lower() == PLAIN_SUFFIX:
            if not args.model:
                raise WrongModel(f"{source} does not say which model made it; give it: --model")
            image = decode_plain(find(b""), read_bytes(source))
        else:
            model = find(read_header(source).fingerprint)
            image = decode(model, source, slices=args.slices, partial=args.partial, crop=crop)
        tell(target, write_image(image, target))
        return f"{target}: {image.width}x{image.height} {image.mode}"

    each(jobs, work, args.debug)


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


def inspect(args: argparse.Namespace) -> None:
    """The header and chunk table of a file."""
    from dictco_lib.bitstream import Flag, unpack
    from dictco_lib.checkpoints import fingerprint, load, shipped_models

    data = read_bytes(Path(args.file))
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
