"""The log of a run, read again: one JSON object per line, as the loop wrote it."""

from __future__ import annotations

from pathlib import Path

from dictco_lib.errors import DictcoError, foreign, quoted
from dictco_lib.files import parse_json

_TRAIN = {"kind", "step", "loss", "bpp", "psnr"}
_MAX_LINE = 2**16
_ADVICE = "remove it, or give a log.jsonl that `dictco train` wrote"


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
    with foreign(f"{path} cannot be read", DictcoError, _ADVICE), path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            row = parse_entry(line)
            if row is None:
                raise DictcoError(
                    f"line {number} of {path} is no entry of a training log: {quoted(line)}; "
                    f"{_ADVICE}"
                )
            rows.append(row)
    return rows


def parse_entry(line: str | bytes) -> dict | None:
    """The entry of a line of a log; None for one that is none, perhaps cut off by a kill."""
    if len(line) > _MAX_LINE:
        return None
    try:
        row = parse_json(line, "a line", DictcoError, _ADVICE)
    except DictcoError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        return None
    needed = _TRAIN if row["kind"] == "train" else {"step"}
    numbers = [row.get(key) for key in needed if key != "kind"]
    are_numbers = all(type(value) in (int, float) for value in numbers)
    return row if are_numbers and type(row["step"]) is int and 0 <= row["step"] < 2**53 else None
