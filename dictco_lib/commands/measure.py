"""evaluate, bench."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from dictco_lib.commands.common import find_device, load_model


def evaluate(args: argparse.Namespace) -> None:
    """A rate-distortion table from real files."""
    from dictco_lib.evaluation import rd

    model = load_model(args)
    default = rd.DEFAULT_QUALITIES if model.config.is_variable_rate else (None,)
    qualities: tuple = tuple(args.quality or default)
    for quality in qualities:
        model.level(quality, next(model.parameters()))  # wrong ones are named before the work
    paths = rd.pictures_in(args.folder)
    with tqdm(total=len(paths) * len(qualities), unit="file") as bar:
        report = rd.evaluate(model, paths, qualities, progress=lambda row: bar.update())
    results = report["results"]
    print(f"{len(paths)} pictures in {args.folder}, model {model.config.name}, real files")
    print(f"{'quality':>8} {'bpp':>8} {'PSNR dB':>8} {'MS-SSIM':>8} {'enc s':>7} {'dec s':>7}")
    for i, quality in enumerate(qualities):
        ssim = f"{results['ms-ssim-rgb'][i]:.4f}" if "ms-ssim-rgb" in results else "-"
        label = "fixed" if quality is None else f"{quality:g}"
        print(
            f"{label:>8} {results['bpp'][i]:8.4f} {results['psnr-rgb'][i]:8.3f} {ssim:>8} "
            f"{results['encode_s'][i]:7.2f} {results['decode_s'][i]:7.2f}"
        )
    if args.out:
        rd.save_report(report, args.out)
        print(f"wrote {args.out}")


def bench(args: argparse.Namespace) -> None:
    """Median seconds of the parts of a codec, or of a training step."""
    from dictco_lib.evaluation import timing

    if args.recipe:
        return _bench_training(args)
    print(f"{'what':34} {'seconds':>9}   medians of {args.repeats}")
    for name, seconds in timing.bench(load_model(args), args.size, args.repeats).items():
        print(f"{name:34} {seconds:9.4f}")
    return None


def _bench_training(args: argparse.Namespace) -> None:
    from dictco_lib.training.bench import bench_training
    from dictco_lib.training.recipe import load_recipe

    device = None if args.device == "auto" else find_device(args.device)
    times = bench_training(load_recipe(args.recipe), args.repeats, device)
    plain = next(iter(times.values()))[0]
    print(f"{'a training step':36} {'seconds':>8} {'images/s':>9} {'gain':>6}")
    for name, (seconds, rate) in times.items():
        print(f"{name:36} {seconds:8.3f} {rate:9.1f} {plain / seconds:5.2f}x")
    print(f"medians of {args.repeats}, the variants taking turns")
