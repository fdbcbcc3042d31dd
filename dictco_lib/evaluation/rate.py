"""What a rate is: one rule for files of ours, estimates and classical codecs.

The rate of a report is the image's: the bits that its colours take. Colour profile, alpha plane
and metadata are no part of it, for classical codecs are handed the colours alone and likelihoods
know nothing else; what they take in a file is told beside the rate, as ``extra_bytes``.
"""

from __future__ import annotations

from dataclasses import replace

from dictco_lib.bitstream import MAGIC, ChunkType, pack, unpack

#: Said in every report whose ``bpp`` follow this rule.
RULE = "bits of the colours per pixel, without profile, alpha and metadata"
#: What a .dco file needs for its colours; every other chunk lies beside them.
_COLOURS = (ChunkType.Z, ChunkType.GUARD, ChunkType.SUMS, ChunkType.MAP)


def rate(size: tuple[int, int], coded: bytes | float) -> dict[str, float]:
    """The columns of a report that say what an image costs.

    Args:
        size: width and height in pixels.
        coded: a file, whole as it is; or bits estimated from likelihoods, which know of no header
            and no checksums.

    Returns:
        ``bpp``, bits of the colours per pixel; of a file also ``bytes``, all of it, and
        ``extra_bytes``, those of profile, alpha and metadata with their rows in the table.
    """
    pixels = size[0] * size[1]
    if not isinstance(coded, bytes):
        return {"bpp": coded / pixels}
    own = colour_bytes(coded)
    return {"bytes": len(coded), "extra_bytes": len(coded) - own, "bpp": 8 * own / pixels}


def colour_bytes(file: bytes) -> int:
    """Size of the file that the colours alone would make.

    A .dco file is packed again without the chunks beside them: header, z, slices, guard, map
    and checksums are left. Any other file is taken for one that was made without metadata.
    """
    if not file.startswith(MAGIC):
        return len(file)
    container = unpack(file)
    kept = [c for c in container.chunks if c.type in _COLOURS or c.type >= ChunkType.SLICE]
    return len(pack(replace(container, chunks=kept)))
