"""Mutated files against the readers: every outcome is a right result or a named error.

    python tests/fuzz.py --inputs 100000 --seed 0

Inputs are real files of all kinds, mutated by bytes and by structure, with their checksums made
anew so that the damage gets past them. Each runs in a worker process with a limit of memory; one
that takes too long, ends the worker, or raises anything but a ``DictcoError`` is kept in
``--keep`` and named.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import multiprocessing
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

SECONDS = 20  # of the processor for an input; the slowest right one takes a few
MEGABYTES = 1500  # that an input may add to the process


class Case(NamedTuple):
    """A kind of file: samples, what reads one, and a mutation that knows its structure."""

    samples: list[bytes]
    read: Callable[[bytes], object]
    mutate: Callable[[random.Random, bytes], bytes]


def flip(chance: random.Random, data: bytes) -> bytes:
    """Change, cut, repeat, insert or swap bytes, a few times."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(out) + 1)
        what = chance.randrange(6)
        if what == 0 and out:
            out[at % len(out)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif what == 1 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif what == 2:
            del out[at : at + chance.choice((1, 4, 64, len(out)))]
        elif what == 3:
            out[at:at] = chance.randbytes(chance.choice((1, 4, 64)))
        elif what == 4:
            part = bytes(out[at : at + chance.choice((1, 8, 200))])
            out[at:at] = part * chance.choice((1, 2, 50))
        else:
            other = chance.randrange(len(out) + 1)
            out[at : at + 8] = out[other : other + 8]
    return bytes(out)


def splice_text(chance: random.Random, data: bytes) -> bytes:
    """Put values that parsers trip over where a text has words and numbers."""
    hard = (
        b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"1" * 400, b"[]", b"{}", b"[" * 5000,
        b'{"a":' * 5000, b'"\\ud800"', b'"\x1b[31m"', b"\xff\xfe", b"\xef\xbb\xbf", b"2000-01-01",
        b'"' + b"x" * 5000 + b'"', b"1000000000", b"10000000000000000000000", b"nan", b"inf",
    )  # fmt: skip
    words = data.replace(b",", b" ,").split(b" ")
    for _ in range(chance.choice((1, 1, 2, 4))):
        words[chance.randrange(len(words))] = chance.choice((*hard, chance.choice(words)))
    text = b" ".join(words)
    return flip(chance, text) if chance.random() < 0.2 else text


def mutate_dco(chance: random.Random, data: bytes) -> bytes:
    """Damage the parts of a .dco file and pack it again, CRCs and all."""
    from dictco_lib import bitstream
    from dictco_lib.bitstream import Chunk, ChunkType, unpack

    if chance.random() < 0.15:
        return flip(chance, data)
    box = unpack(data)
    for _ in range(chance.choice((1, 1, 2))):
        chunks = box.chunks
        i = chance.randrange(len(chunks))
        what = chance.randrange(12)
        if what <= 4:  # most of all: bytes of a chunk
            chunks[i] = replace(chunks[i], data=flip(chance, chunks[i].data))
        elif what == 5:
            chunks[i] = replace(chunks[i], data=chunks[i].data + bytes(chance.choice((1, 4, 8))))
        elif what == 6 and len(chunks) > 1:
            del chunks[i]
        elif what == 7:
            chunks.insert(chance.randrange(len(chunks) + 1), chunks[i])
        elif what == 8:
            j = chance.randrange(len(chunks))
            chunks[i], chunks[j] = chunks[j], chunks[i]
        elif what == 9:
            kind = chance.choice((*ChunkType, 7, 9, 17, 60, 255))
            chunks[i] = Chunk(int(kind), chunks[i].data)
        elif what == 10:
            box.flags ^= 1 << chance.randrange(8)
            box.quality = chance.choice((box.quality, None, 0.0, 100.0, 655.34, 33.33))
        else:
            side = chance.choice((1, 16, 63, 64, 65, 300, 5000, 16384, 65536, 2**20))
            box.width = chance.choice((box.width, side, box.width + 1))
            box.height = chance.choice((box.height, side, box.height + 64))
            box.tile = chance.choice((box.tile, 0, 4, 8, 64, 128, 5, 2**30))
        if not chunks:
            return data
    original, bitstream._check_header = bitstream._check_header, lambda *values: None
    try:
        return bitstream.pack(box)
    except struct.error:  # a quality that its field cannot hold
        return data
    finally:
        bitstream._check_header = original


def mutate_safetensors(chance: random.Random, data: bytes) -> bytes:
    """Damage the table of a safetensors file, and write its length anew."""
    if chance.random() < 0.2:
        return flip(chance, data[: 8 + 2000]) + data[8 + 2000 :]
    length = int.from_bytes(data[:8], "little")
    head, body = data[8 : 8 + length], data[8 + length :]
    if chance.random() < 0.5:
        table = json.loads(head)
        key = chance.choice(list(table))
        if key == "__metadata__":
            part = chance.choice(list(table[key]))
            text = splice_text(chance, table[key][part].encode()).decode("latin-1")
            table[key][part] = text
        else:
            field = chance.choice(list(table[key]))
            table[key][field] = chance.choice(
                ([], [0, 0], [0, 2**60], [2**40, 2**40], "F16", "F4", "C64", -1, None, [1] * 999)
            )
        head = json.dumps(table).encode()
    else:
        head = splice_text(chance, head)
    return len(head).to_bytes(8, "little") + head + body


def mutate_torch(chance: random.Random, data: bytes) -> bytes:
    """Damage the pickle of a torch file, and write the archive with its checksums anew."""
    if not zipfile.is_zipfile(io.BytesIO(data)) or chance.random() < 0.2:
        return flip(chance, data)
    out = io.BytesIO()
    kind = chance.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", kind) as new:
        for name in old.namelist():
            part = old.read(name)
            if name.endswith("data.pkl"):
                sizes = (
                    b"K\x01",
                    b"K\x02",
                    b"J\xff\xff\xff\x7f",
                    b"M\xff\xff",
                    b"K\x00",
                    b")",
                    b"N",
                )
                for _ in range(chance.choice((1, 1, 3))):
                    at = chance.randrange(len(part))
                    part = part[:at] + chance.choice(sizes) + part[at + chance.randrange(4) :]
                part = flip(chance, part) if chance.random() < 0.3 else part
            elif chance.random() < 0.02:
                part = flip(chance, part)
            new.writestr(name, part)
    return out.getvalue()


def _dco_case(model) -> Case:
    from dictco_lib import encode
    from dictco_lib.bitstream import Chunk, ChunkType, pack, unpack
    from dictco_lib.coding import decode
    from dictco_lib.entropy.guard import GuardedBin, pack_guard

    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(0, 256, (9, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    rgba = Image.fromarray(np.dstack([photo, photo[:, :, 0]]))
    rgba.info["icc_profile"] = b"profile" * 20
    exif = Image.Exif()
    exif[0x010E] = "a title"
    rgba.info["exif"] = exif.tobytes()
    deep = photo[:, :, 0].astype(np.uint16) * 257
    files = [
        encode(model, x, q).data for x, q in ((photo, 0), (photo[:, :, 0].copy(), 60), (deep, 90))
    ]
    files.append(encode(model, rgba, 30, metadata=True).data)
    files.append(encode(model, photo, 50, fast=True).data)
    files.append(encode(model, np.tile(photo, (2, 2, 1)), 20, tile=4).data)
    box = unpack(files[0])
    guard = pack_guard([GuardedBin(0, 3, 0), GuardedBin(2, 9, 0)])
    box.chunks.insert(1, Chunk(ChunkType.GUARD, guard))
    files.append(pack(box))
    png = io.BytesIO()
    Image.fromarray(photo[:, :, 0]).save(png, "PNG", icc_profile=b"profile" * 20)
    box = unpack(files[0])
    files.append(pack(replace(box, chunks=[*box.chunks, Chunk(ChunkType.ALPHA, png.getvalue())])))
    known = [(unpack(data), decode(model, data).tobytes()) for data in files]
    chance = random.Random(1)

    def read(data: bytes) -> None:
        if chance.random() < 0.2:
            decode(model, data, partial=True)
            return
        image, box = decode(model, data), unpack(data)
        assert image.size == (box.width, box.height)
        assert pack(box) == data, "bytes that mean nothing"
        for same, pixels in known:
            assert same != box or pixels == image.tobytes(), "another image"

    return Case(files, read, mutate_dco)


def _plain_case(model) -> Case:
    from dictco_lib.plain import decode_plain, encode_plain

    photo = np.random.default_rng(0).integers(0, 256, (40, 70, 3)).astype(np.uint8)
    return Case([encode_plain(model, photo)], lambda data: decode_plain(model, data), flip)


def _file_case(samples: list[bytes], load: Callable[[Path], object], suffix: str, mutate) -> Case:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))

    def read(data: bytes) -> None:
        path = folder / f"input{suffix}"
        path.write_bytes(data)
        load(path)

    return Case(samples, read, mutate)


def _weights_cases(model, fixed) -> dict[str, Case]:
    from dictco_lib.checkpoints import (
        load_checkpoint,
        load_published,
        save_checkpoint,
        to_published,
    )

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    save_checkpoint(model, folder / "a.safetensors", info={"steps": 3})
    torches = []
    for is_new in (True, False):
        torch.save(
            {"epoch": 3, "state_dict": to_published(fixed)},
            folder / "a.pth",
            _use_new_zipfile_serialization=is_new,
        )
        torches.append((folder / "a.pth").read_bytes())
    ours = [(folder / "a.safetensors").read_bytes()]
    return {
        "safetensors": _file_case(ours, load_checkpoint, ".safetensors", mutate_safetensors),
        "torch": _file_case(torches, load_published, ".pth", mutate_torch),
    }


def _text_cases() -> dict[str, Case]:
    from dictco_lib.evaluation.curves import load_curve, load_per_image
    from dictco_lib.files import data_file
    from dictco_lib.training.log import read_log
    from dictco_lib.training.recipe import load_recipe

    def curves(path: Path) -> None:
        load_curve(path)
        load_curve(path, "MS-SSIM")
        load_per_image(path)

    points = {
        "bpp": [0.1, 0.2, 0.4],
        "psnr-rgb": [25.0, 27.5, 30],
        "ms-ssim-rgb": [0.9, 0.95, 0.99],
    }
    rows = [
        {"image": name, "bpp": b, "psnr": p, "ms-ssim": m, "quality": 1.0}
        for name in ("a.png", "b.png")
        for b, p, m in zip(*points.values(), strict=True)
    ]
    report = json.dumps({"name": "a", "results": points, "per_image": rows}).encode()
    entry = {"kind": "train", "step": 20, "seconds": 3.5, "loss": 1.5, "bpp": 0.5, "psnr": 25.0}
    log = b"".join(json.dumps(entry | {"step": 20 * i}).encode() + b"\n" for i in range(1, 5))
    log += b'{"kind": "validation", "step": 80, "seconds": 9.0, "loss": 1.4}\n'
    recipes = [data_file(f"{name}.toml").read_bytes() for name in ("nano",)]
    recipes.append(b'model = "nano"\ndata = ["a"]\nout = "b"\nsteps = 3\n[shape]\nexperts = 2\n')
    return {
        "report": _file_case([report], curves, ".json", splice_text),
        "log": _file_case([log], read_log, ".jsonl", splice_text),
        "recipe": _file_case(recipes, load_recipe, ".toml", splice_text),
    }


def _image_case() -> Case:
    from dictco_lib.images import read_image

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 4)).astype(np.uint8))
    samples = []
    for name, options in (
        ("PNG", {"icc_profile": b"profile" * 20}), ("TIFF", {}), ("WEBP", {}), ("GIF", {}),
        ("JPEG", {}), ("BMP", {}), ("PPM", {}), ("JPEG2000", {}), ("TGA", {}), ("QOI", {}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        is_plain = name in ("JPEG", "PPM", "BMP")
        try:
            (image.convert("RGB") if is_plain else image).save(buffer, name, **options)
        except (KeyError, OSError):  # this Pillow cannot write it
            continue
        samples.append(buffer.getvalue())
    return _file_case(samples, read_image, ".png", flip)


def cases() -> dict[str, Case]:
    """All kinds of files, by name."""
    from dictco_lib.config import DICTCO, NANO
    from dictco_lib.models import DictionaryCodec

    torch.manual_seed(0)
    model = DictionaryCodec(NANO).eval()
    model.update()
    small = {
        f.name: getattr(NANO, f.name)
        for f in fields(NANO)
        if f.name not in ("name", "experts", "top_k", "batch_norm", "lmbdas")
    }
    small |= {"blocks": (1, 1, 1)}
    fixed = DictionaryCodec(replace(DICTCO, **small)).eval()
    fixed.update()
    found = {"dco": _dco_case(model), "plain": _plain_case(fixed)}
    return found | _weights_cases(model, fixed) | _text_cases() | {"image": _image_case()}


def try_input(case: Case, data: bytes) -> str:
    """``right``, the name of the DictcoError, or ``!`` and what should not have happened."""
    from dictco_lib.errors import DictcoError

    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        case.read(data)
        outcome = "right"
    except DictcoError as error:
        text = str(error)
        is_clean = len(text) <= 2100 and text.replace("\n", " ").replace("\t", " ").isprintable()
        outcome = type(error).__name__ if is_clean else "!a message that is long or not printable"
        if "set `weights_only`" in text or "weights_only=False" in text:
            outcome = "!advice to trust the file"
    except BaseException as error:  # a panic of a Rust library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome = f"!{type(error).__name__}: {str(error)[:150]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > MEGABYTES:
        outcome = f"!{grown:.0f} MB"
    if (seconds := time.process_time() - start) > SECONDS:
        outcome = f"!{seconds:.0f} s"
    return outcome


def make_input(name: str, case: Case, seed: int, i: int) -> bytes:
    """Input i of a kind: the same for the same seed."""
    chance = random.Random(f"{seed} {name} {i}")
    return case.mutate(chance, chance.choice(case.samples))


#: How often each kind comes up in a hundred inputs: cheap ones more often.
WEIGHTS = {
    "dco": 20, "plain": 5, "safetensors": 10, "torch": 10, "report": 15, "log": 15, "recipe": 15,
    "image": 10,
}  # fmt: skip


def plan(inputs: int, only: str | None = None) -> list[tuple[str, int]]:
    """Kind and number of each input, the kinds mixed."""
    wheel = [name for name, n in WEIGHTS.items() for _ in range(n) if only in (None, name)]
    random.Random(0).shuffle(wheel)
    return [(wheel[i % len(wheel)], i) for i in range(inputs)]


def _begins(pipe) -> bool:
    try:
        return pipe.poll(600) and pipe.recv() == "ready"
    except EOFError:
        return False


def _work(seed: int, jobs: list[tuple[str, int]], pipe) -> None:
    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = None
    everything = cases()
    if (statm := Path("/proc/self/statm")).exists():  # torch maps much that it never touches
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**31, mapped + 2**31))
    pipe.send("ready")
    for name, i in jobs:
        data = make_input(name, everything[name], seed, i)
        pipe.send((name, i))
        end = int(time.process_time()) + 3 * SECONDS  # then the system ends the worker
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
        pipe.send(try_input(everything[name], data))
        if i % 200 == 0:
            gc.collect()
    pipe.send("done")


