"""evaluate, bench."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from dictco_lib.commands.common import (
    DEFAULT_MODEL,
    find_all,
    find_device,
    load_model,
    may_replace,
    refuse,
    refuse_failed,
    set_precision,
)
from dictco_lib.commands.options import (
    Declare,
    add_force,
    add_model,
    add_perceptual,
    add_transforms,
)
from dictco_lib.errors import DictcoError, OptionError
from dictco_lib.progress import bar

if TYPE_CHECKING:
    from dictco_lib.evaluation.sharding import Team
    from dictco_lib.models import DictionaryCodec


def add_evaluate(command: Declare) -> None:
    """Declare ``evaluate``."""
    sub = command(
        "evaluate", evaluate, "measure bpp, PSNR, MS-SSIM, seconds and memory",
        "photos/", "photos/ --quality 20 60 --ssimulacra2 --out report.json",
        "photos/ --mode estimated",
    )  # fmt: skip
    sub.add_argument("folder", metavar="FOLDER", help="images, in sub-folders too")
    sub.add_argument(
        "--mode", choices=("real", "estimated"), default="real",
        help="bits of files that are decoded again (default), or bits from likelihoods: quicker",
    )  # fmt: skip
    sub.add_argument(
        "--batch-size", type=int, metavar="B",
        help="images of equal size at a time in estimated mode; default 8 on a GPU, else 1",
    )  # fmt: skip
    sub.add_argument(
        "--gates", metavar="RULE",
        help="overrule the router, in estimated mode: uniform, averaged, shuffled, only:K, "
        "without:K or swapped:K:K, where K is an expert",
    )  # fmt: skip
    sub.add_argument("--quality", type=float, nargs="+", metavar="Q", help="default: 0 20 ... 100")
    add_perceptual(sub)
    sub.add_argument("--out", metavar="JSON", help="write the report, per-image rows included")
    add_force(sub, "replace --out even if it is no report")
    add_transforms(sub)
    add_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")


def evaluate(args: argparse.Namespace) -> None:
    """A rate-distortion table, by one process or by several."""
    from dictco_lib.checkpoints import load
    from dictco_lib.evaluation import rd
    from dictco_lib.evaluation.sharding import join_team

    if args.batch_size is not None and args.mode == "real":
        raise OptionError(
            "--batch-size would be ignored: real files are made one by one; leave it out, or add "
            "--mode estimated"
        )
    if args.gates and args.mode == "real":
        raise OptionError(
            "--gates is for estimates: such files would decode nowhere else; add --mode estimated"
        )
    if args.out:
        may_replace(args.out, args.force, rd.is_report, "a report")
    paths = find_all(args.folder)
    with join_team(find_device(args.device)) as team:
        model = load(args.model or DEFAULT_MODEL, team.device)
        transforms = set_precision(model, args.transforms)
        qualities = _qualities(model, args.quality)
        size = args.batch_size if args.batch_size is not None else _batch_size(args.mode, team)
        with bar(unit="file", is_shown=team.is_main) as shown:

            def progress(done: int, total: int) -> None:
                shown.total = total
                shown.update(done - shown.n)

            options = {"mode": args.mode, "batch_size": size, "folder": args.folder, "team": team}
            options["perceptual"] = args.ssimulacra2
            with _overruled(model, args.gates):
                report = rd.evaluate(model, paths, qualities, **options, progress=progress)
    if not team.is_main:
        return
    report["setup"]["folder"] = Path(args.folder).resolve().name
    report["setup"]["gates"] = args.gates
    report["setup"]["transforms"] = transforms
    report["setup"]["checkpoint"] = Path(args.model or DEFAULT_MODEL).name
    _print_table(report)
    if args.out:
        rd.save_report(report, args.out)
        print(f"wrote {args.out}")
    refuse_failed(report["failed"], len(paths))


def _overruled(model: DictionaryCodec, rule: str | None) -> contextlib.AbstractContextManager:
    from dictco_lib.book.inspect.routing import rerouted, rule_named

    if rule is None:
        return contextlib.nullcontext()
    if model.config.experts < 2:
        raise OptionError(f"--gates: model {model.config.name!r} has no router to overrule")
    return rerouted(model, rule_named(rule, model.config.experts))


def _qualities(model: DictionaryCodec, asked: list[float] | None) -> tuple[float | None, ...]:
    from dictco_lib.evaluation.rd import DEFAULT_QUALITIES

    qualities = asked or (DEFAULT_QUALITIES if model.config.is_variable_rate else (None,))
    for quality in qualities:
        model.level(quality, next(model.parameters()))  # wrong ones are named before the work
    return tuple(qualities)


def _batch_size(mode: str, team: Team) -> int:
    return 8 if mode == "estimated" and team.device.type == "cuda" else 1


def _print_table(report: dict) -> None:
    from dictco_lib.evaluation.report import remarks

    results, setup = report["results"], report["setup"]
    many = f", {setup['processes']} processes" if setup["processes"] > 1 else ""
    print(f"{setup['folder']}, {report['name']}: {report['description']}{many}")
    columns = [
        ("quality", "quality", "g"), ("bpp", "bpp", ".4f"), ("+bytes", "extra_bytes", ".0f"),
        ("PSNR dB", "psnr-rgb", ".3f"),
        ("MS-SSIM", "ms-ssim-rgb", ".4f"), ("in dB", "ms-ssim-db", ".2f"),
        ("SSIMUL. 2", "ssimulacra2", ".2f"),
        ("enc s", "encode_s", ".2f"), ("(net)", "encode_network_s", ".2f"),
        ("dec s", "decode_s", ".2f"), ("(net)", "decode_network_s", ".2f"),
        ("forward s", "forward_s", ".3f"), ("peak MB", "peak_memory_mb", ".0f"),
    ]  # fmt: skip
    columns = [column for column in columns if column[1] in results]
    print(" ".join(f"{title:>9}" for title, _, _ in columns))
    for i, quality in enumerate(results["quality"]):
        cells = ["fixed" if quality is None else f"{quality:g}"]
        cells += [f"{results[key][i]:{form}}" for _, key, form in columns[1:]]
        print(" ".join(f"{cell:>9}" for cell in cells))
    for line in remarks(report):
        print(line)


def add_bench(command: Declare) -> None:
    """Declare ``bench``."""
    sub = command(
        "bench", bench, "time the parts of a codec, or of its training, on this machine",
        "", "--size 768 512", "load", "memory", "speed", "speed --full", "coder", "models",
        "models wacnn stf dcae",
        "--recipe data/nano.toml",
    )  # fmt: skip
    sub.add_argument(
        "what", nargs="?", default="parts",
        choices=("parts", "load", "memory", "models", "portability", "speed", "coder"),
        help="parts: each part alone (default); load: an image, beside busy programs; memory: "
        "commands on images of up to 100 megapixels (minutes); models: members of the family "
        "side by side, from pixels to files and back; portability: the same files read with every "
        "arithmetic that this machine offers; speed: files made and read by the layers' "
        "definitions, as fast as we can, portable, and with bf16; coder: our entropy coder beside "
        "CompressAI's, and what a table of scales costs",
    )  # fmt: skip
    sub.add_argument(
        "names", nargs="*", metavar="NAME",
        help="members for `models` and `speed`: presets, or paths of checkpoints; default small "
        "ones for `models`, classroom for `speed`",
    )  # fmt: skip
    sub.add_argument(
        "--full", action="store_true",
        help="`models` of the sizes that were published: nine, all in memory, 1 to 2 GB each; "
        "`speed` of dcae and dictco",
    )  # fmt: skip
    sub.add_argument(
        "--python", action="append", default=[], metavar="PYTHON",
        help="for `portability`: the Python of an environment with another torch, too",
    )  # fmt: skip
    sub.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), help="default 768 512")
    sub.add_argument("--repeats", type=int, default=5)
    sub.add_argument("--recipe", metavar="TOML", help="time training steps of this recipe instead")
    add_model(sub, f"name or path of a checkpoint; default {DEFAULT_MODEL}")


def bench(args: argparse.Namespace) -> None:
    """Median seconds of the parts of a codec, beside busy programs, or of a training step."""
    from dictco_lib.evaluation import timing

    if args.what == "models":
        refuse("bench models chooses its models", recipe=args.recipe, model=args.model)
        return _bench_models(args)
    if args.what == "speed":
        refuse("bench speed takes names", recipe=args.recipe, model=args.model)
        return _bench_speed(args)
    if args.names or args.full:
        raise OptionError(
            f"members are for bench models: dictco bench models {' '.join(args.names)}".rstrip()
        )
    if args.what == "portability":
        refuse("bench portability chooses its images", recipe=args.recipe, size=args.size)
        return _bench_portability(args)
    if args.python:
        raise OptionError("--python is for bench portability; leave it out")
    if args.what == "coder":
        refuse("bench coder codes an image", recipe=args.recipe)
        return _bench_coder(args)
    if args.what == "load":
        refuse("bench load codes an image", recipe=args.recipe)
        return _bench_load(args)
    if args.what == "memory":
        refuse("bench memory chooses its images", recipe=args.recipe, size=args.size)
        return _bench_memory(args)
    if args.recipe:
        refuse("a recipe says what is trained", model=args.model, size=args.size)
        return _bench_training(args)
    size = args.size or (768, 512)
    print(f"{'what':34} {'seconds':>9}   medians of {args.repeats}")
    for name, seconds in timing.bench(load_model(args), size, args.repeats).items():
        print(f"{name:34} {seconds:9.4f}")
    return None


def _bench_load(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.load import LIMITS, bench_load

    print(f"{'beside':16} {'encode s':>9} {'decode s':>9} {'times alone':>13}   at most")
    for load in bench_load(load_model(args), args.size or (768, 512), args.repeats):
        name = ("nothing", "1 busy program", "2 busy programs")[load.busy]
        ratios = f"{load.encode_ratio:.2f}, {load.decode_ratio:.2f}"
        verdict = f"{LIMITS[load.busy]:g}" + ("" if load.is_within_limit else ": MISSED")
        print(
            f"{name:16} {load.encode_s:9.3f} {load.decode_s:9.3f} {ratios:>13}   {verdict}",
            flush=True,
        )
    print(f"medians of {args.repeats}; other work on this machine counts as busy programs too")


def _bench_memory(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.memory import measure_memory

    options = ("--device", find_device(args.device), "--model", args.model or DEFAULT_MODEL)
    print(f"{'command':12} {'megapixels':>10} {'peak MB':>9} {'CPU s':>8} {'CPU s / MP':>11}")
    start: dict[str, float] = {}  # of the tiny image that comes first: what starting takes
    for cost in measure_memory(options=options):
        beyond = cost.seconds - start.setdefault(cost.command, cost.seconds)
        print(
            f"{cost.command:12} {cost.megapixels:10g} {cost.peak_mb:9.0f} {cost.seconds:8.1f} "
            f"{beyond / cost.megapixels:11.2f}",
            flush=True,
        )
    print("CPU seconds per megapixel are those beyond the first row, which shows the start")


def _bench_portability(args: argparse.Namespace) -> None:
    from dictco_lib.entropy.guard import EPS
    from dictco_lib.evaluation.portability import bench_portability

    print(f"{'way to compute':22} {'files':>6} {'wrong':>6} {'drift':>9} {'seconds':>8}   torch")
    failures = 0
    for found, margin in bench_portability(args.model or DEFAULT_MODEL, args.python):
        nearest = f"{margin:.1e}"
        if found.problem:
            print(f"{found.name:22} not tried: {found.problem}", flush=True)
            continue
        failures += found.failures
        print(
            f"{found.name:22} {found.files:6} {found.failures:6} {found.drift:9.1e} "
            f"{found.seconds:8.2f}   {found.torch}",
            flush=True,
        )
    print(
        "drift: largest difference of a log-scale from those of the first way. The guard lists all "
        f"that lie within {EPS:g} of\nan edge between two bins; the nearest of the others lies "
        f"{nearest} away. A file holds its guard, six bytes a bin.\nfailures: {failures}"
    )
    if failures:
        raise DictcoError(f"{failures} files were not read as they were written")


def _bench_speed(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.side_by_side import prepared
    from dictco_lib.evaluation.speed import FAST, FULL, PATHS, PLAIN, bench_speed, verdicts

    if args.full and args.names:
        raise OptionError("--full names dcae and dictco; leave it out, or the names")
    names = args.names or (FULL if args.full else (DEFAULT_MODEL,))
    size, device = tuple(args.size or (768, 512)), find_device(args.device)
    print(
        f"{'':28} {'encode s':>9} {'decode s':>9} {'both':>8} {'wall s':>8} {'plain / it':>10} "
        f"{'it / fast':>9}"
    )
    for name in names:
        model, is_random = prepared(name, device)
        print(f"{name}, {'random' if is_random else 'trained'} weights", flush=True)
        with bar(total=(args.repeats + 1) * len(PATHS), unit="file") as shown:
            found = bench_speed(model, size, args.repeats, tick=shown.update)
        plain, fast = found[PLAIN].both_s, found[FAST].both_s
        for speed in found.values():
            print(
                f"  {speed.name:26} {speed.encode_s:9.3f} {speed.decode_s:9.3f} "
                f"{speed.both_s:8.3f} {speed.wall_s:8.3f} {plain / speed.both_s:9.2f}x "
                f"{speed.both_s / fast:8.2f}x"
            )
        for line in verdicts(found, is_full=name in FULL):
            print(f"  {line}", flush=True)
        del model
    print(
        f"one image of {size[0]}x{size[1]} to a .dco file and back, CPU seconds of all threads; "
        f"medians of {args.repeats}, taking turns"
    )


def _bench_coder(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.coder import bench_coder, bench_scale_tables, slices_of

    model = load_model(args)
    noted = slices_of(model, args.size or (768, 512))
    costs = bench_coder(model, noted, args.repeats)
    theirs = costs[-1]
    print(f"{'coder':14} {'encode s':>9} {'decode s':>9} {'theirs / it':>11} {'bytes':>9} "
          f"{'over ideal':>10}")  # fmt: skip
    for cost in costs:
        print(
            f"{cost.name:14} {cost.encode_s:9.4f} {cost.decode_s:9.4f} "
            f"{theirs.both_s / cost.both_s:10.1f}x {cost.size:9} {cost.excess:10.3%}"
        )
    print(
        f"{costs[0].symbols} symbols of y of one image, from arrays to bytes and back; CPU "
        f"seconds, medians of {args.repeats}, taking turns\n"
        "over ideal: than the sum of -log2 p over the coder's own tables"
    )
    print("tables of scales, bits beyond those with exact scales, by entries (ours has 64):")
    levels = (32, 64, 128, 256)
    for rule, above in (("nearest entry (ours)", False), ("next larger entry", True)):
        shares = zip(levels, bench_scale_tables(noted, levels, above=above), strict=True)
        print(f"  {rule:21}" + ", ".join(f"{n}: {share:.3%}" for n, share in shares))


def _bench_models(args: argparse.Namespace) -> None:
    from dictco_lib.evaluation.side_by_side import FULL, SEED, SMALL, bench_members

    if args.full and args.names:
        raise OptionError("--full names the members of published size; leave it out, or the names")
    names = args.names or (FULL if args.full else SMALL)
    size = tuple(args.size or (768, 512))
    with bar(total=2 * (args.repeats + 1) * len(names), unit="file") as shown:
        costs = bench_members(
            names, size, args.repeats, find_device(args.device), tick=shown.update
        )
    print(
        f"{'model':16} {'encode s':>9} {'decode s':>9} {'peak MB':>9} {'its own':>9} {'bpp':>7}   "
        "weights"
    )
    for cost in costs:
        peak, own = ("-" if mb is None else f"{mb:.0f}" for mb in (cost.peak_mb, cost.own_mb))
        bpp, weights = "-", f"random, seed {SEED}"
        if not cost.is_random:
            bpp, weights = f"{cost.bpp:.3f}", "trained"
        print(
            f"{cost.name:16} {cost.encode_s:9.3f} {cost.decode_s:9.3f} {peak:>9} {own:>9} "
            f"{bpp:>7}   {weights}"
        )
    print(
        f"one image of {size[0]}x{size[1]} to a .dco file and back, at quality 50 where there are "
        f"qualities; medians of {args.repeats}, taking turns\n"
        "peak MB: of a process for each; its own: without what it takes before it has a model"
    )


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
