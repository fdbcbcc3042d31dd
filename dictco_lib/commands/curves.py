"""anchors, bdrate, plot: curves of other codecs, and what is done with curves."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path
from statistics import mean

from dictco_lib.commands.common import METRICS, find_all, may_replace, refuse, refuse_failed
from dictco_lib.commands.options import CURVE, Declare, add_force, add_metric, add_perceptual
from dictco_lib.errors import DictcoError, OptionError
from dictco_lib.progress import bar


def _warn(text: str) -> None:
    print(f"dictco: warning: {text}", file=sys.stderr)


def _print_row(result, label: str) -> None:
    span = f"{result.low:.1f}-{result.high:.1f}"
    from dictco_lib.evaluation.metrics import UNITS

    gain = "-" if math.isnan(result.psnr) else f"{result.psnr:+.2f}{UNITS[result.metric]}"
    print(f"{result.rate:+8.2f} % {gain:>10} {span:>12}   {label}")


def add_anchors(command: Declare) -> None:
    """Declare ``anchors``."""
    sub = command(
        "anchors", anchors, "measure classical codecs on a folder of images",
        "photos/ --out build/anchors --workers 4", "photos/ --codecs jpeg avif_444_psnr",
    )  # fmt: skip
    sub.add_argument("folder", metavar="FOLDER", help="images, in sub-folders too")
    sub.add_argument(
        "--codecs", nargs="+", metavar="C",
        help="jpeg webp avif jpeg2000 jxl heic, or single variants; default: all that run here",
    )  # fmt: skip
    add_perceptual(sub)
    sub.add_argument("--out", metavar="DIR", help="write one report a codec, as evaluate does")
    add_force(sub, "replace files in --out even if they are no reports")
    sub.add_argument("--workers", type=int, default=1, metavar="N", help="processes; default 1")


def anchors(args: argparse.Namespace) -> None:
    """Rate-distortion tables of classical codecs."""
    from dictco_lib.evaluation import classical, rd
    from dictco_lib.evaluation.anchors import anchors as measure

    paths = find_all(args.folder)
    keys = []
    for key in classical.select(args.codecs or list(classical.CODECS)):
        if problem := classical.CODECS[key].problem():
            _warn(f"{key} is left out: {problem}")
        else:
            keys.append(key)
    if not keys:
        raise DictcoError("none of these codecs runs here")
    for key in keys if args.out else []:
        may_replace(str(Path(args.out) / f"{key}.json"), args.force, rd.is_report, "a report")
    with bar(total=len(keys) * len(paths), unit="image") as shown:
        written, failed = [], {}
        options = {"folder": args.folder, "perceptual": args.ssimulacra2}
        for key, report in measure(keys, paths, args.workers, shown.update, **options):
            for name, reason in report["failed"].items():
                failed.setdefault(name, []).append(reason)
            if "results" not in report:
                continue
            shown.write(_table(key, report))
            if args.out:
                rd.save_report(report, Path(args.out) / f"{key}.json")
                written.append(f"{key}.json")
    if written:
        print(f"wrote {', '.join(written)} in {args.out}")
    reasons = {name: "; ".join(dict.fromkeys(found)) for name, found in failed.items()}
    refuse_failed(reasons, len(paths))


def _table(key: str, report: dict) -> str:
    from dictco_lib.evaluation.report import remarks

    results = report["results"]
    options = ", ".join(f"{name}={value}" for name, value in report["settings"].items())
    lines = [f"{key} ({report['name']}): {options}"]
    columns = [
        ("PSNR dB", "psnr-rgb", ".3f"),
        ("MS-SSIM", "ms-ssim-rgb", ".4f"),
        ("SSIMULACRA 2", "ssimulacra2", ".2f"),
    ]
    if not any("ssimulacra2" in row for row in report["per_image"]):
        del columns[-1]
    lines.append(f"{'q':>8} {'bpp':>8}" + "".join(f" {title:>8}" for title, _, _ in columns))
    for i, (quality, bpp) in enumerate(zip(results["quality"], results["bpp"], strict=True)):
        line = f"{quality:8g} {bpp:8.4f}"
        for title, key, form in columns:
            cell = format(results[key][i], form) if key in results else "-"
            line += f" {cell:>{max(8, len(title))}}"
        lines.append(line)
    return "\n".join(lines + remarks(report))


def add_bdrate(command: Declare) -> None:
    """Declare ``bdrate``."""
    sub = command(
        "bdrate", bdrate, "average rate difference between RD curves",
        "data/kodak_jpeg_420.json data/classroom_kodak.json", "published:vtm published:dcae",
        "data/pair/twin_kodak.json data/pair/mixture_kodak.json --bootstrap",
    )  # fmt: skip
    sub.add_argument("anchor", metavar="ANCHOR", help=CURVE)
    sub.add_argument("test", metavar="TEST", nargs="+", help=CURVE)
    sub.add_argument("--per-image", action="store_true", help="image by image as well")
    sub.add_argument(
        "--bootstrap", type=int, nargs="?", const=1000, metavar="DRAWS",
        help="a 95 %% interval over the choice of images; default 1000 draws",
    )  # fmt: skip
    add_metric(sub)


def bdrate(args: argparse.Namespace) -> None:
    """BD-rates of curves against an anchor."""
    from dictco_lib.evaluation.bdrate import compare
    from dictco_lib.evaluation.curves import load_curve, load_curves
    from dictco_lib.evaluation.metrics import UNITS

    metric = METRICS[args.metric]
    load_curve(args.anchor, metric)  # what is wrong with it is said before the head of a table
    print(f"against {args.anchor}; below 0 %: fewer bits for the same {metric}")
    unit = UNITS[metric]
    overlap = f"overlap,{unit}" if unit else "overlap"
    gain = f"BD-{metric}"
    print(f"{'BD-rate':>10} {gain:>10} {overlap:>12}   curve")
    for test in args.test:
        anchor, curve = load_curves([args.anchor, test], metric, common=args.common)
        result = compare(anchor, curve)
        shared = f" ({len(curve.conditions.images)} common images)" if args.common else ""
        _print_row(result, test + shared)
        for doubt in result.doubts():
            _warn(f"{test}: {doubt}")
        if args.bootstrap is not None:
            _bdrate_interval(args.anchor, test, metric, args.bootstrap)
        if args.per_image:
            _bdrate_per_image(args.anchor, test, metric)


def _bdrate_interval(anchor: str, test: str, metric: str, draws: int) -> None:
    from dictco_lib.evaluation.bootstrap import bootstrap
    from dictco_lib.evaluation.curves import load_points

    found = bootstrap(*load_points(anchor, test, metric), metric, draws=draws)
    print(
        f"{found.low:+8.2f} % to {found.high:+.2f} %: {found.level:.0%} of {found.draws} draws of "
        f"{found.images} images, with repetition"
    )


def _bdrate_per_image(anchor: str, test: str, metric: str) -> None:
    from dictco_lib.evaluation.bdrate import compare_per_image
    from dictco_lib.evaluation.curves import load_per_image

    curves = load_per_image(anchor, metric), load_per_image(test, metric)
    found, failed = compare_per_image(*curves)
    for image, result in found.items():
        _print_row(result, f"  {image}")
        for doubt in result.doubts():
            if doubt not in result.unlike:  # that is said of the whole reports
                _warn(f"{image}: {doubt}")
    for image, reason in failed.items():
        _warn(f"{image} is left out: {reason}")
    for image in sorted(curves[0].keys() ^ curves[1].keys()):
        _warn(f"{image} is left out: only one of the reports has it")
    rates = [result.rate for result in found.values()]
    print(
        f"{mean(rates):+8.2f} % mean of {len(rates)} images, "
        f"{min(rates):+.2f} % to {max(rates):+.2f} %"
    )


def add_plot(command: Declare) -> None:
    """Declare ``plot``."""
    sub = command(
        "plot", plot, "draw RD curves, or a training log, as PNG",
        "figures/rd.png data/kodak_jpeg_420.json data/classroom_kodak.json published:vtm",
        "figures/log.png data/classroom.log.jsonl data/classroom_second.log.jsonl",
    )  # fmt: skip
    sub.add_argument("output", metavar="OUT.png")
    add_force(sub, "replace OUT.png even if it is no figure of ours")
    sub.add_argument("files", metavar="CURVE", nargs="+", help=f"{CURVE}; or logs (.jsonl)")
    sub.add_argument("--max-bpp", type=float, metavar="BPP", help="where the rate axis ends")
    add_metric(sub)


def plot(args: argparse.Namespace) -> None:
    """A figure from reports and published curves, or from a training log."""
    import matplotlib

    matplotlib.use("agg")
    from dictco_lib.book import plots
    from dictco_lib.evaluation.conditions import unlike_any
    from dictco_lib.evaluation.curves import load_curves
    from dictco_lib.evaluation.metrics import UNITS
    from dictco_lib.files import atomic_path
    from dictco_lib.training.log import read_log

    metric = METRICS[args.metric]
    plots.use_style()
    if Path(args.output).suffix.lower() != ".png":
        raise OptionError(f"{args.output}: figures are PNG; give the name the suffix .png")
    may_replace(args.output, args.force, plots.is_figure, "a figure of ours")
    logs = [spec for spec in args.files if spec.endswith(".jsonl")]
    if logs:
        if logs != args.files:
            raise OptionError("got logs and curves; one figure shows either: give them apart")
        other = None if args.metric == "psnr" else args.metric
        refuse(
            "a log is no rate-distortion curve",
            max_bpp=args.max_bpp,
            metric=other,
            common=args.common,
        )
        figure = plots.training_log(read_log(*logs))
    else:
        curves = load_curves(args.files, metric, common=args.common)
        for text in unlike_any([curve.conditions for curve in curves]):
            _warn(text)
        times = Counter(curve.name for curve in curves)
        # Two reports of one codec keep one name apart from the other by their files.
        names = [
            curve.name if times[curve.name] == 1 else f"{curve.name}, {Path(spec).stem}"
            for curve, spec in zip(curves, args.files, strict=True)
        ]
        figure = plots.rd_curves(
            {name: (curve.bpp, curve.psnr) for name, curve in zip(names, curves, strict=True)},
            published={n for n, c in zip(names, curves, strict=True) if c.is_published},
            max_bpp=args.max_bpp,
            quality=f"{metric}, RGB (dB)" if UNITS[metric] else metric,
        )
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, format="png")
    print(f"wrote {args.output}")
