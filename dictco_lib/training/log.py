"""The log of a run, read again: one JSON object per line, as the loop wrote it."""

from __future__ import annotations

import json
from pathlib import Path

from dictco_lib.errors import DictcoError

_TRAIN = {"kind", "step", "loss", "bpp", "psnr"}


def read_log(*paths: str | Path) -> list[dict]:
    """Entries of a log, or of several that are the parts of one training, in this order.

    The steps of a later part go on where the part before ended.

    Raises:
        DictcoError: if a file does not exist, or a line is no entry of a log; if nothing was
            trained.
    """
    rows: list[dict] = []
    for path in map(Path, paths):
        done = rows[-1]["step"] if rows else 0
        rows += [row | {"step": row["step"] + done} for row in _entries(path)]
    if not any(row["kind"] == "train" for row in rows):
        names = " and ".join(map(str, paths))
        raise DictcoError(f"{names}: no training steps; train longer than `log_every` steps")
    return rows


def _entries(path: Path) -> list[dict]:
    if not path.is_file():
        raise DictcoError(f"{path} is no file; give a log.jsonl that `dictco train` wrote")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            is_entry = (_TRAIN if row["kind"] == "train" else {"step"}) <= row.keys()
        except (ValueError, TypeError, KeyError):
            is_entry = False
        if not is_entry:
            raise DictcoError(
                f"line {number} of {path} is no entry of a training log: {line[:60]!r}; remove it, "
                "or give a log.jsonl that `dictco train` wrote"
            )
        rows.append(row)
    return rows
