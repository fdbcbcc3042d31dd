"""models: the members of the family in a table."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from dictco_lib.commands.options import Declare

if TYPE_CHECKING:
    from dictco_lib.evaluation.members import Member


def add_models(command: Declare) -> None:
    """Declare ``models``."""
    sub = command(
        "models", models, "list the members of the family: size, work, sight, paper, rates",
        "", "--json",
    )  # fmt: skip
    sub.add_argument("--json", action="store_true", help="all that is known, for machines")


def models(args: argparse.Namespace) -> None:
    """Presets of all members, what they need and give, and which weights ship."""
    from dictco_lib.evaluation.members import ANCHOR, SIZE, members

    if args.json:
        print(json.dumps([member.to_dict() for member in members()], indent=1))
        return
    anchor = ANCHOR.upper()
    print(f"{'':24} {'kMAC / pixel':^13} {'sees (pixels)':^13}")
    print(
        f"{'model':14} {'weights':>9} {'encode':>6} {'decode':>6} {'g_a':>6} {'g_s':>6} "
        f"{'slices':>6} {'rates':>5}  {'networks of':24} {'Kodak':22} {'to ' + anchor:>8}  ships"
    )
    papers: dict[str, list[str]] = {}
    for member in members():
        papers.setdefault(str(member.paper), []).append(member.name)
        print(_row(member), flush=True)
    width, height = SIZE
    print(
        f"kMAC: thousands of multiply-accumulates of convolutions and matrix products, for "
        f"{width}x{height}.\n"
        "sees: pixels across, by gradient, in a narrow model of the same kernels, windows and "
        "depth.\n"
        f"Kodak: the published point nearest to 34 dB, and BD-rate; {anchor} as CompressAI ran it."
    )
    for paper, names in papers.items():
        print(f"{', '.join(names)}: {paper}")


def _row(member: Member) -> str:
    seen = (member.analysis_sees, member.synthesis_sees)
    g_a, g_s = ("> 2048" if pixels is None else f"{pixels}" for pixels in seen)
    paper = f"{member.paper.authors} {member.paper.venue} {member.paper.year}".strip()
    point = rate = ships = "-"
    if member.points:
        bpp, psnr = member.points.typical
        point, rate = f"{psnr:.2f} dB at {bpp:.3f} bpp", f"{member.points.bd_rate:+.1f} %"
    if member.weights:
        ships = f"{member.weights.size / 1e6:.1f} MB, {member.weights.fingerprint}"
    rates = "all" if member.is_variable_rate else "one"
    return (
        f"{member.name:14} {member.parameters / 1e6:7.2f} M {member.encoder_macs / 1e3:6.1f} "
        f"{member.decoder_macs / 1e3:6.1f} {g_a:>6} {g_s:>6} {len(member.groups):6} {rates:>5}  "
        f"{paper:24} {point:22} {rate:>8}  {ships}"
    )
