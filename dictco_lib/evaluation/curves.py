"""Curves by file or by name: our reports, CompressAI's result files, and published ones."""

from __future__ import annotations

from pathlib import Path

from dictco_lib.errors import CurveError, foreign, quoted
from dictco_lib.evaluation.bdrate import Curve
from dictco_lib.evaluation.published import published, qualities
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


def load_curve(spec: str | Path, metric: str = "PSNR") -> Curve:
    """The curve of a report, of a CompressAI result file, or of ``published:NAME``.

    Args:
        spec: a file, or ``published:`` and a name.
        metric: ``PSNR``, or ``MS-SSIM`` for a curve of MS-SSIM in dB.

    Raises:
        CurveError: if there is none, or it is damaged.
    """
    if str(spec).lower().startswith(PREFIX):
        return published(str(spec)[len(PREFIX) :], metric)
    data = _read(spec)
    results = data.get("results", data)
    name = str(data.get("name", Path(spec).stem))
    values = qualities(results, metric)
    if values is None:
        raise CurveError(f"{spec} has no {metric}: its pictures may be too small for it")
    return Curve(name, results["bpp"], values, metric=metric)


def load_per_image(spec: str | Path, metric: str = "PSNR") -> dict[str, Curve]:
    """Picture name -> curve, from the rows of a report; ``metric`` as for :func:`load_curve`.

    Raises:
        CurveError: if it has no rows of single pictures.
    """
    rows = None if str(spec).lower().startswith(PREFIX) else _read(spec).get("per_image")
    if not rows:
        raise CurveError(
            f"{spec} has no rows of single pictures; `dictco evaluate --out` and "
            "`dictco anchors --out` write them"
        )
    points: dict[str, list[tuple[object, object]]] = {}
    try:
        for row in rows:
            value = qualities(row, metric)
            if value is None:
                raise KeyError(metric)
            points.setdefault(row["image"], []).append((row["bpp"], value))
    except (TypeError, KeyError) as error:
        raise CurveError(
            f"{spec}: a row of per_image lacks image, bpp or {metric} "
            f"({type(error).__name__}: {error})"
        ) from None
    return {
        image: Curve(f"{spec}, {image}", *map(list, zip(*pairs, strict=True)), metric=metric)
        for image, pairs in points.items()
    }
