"""What was right in a notebook, by exercise: printed, and saved for whoever collects it."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from dictco_lib.book.checks.checker import RECORDS, Record
from dictco_lib.errors import DictcoError, OutputError, printable
from dictco_lib.files import read_json, write_atomic

#: What a saved report says it is; a file that does not is none of ours, and stays.
KIND = "exercises of the DictCO workbook"
_MARKS = {"right": "+", "wrong": "-", "not done": "."}


def report(path: str | os.PathLike | None = None) -> dict:
    """Print which exercises of this notebook are right, and save it as JSON.

    It never raises: what could not be saved is said.

    Args:
        path: of the file, or a folder for it; ``report_TOPIC.json`` in the working folder without
            it, with what the names of the notebook's exercises share.

    Returns:
        What was saved: the number of exercises that are ``right``, ``of`` how many, and for each
        its ``state`` (right, wrong, not done), the checker's ``words`` and the number of ``tries``.
        Exercises of the notebook whose checks did not run are not done.
    """
    groups = sorted({_group(name) for name, record in RECORDS.items() if record.is_run})
    records = {name: record for name, record in RECORDS.items() if _group(name) in groups}
    found = _told(records)
    if not records:
        print("no exercise was checked yet: run the cells of the exercises, then this one again")
        return found
    for name, entry in found["exercises"].items():
        print(f"{_MARKS[entry['state']]} {name}: {entry['words'] or 'not run yet'}")
    print(f"{found['right']} of {found['of']} are right")
    _save(found, path, f"report_{'_'.join(groups)}.json")
    return found


def _group(name: str) -> str:
    """What the names of a notebook's exercises share: bitstream of ex_bitstream_2."""
    return name.removeprefix("ex_").rpartition("_")[0]


def _told(records: dict[str, Record]) -> dict:
    counts = Counter(record.state for record in records.values())
    exercises = {
        name: {
            "state": record.state,
            "words": printable(record.words, 500),
            "tries": record.tries,
        }
        for name, record in sorted(records.items())
    }
    return {"kind": KIND, "right": counts["right"], "of": len(records), "exercises": exercises}


def _save(found: dict, path: str | os.PathLike | None, name: str) -> None:
    try:
        target = Path(path or name)
        target = target / name if target.is_dir() else target
        _check_is_ours(target)
        write_atomic(target, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"saved as {target}")
    except Exception as error:  # nothing that a learner gives may end the cell
        print(f"not saved: {error}")


def _check_is_ours(path: Path) -> None:
    if not path.exists():
        return
    try:
        is_ours = read_json(path, DictcoError, "").get("kind") == KIND
    except (DictcoError, AttributeError):
        is_ours = False
    if not is_ours:
        raise OutputError(f"{path} is no report of exercises and would be lost; give another name")
