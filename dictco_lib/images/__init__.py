"""Images <-> arrays: what a user's file means, and how it comes back. Knows no model."""

from dictco_lib.images.formats import looks_like_image, readable_formats
from dictco_lib.images.image_data import ImageData, blank, eight_bit, rounded, to_pil, to_uint8
from dictco_lib.images.planes import inflate, pack_plane, unpack_plane
from dictco_lib.images.reading import demo_images, image_size, read_aloud, read_image
from dictco_lib.images.search import find_files, find_images
from dictco_lib.images.writing import output_format, save_image, write_image

__all__ = [
    "ImageData",
    "blank",
    "demo_images",
    "eight_bit",
    "find_files",
    "find_images",
    "inflate",
    "looks_like_image",
    "output_format",
    "pack_plane",
    "image_size",
    "read_aloud",
    "read_image",
    "rounded",
    "readable_formats",
    "save_image",
    "to_pil",
    "to_uint8",
    "unpack_plane",
    "write_image",
]