class Run:
    """Inputs in a worker that may die: what ends it is an outcome too."""

    def __init__(self, seed: int, keep: Path, every: int = 0) -> None:
        self.seed, self.keep, self.every, self.done = seed, keep, every, 0
        self.outcomes: dict[str, Counter] = {name: Counter() for name in WEIGHTS}
        self.wrong: list[tuple[str, int, str]] = []

    def go(self, jobs: list[tuple[str, int]]) -> None:
        """Work all off, with as many workers one after the other as it takes."""
        while jobs:
            done = self._one_worker(jobs)
            jobs = jobs[done:]

    def _one_worker(self, jobs: list[tuple[str, int]]) -> int:
        ours, theirs = multiprocessing.Pipe()
        worker = multiprocessing.get_context("spawn").Process(
            target=_work, args=(self.seed, jobs, theirs), daemon=True
        )
        worker.start()
        theirs.close()
        done = 0
        try:
            if not _begins(ours):
                raise SystemExit("the worker does not begin: see its traceback")
            while ours.recv() != "done":
                if not ours.poll(600):
                    raise EOFError
                self._note(*jobs[done], ours.recv())
                done += 1
        except EOFError:
            worker.kill()
            worker.join()
            self._note(*jobs[done], f"!ended the process ({worker.exitcode})")
            done += 1
        worker.join()
        return done

    def _note(self, name: str, i: int, outcome: str) -> None:
        self.outcomes[name][outcome] += 1
        self.done += 1
        if self.every and self.done % self.every == 0:
            print(f"{self.done} inputs, {len(self.wrong)} went wrong", flush=True)
        if outcome.startswith("!"):
            self.wrong.append((name, i, outcome))
            print(f"{name} {i}: {outcome[1:]}", flush=True)

    def write_reproducers(self) -> None:
        """Keep the inputs that went wrong; making them again needs the models."""
        if self.wrong:
            self.keep.mkdir(parents=True, exist_ok=True)
            everything = cases()
            for name, i, _ in self.wrong[:100]:
                data = make_input(name, everything[name], self.seed, i)
                (self.keep / f"{name}_{self.seed}_{i}").write_bytes(data)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(WEIGHTS))
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    args = parser.parse_args(arguments)
    run, start = Run(args.seed, args.keep, every=2000), time.perf_counter()
    try:
        run.go(plan(args.inputs, args.only))
    except KeyboardInterrupt:
        print("stopped")
    run.write_reproducers()
    for name, found in run.outcomes.items():
        print(f"{name:12}", ", ".join(f"{outcome} {n}" for outcome, n in found.most_common()))
    print(
        f"{run.done} inputs of seed {args.seed} in {time.perf_counter() - start:.0f} s, "
        f"{len(run.wrong)} went wrong"
    )
    return bool(run.wrong)


if __name__ == "__main__":
    sys.exit(main())
