"""Curves by file or by name: our reports, CompressAI's result files, and published ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from dictco_lib.errors import CurveError, foreign, quoted
from dictco_lib.evaluation.bdrate import Curve
from dictco_lib.evaluation.conditions import Conditions, Shot, match
from dictco_lib.evaluation.published import published, qualities
from dictco_lib.evaluation.rows import conditions_of, lacking, mean_points, points, rows_of
from dictco_lib.files import read_json

#: ``published:vtm`` names a curve of data/published_kodak.json where a file could stand.
PREFIX = "published:"


def _read(path: str | Path) -> dict:
    with foreign(f"{path} cannot be read", CurveError, "give a report"):
        is_there = Path(path).exists()
    if not is_there:
        raise CurveError(
            f"{path} does not exist; `dictco evaluate --out` and `dictco anchors --out` write "
            f"reports, and {PREFIX}vtm names a published curve"
        )
    data = read_json(
        path, CurveError, "`dictco evaluate --out` writes one", f"{path} holds no RD curve: it"
    )
    results = data.get("results", data) if isinstance(data, dict) else None
    if not isinstance(results, dict) or "bpp" not in results or qualities(results, "PSNR") is None:
        raise CurveError(
            f"{path} holds no RD curve; expected JSON with results.bpp and results.psnr-rgb, as "
            "`dictco evaluate --out` writes it"
        )
    rows = data.get("per_image") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CurveError(
            f"{path}: a row of per_image lacks image, bpp or psnr: per_image is {quoted(rows)}"
        )
    return data


def load_curve(
    spec: str | Path, metric: str = "PSNR", only: Collection[str] | None = None
) -> Curve:
    """The curve of a report, of a CompressAI result file, or of ``published:NAME``.

    Its means are over the images that have the metric at every quality, rate and dB alike;
    ``conditions`` of the curve names them and the others.

    Args:
        spec: a file, or ``published:`` and a name.
        metric: ``PSNR``, ``MS-SSIM`` for a curve of MS-SSIM in dB, or ``SSIMULACRA 2``.
        only: names of the images to take the means of, where the file has their rows.

    Raises:
        CurveError: if there is none, or it is damaged.
    """
    if _is_published(spec):
        if only is not None:
            raise CurveError(f"{spec} holds means of all its images only; leave out --common")
        return published(str(spec)[len(PREFIX) :], metric)
    data = _read(spec)
    results = data.get("results", data)
    name = str(data.get("name", Path(spec).stem))
    values, rows = qualities(results, metric), rows_of(data, str(spec))
    left_out = lacking(rows, metric)
    conditions = conditions_of(data, str(spec), metric, left_out, only)
    if only is not None or left_out and conditions.images:
        if not rows:
            raise CurveError(f"{spec} holds means only, no rows of single images")
        bpp, values = mean_points(rows, metric, conditions.images, str(spec))
        return Curve(name, bpp, values, metric=metric, conditions=conditions)
    if values is None:
        raise CurveError(_without(spec, metric, rows))
    return Curve(name, results["bpp"], values, metric=metric, conditions=conditions)


def load_curves(specs: list[str], metric: str = "PSNR", *, common: bool = False) -> list[Curve]:
    """Several curves; with ``common``, means over the images that all of them have.

    Raises:
        CurveError: if one cannot be loaded, or has no rows where its means must be made anew.
    """
    curves = [load_curve(spec, metric) for spec in specs]
    names = common_images([curve.conditions for curve in curves]) if common else None
    if names is None:
        return curves
    return [
        curve if len(own) == len(curve.conditions.images) else load_curve(spec, metric, only=own)
        for spec, curve, own in zip(specs, curves, names, strict=True)
    ]


def common_images(found: list[Conditions]) -> list[list[str]]:
    """The names that the images common to all measurements have in each.

    Raises:
        CurveError: if there are none, or a measurement does not say its images.
    """
    first, *others = found
    for one in found:
        if one.images is None:
            raise CurveError(f"{one.source} does not say its images, so none are common to it")
    pairs = [dict(match(first, other).pairs) for other in others]
    names = [name for name in first.images if all(name in pair for pair in pairs)]
    if not names:
        raise CurveError(f"{' and '.join(c.source for c in found)} have no image in common")
    return [names, *([pair[name] for name in names] for pair in pairs)]


def load_points(
    anchor: str | Path, test: str | Path, metric: str = "PSNR"
) -> tuple[np.ndarray, np.ndarray]:
    """Rates and qualities of the images that two reports share, each (points, images, 2).

    The images are in the same order in both; ``metric`` is as for :func:`load_curve`, MS-SSIM is
    linear. For :func:`~dictco_lib.evaluation.bootstrap.bootstrap`.

    Raises:
        CurveError: if one has no rows of single images, or they share none.
    """
    specs = str(anchor), str(test)
    rows = [[] if _is_published(spec) else rows_of(_read(spec), spec) for spec in specs]
    if bare := [spec for spec, own in zip(specs, rows, strict=True) if not own]:
        raise CurveError(
            f"{bare[0]} holds means only, no rows of single images, so none can be drawn from it; "
            "`dictco evaluate --out` and `dictco anchors --out` write them"
        )
    names = common_images([load_curve(spec, metric).conditions for spec in specs])
    one, other = (
        points(own, metric, kept, spec) for own, kept, spec in zip(rows, names, specs, strict=True)
    )
    return one, other


def load_per_image(spec: str | Path, metric: str = "PSNR") -> dict[str, Curve]:
    """Image name -> curve, from the rows of a report; ``metric`` as for :func:`load_curve`.

    Images without a value of the metric at some quality are left out; ``conditions.left_out``
    of :func:`load_curve` names them.

    Raises:
        CurveError: if it has no rows of single images.
    """
    data = {} if _is_published(spec) else _read(spec)
    rows = rows_of(data, str(spec))
    if not rows:
        raise CurveError(
            f"{spec} has no rows of single images; `dictco evaluate --out` and "
            "`dictco anchors --out` write them"
        )
    if metric == "SSIMULACRA 2" and not any("ssimulacra2" in row for row in rows):
        raise CurveError(_without(spec, metric, rows))
    found: dict[str, list[tuple[object, object]]] = {}
    left_out = lacking(rows, metric)
    try:
        for row in rows:
            if row["image"] not in left_out:
                value = qualities(row, metric)
                if value is None:
                    raise KeyError(metric)
                found.setdefault(row["image"], []).append((row["bpp"], value))
    except (TypeError, KeyError) as error:
        raise CurveError(
            f"{spec}: a row of per_image lacks image, bpp or {metric} "
            f"({type(error).__name__}: {error})"
        ) from None
    whole = conditions_of(data, str(spec), metric)
    return {
        image: Curve(
            f"{spec}, {image}", *map(list, zip(*pairs, strict=True)), metric=metric,
            conditions=replace(whole, images={image: whole.images.get(image, Shot())}),
        )
        for image, pairs in found.items()
    }  # fmt: skip


def _without(spec: str | Path, metric: str, rows: list[dict]) -> str:
    """Why a report holds no curve of a metric, and what to do."""
    if metric == "SSIMULACRA 2" and not any("ssimulacra2" in row for row in rows):
        return (
            f"{spec} has no {metric}, which reports hold on demand only; measure it anew: "
            "`dictco evaluate FOLDER --ssimulacra2 --out REPORT.json`, or "
            "`dictco anchors FOLDER --ssimulacra2 --out DIR`"
        )
    return f"{spec} has no {metric}: its images may be too small for it, or come back unchanged"


def _is_published(spec: str | Path) -> bool:
    return str(spec).lower().startswith(PREFIX)
