"""Figures of the book: nothing is hidden, and what differs looks different."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.text import Text

from dictco_lib.book import plots
from dictco_lib.book.plots import family
from dictco_lib.book.plots import model as drawings
from dictco_lib.evaluation.curves import load_curve
from dictco_lib.evaluation.published import published
from dictco_lib.files import data_file
from dictco_lib.training.log import read_log

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
GREY = np.zeros((32, 48, 3), np.uint8)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_curves_of_one_figure_have_colours_of_their_own():
    names = ("jpeg_420", "webp", "jpeg2000", "jxl", "avif_444_psnr", "heic_444_psnr")
    curves = [load_curve(data_file("classroom_kodak.json"))]
    curves += [load_curve(data_file(f"kodak_{name}.json")) for name in names]
    curves += [published(n) for n in ("vtm", "dcae", "elic2022", "bmshj2018-hyperprior")]
    colours = [plots.CODEC_STYLES[curve.name]["color"] for curve in curves]
    assert len(set(colours)) == len(colours) == 11


def test_a_curve_without_a_style_takes_a_colour_that_no_named_one_has():
    names = ["SAAF", "mine", "yours", "theirs", "CCA (NeurIPS 2024)"]
    figure = plots.rd_curves({name: ([0.1, 2.0], [20, 40]) for name in names})
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert len(set(colours)) == len(names)


def test_names_of_points_side_by_side_lie_on_each_other_nowhere():
    points = {"a long name": (500, -4.1), "another one": (520, -4.6), "third": (1800, -11.0)}
    figure = family.rate_against_work(points)
    figure.canvas.draw()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts if t.get_text() in points]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("count", [2, 5, 9])
def test_curves_are_named_beside_the_axes_in_their_colours(count):
    curves = {f"codec {i}": ([0.1, 2.0], [20 + i, 40 - i / 5]) for i in range(count)}
    figure = plots.rd_curves(curves)
    figure.canvas.draw()
    axis = figure.axes[0]
    names = {text.get_text(): text for text in axis.texts}
    assert list(names) == list(curves) and axis.get_legend() is None and not figure.legends
    boxes = [text.get_bbox_patch() or Text.get_window_extent(text) for text in names.values()]
    assert not any(box.overlaps(axis.get_window_extent()) for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(names[line.get_label()].get_color() == line.get_color() for line in axis.lines)
    heights = [box.y0 for box in boxes]
    assert heights == sorted(heights, reverse=True)  # in the order in which the curves end


def test_a_name_stands_where_its_curve_leaves_the_axes():
    curves = {"high": ([0.1, 1.0, 3.0], [30, 36, 44]), "low": ([0.1, 0.8], [28, 30])}
    curves["far"] = ([3.0, 4.0], [50, 60])  # never seen
    axis = plots.rd_curves(curves, max_bpp=2).axes[0]
    high, low = axis.texts
    assert low.xy == (0.8, 30) and (low.get_text(), high.get_text()) == ("low", "high")
    top = axis.get_ylim()[1]  # of 36 dB and a little: reached before the rate axis ends
    assert high.xy == pytest.approx((1 + 2 * (top - 36) / 8, top))


def test_routers_of_slices_have_colours_of_their_own():
    figure = plots.router_health(read_log(data_file("classroom_second.log.jsonl")))
    lines = [line for line in figure.axes[-1].lines if line.get_label().startswith("slice")]
    assert len({line.get_color() for line in lines}) == len(lines) == 5


def test_z_is_neither_header_nor_slice():
    figure = plots.bit_bars({"header": 8, "sums": 8, "z": 8, "slice 0": 8, "slice 1": 8}, 100)
    header, sums, z, *slices = (bar.get_facecolor() for bar in figure.axes[0].patches)
    assert header == sums and z not in (header, *slices) and len(set(slices)) == 1


def test_colour_bars_have_labels():
    figure = drawings.signal_maps(GREY, {"y": np.eye(3) - 0.5, "scale": np.eye(3)})
    bars = [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert len(bars) == 2 and all("steps" in bar.get_ylabel() for bar in bars)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_every_colour_bar_of_the_book_has_a_label(path):
    outputs = (
        output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", ())
    )
    words = [output.get("metadata", {}).get("image/png", {}).get("alt", "") for output in outputs]
    assert not [alt for alt in words if "Colours: ." in alt or alt.endswith("Colours:")]
