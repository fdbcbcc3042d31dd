"""What a curve was measured on and how: what must agree before two curves are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dictco_lib.errors import CurveError
from dictco_lib.evaluation.report import listed


@dataclass(frozen=True)
class Shot:
    """What is known of an image: its size, and the digest of its pixels, or None."""

    size: tuple[int, int] | None = None
    sha256: str | None = None

    def is_other(self, shot: Shot) -> bool:
        """Whether this is certainly another image."""
        sizes, digests = (self.size, shot.size), (self.sha256, shot.sha256)
        return (None not in sizes and len(set(sizes)) > 1) or (
            None not in digests and len(set(digests)) > 1
        )


@dataclass(frozen=True)
class Conditions:
    """What a file says of the measurement behind a curve; None is what it does not say.

    ``source`` names the file; ``images`` are those in the means, by name, ``left_out`` those
    that have no value of the metric, ``failed`` those that could not be measured; ``mode`` is
    ``real`` or ``estimated``, ``gates`` the rule that overruled the router; ``rate`` says what
    bpp count, ``space`` which colours the metric is of.
    """

    source: str = ""
    images: Mapping[str, Shot] | None = None
    left_out: Sequence[str] = field(default=())
    failed: Mapping[str, str] = field(default_factory=dict)
    mode: str | None = None
    gates: str | None = None
    rate: str | None = None
    space: str | None = None

    @property
    def is_digested(self) -> bool:
        """Whether the content of each image is known."""
        return bool(self.images) and all(shot.sha256 for shot in self.images.values())


@dataclass(frozen=True)
class Match:
    """Which images two measurements share: pairs of names, and names of the others."""

    pairs: list[tuple[str, str]]
    only_first: list[str]
    only_second: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether both are of the same images."""
        return not self.only_first and not self.only_second


def match(first: Conditions, second: Conditions) -> Match | None:
    """Pair the images of two measurements; None where one does not say its images.

    By content where both know it, under any name; else by name, where nothing says that the
    images differ.
    """
    if first.images is None or second.images is None:
        return None
    if first.is_digested and second.is_digested:
        left: dict[object, list[str]] = {}
        for name, shot in second.images.items():
            left.setdefault(shot.sha256, []).append(name)
        found = {}
        for name, shot in first.images.items():
            copies = left.get(shot.sha256, [])
            if copies:  # of several copies, the one of the same name
                found[name] = copies.pop(copies.index(name) if name in copies else 0)
    else:
        both = first.images.keys() & second.images.keys()
        alike = {n for n in both if not first.images[n].is_other(second.images[n])}
        found = {name: name for name in first.images if name in alike}
    taken = set(found.values())
    return Match(
        list(found.items()),
        [name for name in first.images if name not in found],
        [name for name in second.images if name not in taken],
    )


def check_images(first: Conditions, second: Conditions) -> None:
    """Raise CurveError where two measurements are certainly of other images."""
    if text := other_images(first, second):
        raise CurveError(
            f"{text}; such numbers say nothing of the codecs: measure both on one folder, or "
            "compare what they share with --common"
        )


def other_images(first: Conditions, second: Conditions) -> str | None:
    """How the images of two measurements differ, in a sentence; None if nothing says so."""
    found = match(first, second)
    if found is None or found.is_whole:
        return None
    changed = [name for name in found.only_first if name in found.only_second]
    parts = []
    if changed:
        parts.append(f"of one name but not the same: {listed(changed)}")
    for names, one, other in (
        (found.only_first, first, second),
        (found.only_second, second, first),
    ):
        alone = [name for name in names if name not in changed]
        failed = [name for name in alone if name in other.failed]
        lacking = [name for name in alone if name in other.left_out]
        rest = [name for name in alone if name not in (*failed, *lacking)]
        if rest:
            parts.append(f"{len(rest)} only in {one.source}: {listed(rest)}")
        if failed:
            parts.append(f"{len(failed)} failed in {other.source}: {listed(failed)}")
        if lacking:
            parts.append(f"{len(lacking)} without a value in {other.source}: {listed(lacking)}")
    return (
        f"{first.source} is of {len(first.images)} images and {second.source} of "
        f"{len(second.images)}, which are not the same ({'; '.join(parts)})"
    )


def unlike(first: Conditions, second: Conditions) -> list[str]:
    """Why two measurements of the same images may still not compare, one sentence a reason."""
    known = [c for c in (first, second) if c.source]
    if len(known) < 2:  # made by hand: its maker knows
        return []
    found = [f"{c.source} does not say its images, so they may be others" for c in known
             if c.images is None]  # fmt: skip
    pair = match(first, second)
    if pair and not (first.is_digested and second.is_digested):
        vague = " and ".join(c.source for c in known if not c.is_digested)
        found.append(f"the images agree in name only, for {vague} has no digests of them")
    modes = {c.mode for c in known}
    if modes == {"real", "estimated"}:
        real, estimated = sorted(known, key=lambda c: c.mode == "estimated")
        found.append(
            f"{real.source} holds bits of real files, {estimated.source} estimates, which leave "
            "out header, checksums and what the coder loses: a percent or so at low rates"
        )
    for c in known:
        if c.gates:
            found.append(f"{c.source} was measured with the router overruled ({c.gates})")
        if c.left_out:
            found.append(
                f"{c.source}: {len(c.left_out)} of {len(c.images or ()) + len(c.left_out)} "
                f"images have no such value and are left out: {listed(c.left_out)}"
            )
    if first.space != second.space:
        found += [
            f"{c.source} does not say of which colours its values are, the other one's are of RGB"
            for c in known
            if c.space is None
        ]
    if first.rate != second.rate:
        found += [
            f"{c.source} counts whole files, with profile and alpha of images that have them, "
            "and the other one colours alone: measure it anew"
            for c in known
            if c.rate is None and c.mode == "real"
        ]
    return found


def unlike_any(found: Sequence[Conditions]) -> list[str]:
    """What keeps several measurements from being compared at a glance, each said once."""
    known = [c for c in found if c.images is not None]
    pairs = [(known[0], c) for c in found if c is not known[0]] if known else []
    texts = []
    for first, second in pairs:
        if text := other_images(first, second):
            texts.append(f"{text}: their curves do not compare; see --common")
        texts += unlike(first, second)
    return list(dict.fromkeys(texts))
