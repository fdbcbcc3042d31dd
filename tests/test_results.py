"""What README and card say in numbers is what the reports of the shipped weights hold.

``pytest tests/test_results.py --regenerate`` writes the tables anew.
"""

from __future__ import annotations

import hashlib
import json
from itertools import takewhile
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from dictco_lib.checkpoints import fingerprint, load
from dictco_lib.evaluation.bdrate import Comparison, Curve, compare, compare_per_image
from dictco_lib.evaluation.curves import load_curve, load_per_image

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
ANCHORS = {
    "JPEG 4:2:0": "kodak_jpeg_420",
    "JPEG 2000": "kodak_jpeg2000",
    "JPEG XL": "kodak_jxl",
    "WebP": "kodak_webp",
    "HEIC (PSNR-tuned)": "kodak_heic_444_psnr",
    "AVIF (PSNR-tuned)": "kodak_avif_444_psnr",
}
POINT = ("quality", "bpp", "psnr-rgb")
PAIR = ("pair/twin", "pair/mixture")  # anchor and test
QUALITIES = "| quality | bpp | PSNR (dB) | MS-SSIM | SSIMULACRA 2 |"
AGAINST = "| against | BD-rate | range | by MS-SSIM | by SSIMULACRA 2 |"
TWINS = "| images | BD-rate of the mean curves | mean of the images | from | to |"
BY_QUALITY = "| quality | bpp of the twin | PSNR (dB) |"
SAVED = "| quality | bits against JPEG 4:2:0 at equal PSNR | least | most |"
IMAGES = "| image | bpp, quality 0 to 100 | PSNR (dB) | BD-rate against JPEG 4:2:0 |"


def report(name: str) -> Path:
    return DATA / f"{name}.json"


def against(anchor: str, test: str, metric: str = "PSNR") -> Comparison:
    return compare(load_curve(report(anchor), metric), load_curve(report(test), metric))


def by_image(images: str) -> list[float]:
    reports = [load_per_image(report(f"{name}_{images}")) for name in PAIR]
    found, failed = compare_per_image(*reports)
    assert len(found) == 24 and not failed
    return [result.rate for result in found.values()]


def qualities(name: str, keys: tuple[str, ...]) -> list[str]:
    results = json.loads(report(f"{name}_kodak").read_text())["results"]
    forms = {"quality": "{:g}", "bpp": "{:.3f}", "psnr-rgb": "{:.2f}", "ms-ssim-rgb": "{:.4f}"}
    forms["ssimulacra2"] = "{:.1f}"
    rows = zip(*(map(forms[key].format, results[key]) for key in keys), strict=True)
    return [f"| {' | '.join(row)} |" for row in rows]


def gains() -> list[str]:
    rows = []
    for label, anchor in ANCHORS.items():
        found = against(anchor, "classroom_kodak")
        ssim = against(anchor, "classroom_kodak", "MS-SSIM").rate
        is_rated = "ssimulacra2" in json.loads(report(anchor).read_text())["results"]
        rate = against(anchor, "classroom_kodak", "SSIMULACRA 2").rate if is_rated else None
        seen = f"{rate:+.1f} %" if is_rated else "–"
        span = f"{found.low:.1f}–{found.high:.1f} dB"
        rows.append(f"| {label} | {found.rate:+.1f} % | {span} | {ssim:+.1f} % | {seen} |")
    return rows


def twins() -> list[str]:
    rows = []
    for label, images in {"Kodak, 24": "kodak", "validation, 24": "validation"}.items():
        curve = against(*(f"{name}_{images}" for name in PAIR)).rate
        rates = by_image(images)
        error = stdev(rates) / len(rates) ** 0.5
        rows.append(
            f"| {label} | {curve:+.2f} % | {mean(rates):+.2f} % ± {error:.2f} "
            f"| {min(rates):+.2f} % | {max(rates):+.2f} % |"
        )
    return rows


def curves_by_image() -> dict[str, tuple[Curve, Curve]]:
    anchor, test = (load_per_image(report(name)) for name in ("kodak_jpeg_420", "classroom_kodak"))
    assert anchor.keys() == test.keys() and len(test) == 24
    return {image: (anchor[image], test[image]) for image in sorted(test)}


def saved() -> list[str]:
    qualities = json.loads(report("classroom_kodak").read_text())["results"]["quality"]
    pairs = curves_by_image().values()
    rates = np.array([100 * (t.bpp / a.rates_at(t.psnr) - 1) for a, t in pairs])  # images, points
    return [
        f"| {quality:g} | {column.mean():+.1f} % | {column.max():+.1f} % | {column.min():+.1f} % |"
        for quality, column in zip(qualities, rates.T, strict=True)
    ]


def images() -> list[str]:
    return [
        f"| {image.removesuffix('.png')} | {test.bpp[0]:.3f} to {test.bpp[-1]:.3f} "
        f"| {test.psnr[0]:.2f} to {test.psnr[-1]:.2f} | {compare(anchor, test).rate:+.1f} % |"
        for image, (anchor, test) in curves_by_image().items()
    ]


TABLES = {
    QUALITIES: lambda: qualities(
        "classroom", ("quality", "bpp", "psnr-rgb", "ms-ssim-rgb", "ssimulacra2")
    ),
    SAVED: saved,
    IMAGES: images,
    BY_QUALITY: lambda: qualities("pair/twin", POINT),
    AGAINST: gains,
    TWINS: twins,
}


@pytest.mark.parametrize(
    ("document", "head"),
    [
        *(("README.md", head) for head in (QUALITIES, AGAINST)),
        *(("data/classroom.md", head) for head in (QUALITIES, AGAINST, SAVED, IMAGES)),
        *(("data/pair.md", head) for head in (BY_QUALITY, TWINS)),
    ],
)
def test_tables_are_those_of_the_reports(document, head, request):
    path, rows = ROOT / document, TABLES[head]()
    lines = path.read_text().splitlines()
    first = lines.index(head) + 2  # below it, the line of dashes
    kept = list(takewhile(lambda line: line.startswith("|"), lines[first:]))
    if request.config.getoption("--regenerate"):
        lines[first : first + len(kept)] = rows
        path.write_text("\n".join(lines) + "\n")
    else:
        assert kept == rows


def test_sentences_say_what_the_reports_hold():
    rates = by_image("kodak")
    mixture = against("pair/twin_kodak", "pair/mixture_kodak")
    twin = against("kodak_jpeg_420", "pair/twin_kodak")
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"the mixture is at {mixture.rate:+.1f} % (by image {min(rates):+.1f} to "
        f"{max(rates):+.1f} %), and the twin at {twin.rate:.1f} % against JPEG 4:2:0"
    ) in readme


def test_reports_and_card_are_of_the_weights_that_ship():
    name = "classroom"
    mark = fingerprint(load(name)).hex()
    for images in ("kodak", "validation"):
        setup = json.loads(report(f"{name}_{images}").read_text())["setup"]
        assert (setup["fingerprint"], setup["mode"]) == (mark, "real")
    checksum = hashlib.sha256((DATA / f"{name}.safetensors").read_bytes()).hexdigest()
    assert checksum in (DATA / "classroom.md").read_text()
