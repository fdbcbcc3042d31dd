"""data: public sets of photographs."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from dictco_lib.commands.options import Declare
from dictco_lib.errors import DatasetError
from dictco_lib.files import check_writable
from dictco_lib.progress import bar


def add_data(command: Declare) -> None:
    """Declare ``data``."""
    sub = command(
        "data", data, "list, fetch and check public sets of photographs",
        "list", "kodak --to build/data/kodak", "kodak --to my_kodak --check",
    )  # fmt: skip
    sub.add_argument("set", metavar="SET", nargs="?", default="list", help="its name, or list")
    sub.add_argument("--to", metavar="DIR", help="its folder; default build/data/SET")
    sub.add_argument("--check", action="store_true", help="fetch nothing, only look")


def data(args: argparse.Namespace) -> None:
    """List public sets, fetch one, or check what lies in a folder."""
    from dictco_lib import datasets

    if args.set == "list":
        for name, public in datasets.public_sets().items():
            print(f"{name:12} {public.bytes / 1e6:7.0f} MB  {public.what}")
            print(f"{'':24}{public.page}; {public.terms}")
            print(f"{'':24}SHA-256: {public.checksums}")
        return
    public = datasets.find_set(args.set)
    folder = Path(args.to or Path("build", "data", public.name))
    if not args.check:
        check_writable(folder, "folder")
        with bar(total=public.bytes, unit="B", unit_scale=True) as shown:
            datasets.fetch(public, folder, shown.update)
    states = datasets.check(public, folder)
    counts = Counter(states.values())
    print(f"{folder}: {counts['right']} of {len(states)} files are there and right")
    bad = [f"{name} is {state}" for name, state in states.items() if state != "right"]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DatasetError(
            f"{'; '.join(bad[:5])}{more}. `dictco data {public.name} --to {folder}` fetches them. "
            + datasets.by_hand(public, folder)
        )
