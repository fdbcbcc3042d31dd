"""compress, decompress, inspect."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from dictco_lib.commands.common import (
    PLAIN_SUFFIX,
    check_standard,
    each,
    find_device,
    load_model,
    read_bytes,
    refuse,
    say,
    shown,
    tell,
    write_standard,
)
from dictco_lib.commands.jobs import CODED_SUFFIXES, STANDARD, Job, check_target, plan
from dictco_lib.commands.ledger import Ledger, digest_of, recipe_digest, settle
from dictco_lib.errors import DictcoError, OptionError, WrongModel

#: Writes an output into an open file, and returns a line about it.
Write = Callable[[BinaryIO], str]


def compress(args: argparse.Namespace) -> None:
    """Pictures to .dco (or plain .bin) files."""
    from dictco_lib.checkpoints import fingerprint
    from dictco_lib.coding import encode
    from dictco_lib.images import find_pictures, read_picture
    from dictco_lib.plain import encode_plain, plain_losses
    from dictco_lib.rate_control import encode_to

    options = {"metadata": args.metadata, "fast": args.fast}
    wish = {"bpp": args.bpp, "max_bytes": args.max_bytes, "min_psnr": args.min_psnr}
    made = plan(args.input, args.output, find_pictures, _coded_name, "pictures")
    if not made.is_run:
        _check_coded_target(made.jobs[0], args, options | wish)
    is_targeted = any(value is not None for value in wish.values())
    model = load_model(args)
    settings = {"quality": args.quality, **options, **wish, "model": fingerprint(model).hex()}
    put = Outputs(args.force, made.is_run)

    def code(job: Job, is_plain: bool) -> tuple[bytes, str]:
        picture = read_picture(read_bytes(None) if job.source is None else job.source)
        tell(job.label, picture.losses(args.metadata))
        if is_plain:
            tell(job.label, plain_losses(picture))
            data = encode_plain(model, picture)
            return data, f"{len(data)} bytes"
        if is_targeted:
            encoded = encode_to(model, picture, **wish, **options)
        else:
            encoded = encode(model, picture, args.quality, **options)
        line = f"{len(encoded.data)} bytes, {encoded.bpp:.3f} bpp, {encoded.width}x{encoded.height}"
        return encoded.data, line + _search_result(encoded) if is_targeted else line

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


def _coded_name(source: Path) -> str:
    """Only what stands for a picture is a suffix: ``holiday.1`` and ``holiday.2`` stay apart."""
    from dictco_lib.images import looks_like_picture

    return (source.stem if looks_like_picture(source) else source.name) + ".dco"


def _check_coded_target(job: Job, args: argparse.Namespace, options: dict) -> None:
    from dictco_lib.images import looks_like_picture

    if job.target is None:
        return check_standard()
    check_target(job, "the picture itself")
    if looks_like_picture(job.target):
        raise DictcoError(
            f"{job.target} looks like a picture, and the last name is the output; give the output "
            "the suffix .dco"
        )
    if job.target.suffix.lower() == PLAIN_SUFFIX:
        refuse("a .bin file has no place for it", quality=args.quality, **options)
    return None


class Outputs:
    """The one who writes outputs: nothing that is not ours is replaced, nothing is done twice.

    Args:
        force: replace what is there, and do again what is done.
        is_run: the outputs' names follow from the inputs'.
    """

    def __init__(self, force: bool, is_run: bool) -> None:
        self.force, self.is_run = force, is_run
        self.ledger = Ledger()

    def __call__(self, job: Job, settings: dict, make: Callable[[], Write]) -> str | None:
        """Do a job: ``make`` does the slow part; None if it is done already."""
        from dictco_lib.files import atomic_path

        if job.target is None:
            buffer = io.BytesIO()
            line = make()(buffer)
            write_standard(buffer.getvalue())
            return f"standard output: {line}"
        made_of = self._made_of(job, settings)
        if self.is_run:
            check_target(job, "the input itself", is_run=True)
        named = {"is_chosen": not self.is_run, "force": self.force}
        if not settle(self.ledger, job.source, job.target, made_of, **named):
            return None
        write = make()
        with atomic_path(job.target) as temporary:
            with temporary.open("w+b") as file:
                line = write(file)
            # That took a while: somebody may have put a file there.
            settle(self.ledger, job.source, job.target, made_of, **named)
            self.ledger.note(digest_of(temporary), made_of, job.source)
        return f"{job.target}: {line}"

    @staticmethod
    def _made_of(job: Job, settings: dict) -> str:
        from dictco_lib.files import special_kind

        if job.source is None or special_kind(job.source) or not job.source.exists():
            return recipe_digest("", **settings)  # nothing to compare; reading it names the fault
        return recipe_digest(digest_of(job.source), **settings)

    def warn(self) -> None:
        """Say if a second run will not know what this one made."""
        if self.is_run and self.ledger.problem:
            say(
                "dictco: warning: a second run will not know that it made these files: "
                + shown(self.ledger.problem),
                sys.stderr,
            )


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
    from dictco_lib.images import find_files, output_format, save_image
    from dictco_lib.plain import decode_plain

    suffix = "." + (args.format or "png").lstrip(".").lower()
    output_format("x" + suffix)
    search = partial(find_files, verdict=_coded_verdict(bool(args.model)))
    made = plan(args.input, args.output, search, partial(_picture_name, suffix), ".dco files")
    if any(_is_plain(job) for job in made.jobs):
        refuse("a .bin file has no slices", slices=args.slices, partial=args.partial)
        refuse("a .bin file has no tiles", crop=args.crop)
    if not made.is_run:
        _check_picture_target(made.jobs[0], args.format)
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


def _picture_name(suffix: str, source: Path) -> str:
    is_coded = source.suffix.lower() in CODED_SUFFIXES
    return (source.stem if is_coded else source.name) + suffix


def _check_picture_target(job: Job, asked: str | None) -> None:
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


def inspect(args: argparse.Namespace) -> None:
    """The header and chunk table of a file."""
    from dictco_lib.bitstream import Flag, unpack
    from dictco_lib.checkpoints import fingerprint, load, shipped_models

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
    print(f"  model    {container.fingerprint.hex()} ({name})")
    print(f"  flags    {', '.join(flags)}")
    print(f"  tiles    {'one' if not container.tile else f'{16 * container.tile} pixels a side'}")
    print(f"\n  {'chunk':10} {'bytes':>9} {'bits':>10} {'bpp':>8} {'share':>7}")
    rows = [("header", container.header_bytes)]
    rows += [(chunk.label, len(chunk.data)) for chunk in container.chunks]
    for label, size in rows:
        share = size / len(data)
        print(f"  {label:10} {size:9} {8 * size:10} {8 * size / pixels:8.4f} {share:7.1%}")
