"""Decode a .dco file with numpy, onnxruntime and constriction: no torch, no dictco_lib.

    pip install numpy onnxruntime constriction
    python decode_onnx.py photo.dco photo.png

It reads the graphs and tables of the folder that it lies in, which ``dictco export MODEL FOLDER
--onnx`` made. The symbols are those of the encoder, as the file's checksums prove; a pixel may
differ by one level from ``dictco decompress``. EXIF data is left out, and named; files made with
``--fast`` and old ones with alpha as PNG are refused.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

import constriction
import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
NUMBERS = json.loads((HERE / "model.json").read_text())
TABLES = np.load(HERE / "tables.npz")
KIND, FLAG, STRIDE = NUMBERS["chunks"], NUMBERS["flags"], NUMBERS["y_stride"]
QUEUE, MODELS = constriction.stream.queue, constriction.stream.model
sessions = {}


class BadFile(Exception):
    """The file is damaged, of another model, or holds what this script does not decode."""


def need(ok, message):
    """Raise BadFile unless something holds."""
    if not ok:
        raise BadFile(message)


def run(name, **inputs):
    """Run one graph: its outputs, or the only one."""
    if name not in sessions:
        sessions[name] = onnxruntime.InferenceSession(
            str(HERE / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
    found = sessions[name].run(None, inputs)
    return found if len(found) > 1 else found[0]


def read(data):
    """Header and chunks, by type, of a .dco file; dictco_lib/bitstream.py describes its layout."""
    at = 0

    def take(n):
        nonlocal at
        need(at + n <= len(data), "the file ends early")
        at += n
        return data[at - n : at]

    def varint():
        value = shift = 0
        while True:
            (byte,) = take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            need(shift <= 35, "a number in the header has more than 5 bytes")
            if byte < 0x80:
                return value

    need(take(4) == b"DCO\x1a", "this is no .dco file")
    need(take(1) == b"\x01", "another version of the format")
    own = bytes.fromhex(NUMBERS["fingerprint"])
    need((made_by := take(8)) == own, f"made by model {made_by.hex()}, this is {own.hex()}")
    width, height = varint(), varint()
    quality, flags = struct.unpack("<HB", take(3))
    tile, count = varint(), varint()
    need(0 < width < 2**16 and 0 < height < 2**16 and count <= 2**16, "impossible sizes")
    table = [(take(1)[0], varint(), take(4)) for _ in range(count)]
    need(struct.pack("<I", zlib.crc32(data[:at])) == take(4), "BadChecksum: of the header")
    chunks = {}
    for kind, length, crc in table:
        chunks.setdefault(kind, []).append(take(length))
        need(struct.pack("<I", zlib.crc32(chunks[kind][-1])) == crc, "BadChecksum: of a chunk")
    need(at == len(data), "bytes follow the last chunk")
    need(not flags & FLAG["fast"], "made with --fast: only its own software and machine read it")
    quality = None if quality == 0xFFFF else quality / 100
    need((quality is None) == (NUMBERS["levels"] == 0), "the quality does not fit the model")
    return width, height, quality, flags, tile, chunks


def symbols_of(data, indexes, name, what, expected):
    """Flat int32 symbols, each with the table of its index, proved by their checksum."""
    widths = TABLES[f"{name}_half_widths"]
    tables = np.split(TABLES[f"{name}_frequencies"], np.cumsum(2 * widths + 2)[:-1])
    decoder = QUEUE.RangeDecoder(np.frombuffer(data, "<u4"))
    order = np.argsort(indexes, kind="stable")
    values, escaped = [], []
    for index, n in zip(*np.unique(indexes, return_counts=True), strict=True):
        probabilities = tables[index] / 2 ** NUMBERS["precision"]
        coded = decoder.decode(MODELS.Categorical(probabilities, perfect=False), int(n))
        values.append(coded - widths[index])
        escaped.append(coded == 2 * widths[index] + 1)
    values, escaped = np.concatenate(values), np.concatenate(escaped)
    if count := int(escaped.sum()):  # how many digits, signs, digits: see streams.py
        digits = decoder.decode(MODELS.Uniform(32), count)
        need(digits.min() > 0, f"BadChecksum: {what} was read with other scales")
        sign = 1 - 2 * decoder.decode(MODELS.Uniform(2), count).astype(np.int64)
        excess = np.zeros(count, np.int64)
        for n in np.unique(digits):
            for low in range(0, n, 16):
                part = decoder.decode(
                    MODELS.Uniform(2 ** min(n - low, 16)), int((digits == n).sum())
                )
                excess[digits == n] += part.astype(np.int64) << low
        values[escaped] = sign * (excess + widths[indexes[order][escaped]])
    symbols = np.empty(len(values), np.int32)
    symbols[order] = values
    got = zlib.crc32(symbols.astype("<i4").tobytes()) & 0xFFFF
    need(got == expected, f"BadChecksum: {what} was read with other scales, or is damaged")
    return symbols


def latent_of(z, slices, sums, guard, level, shape):
    """y_hat of one tile, (1, M, h, w), in float64: all that a decoder repeats of the encoder."""
    n, (h, w) = NUMBERS["N"], (side // 4 for side in shape)
    symbols = symbols_of(z, np.repeat(np.arange(n), h * w), "z", "z", sums[0])
    z_hat = symbols.reshape(1, n, h, w) + TABLES["medians"].reshape(1, n, 1, 1)
    if level is not None:
        places = level.shape[1:]  # of one level, or of each place of y
        coarse = level if places == (1, 1) else level.reshape(1, h, 4, w, 4).mean((2, 4))
        z_hat = z_hat * run("gains", level=coarse)[3]
    scales, means = run("h_scale", z_hat=z_hat), run("h_mean", z_hat=z_hat)
    y_hat = []
    for k, seen in enumerate(NUMBERS["seen_slices"]):
        earlier = {"earlier": np.concatenate(y_hat[:seen], 1)} if seen else {}
        mean, scale, support = run(f"predict_{k}", scales=scales, means=means, **earlier)
        log_scales = np.log(np.maximum(scale, NUMBERS["scale_min"])).ravel()
        bins = np.searchsorted(TABLES["log_edges"], log_scales)
        listed = guard[guard["slice"] == k]  # bins that another machine might see otherwise
        need((listed["index"] < bins.size).all(), "the guard names a symbol that is not there")
        need((abs(bins[listed["index"]] - listed["bin"]) <= 1).all(), "the guard moves a bin far")
        bins[listed["index"]] = listed["bin"]
        symbols = symbols_of(slices[k], bins, "y", f"slice {k}", sums[k + 1])
        y_bar = symbols.reshape(mean.shape) + mean
        y_hat.append(run(f"refine_{k}", support=support, y_bar=y_bar))
    y_hat = np.concatenate(y_hat, 1)
    return y_hat if level is None else y_hat * run("gains", level=level)[1]


def boxes_of(shape, tile):
    """Top, left, bottom, right of every tile, row by row."""
    rows, columns = (range(0, side, tile or side) for side in shape)
    bottom, right = ((tile or side) for side in shape)
    return [
        (y, x, min(y + bottom, shape[0]), min(x + right, shape[1])) for y in rows for x in columns
    ]


def plane_of(data, height, width):
    """A plane of bytes that is kept without loss: differences along the rows, deflated."""
    need(data[:4] != b"\x89PNG", "alpha is a PNG, as the first files had it")
    steps = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, width)
    return np.cumsum(steps, axis=1, dtype=np.uint8)


def pixels_of(y_hat):
    """g_s, in blocks that see their surroundings: (3, 16 H, 16 W)."""
    halo, (height, width) = NUMBERS["halo"], y_hat.shape[2:]
    x_hat = np.empty((3, STRIDE * height, STRIDE * width), np.float32)
    side = 0 if height * width <= NUMBERS["tile"] ** 2 * 3 // 2 else NUMBERS["tile"]
    for top, left, bottom, right in boxes_of((height, width), side):
        y, x = max(0, top - halo), max(0, left - halo)
        block = run("g_s", y_hat=y_hat[:, :, y : bottom + halo, x : right + halo])[0]
        inner = block[:, STRIDE * (top - y) :, STRIDE * (left - x) :]
        rows, columns = slice(STRIDE * top, STRIDE * bottom), slice(STRIDE * left, STRIDE * right)
        size = STRIDE * (bottom - top), STRIDE * (right - left)
        x_hat[:, rows, columns] = inner[:, : size[0], : size[1]]
    return x_hat


def decode(data):
    """Samples of a .dco file, (H, W, channels) uint8 or uint16, and its colour profile or None."""
    width, height, quality, flags, tile, chunks = read(data)
    shape = tuple(-(-side // NUMBERS["z_stride"]) * 4 for side in (height, width))
    boxes = boxes_of(shape, tile)
    streams = [chunks.get(KIND["slice"] + k, []) for k in range(len(NUMBERS["groups"]))]
    guards = chunks.get(KIND["guard"], [b""] * len(boxes))
    zs, sums = chunks.get(KIND["z"], []), np.frombuffer(chunks[KIND["sums"]][0], "<u2")
    need(all(len(part) == len(boxes) for part in (*streams, guards, zs)), "tiles are missing")
    sums = sums.reshape(len(boxes), len(streams) + 1)
    plane = None
    if KIND["map"] in chunks:  # of qualities, where they vary by place
        plane = plane_of(chunks[KIND["map"]][0], *shape).astype(float)
        plane[plane == NUMBERS["elsewhere"]] = quality
    record = np.dtype([("slice", "u1"), ("index", "<u4"), ("bin", "u1")])
    y_hat = np.empty((1, NUMBERS["M"], *shape), np.float32)
    for t, (top, left, bottom, right) in enumerate(boxes):
        level = None
        if quality is not None:
            here = np.full((1, 1), quality) if plane is None else plane[top:bottom, left:right]
            level = here[None] / 100 * (NUMBERS["levels"] - 1)
        tile_shape = bottom - top, right - left
        guard = np.frombuffer(guards[t], record)
        part = latent_of(zs[t], [s[t] for s in streams], sums[t], guard, level, tile_shape)
        y_hat[:, :, top:bottom, left:right] = part
    x = np.clip(pixels_of(y_hat)[:, :height, :width], 0, 1)
    if flags & FLAG["sixteen_bit"]:
        samples = np.rint(x.mean(0, np.float64) * 65535).astype(np.uint16)[..., None]
    else:
        x = x.mean(0, keepdims=True) if flags & FLAG["grey"] else x
        samples = np.rint(x * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)
        samples = np.repeat(samples, 3, 2) if flags & FLAG["equal"] else samples
    if KIND["alpha"] in chunks:
        alpha = plane_of(chunks[KIND["alpha"]][0], height, width)
        samples = np.concatenate([samples, alpha[..., None]], 2)
    if KIND["exif"] in chunks:
        print("note: EXIF data is left out", file=sys.stderr)
    return samples, chunks.get(KIND["profile"], [None])[0]


def png(samples, profile):
    """A PNG file of samples, with a profile that is deflated already."""
    height, width, channels = samples.shape

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour, 0, 0, 0)
    space = b"RGB " if colour & 2 else b"GRAY"
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (1, 0)))  # a row's filter: none
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    if profile and zlib.decompress(profile)[16:20] == space:
        parts.append(chunk(b"iCCP", b"profile\0\0" + profile))
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = map(Path, sys.argv[1:])
    try:
        need(not target.exists(), f"{target} exists, and nothing is replaced: give another name")
        image = png(*decode(source.read_bytes()))
        with target.open("xb") as file:
            file.write(image)
    except (BadFile, OSError, KeyError, ValueError, zlib.error) as error:
        sys.exit(f"{source}: {type(error).__name__}: {error}")
