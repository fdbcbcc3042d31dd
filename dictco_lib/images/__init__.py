"""Pictures <-> arrays: what a user's file means, and how it comes back. Knows no model."""

from dictco_lib.images.formats import looks_like_picture, readable_formats
from dictco_lib.images.picture import Picture, blank, eight_bit, rounded, to_pil, to_uint8
from dictco_lib.images.planes import inflate, pack_plane, unpack_plane
from dictco_lib.images.reading import demo_photos, picture_size, read_aloud, read_picture
from dictco_lib.images.search import find_files, find_pictures
from dictco_lib.images.writing import output_format, save_image, write_image

__all__ = [
    "Picture",
    "blank",
    "demo_photos",
    "eight_bit",
    "find_files",
    "find_pictures",
    "inflate",
    "looks_like_picture",
    "output_format",
    "pack_plane",
    "picture_size",
    "read_aloud",
    "read_picture",
    "rounded",
    "readable_formats",
    "save_image",
    "to_pil",
    "to_uint8",
    "unpack_plane",
    "write_image",
]
