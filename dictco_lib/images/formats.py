"""Which files are pictures: the one list that reading, protecting and searching go by."""

from __future__ import annotations

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif", ".avif"}
