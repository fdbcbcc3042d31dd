"""What the training page is made of: named pieces of a step, frames of a run, its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from dictco_lib.book import checks, plots, widgets
from dictco_lib.book.checks import training
from dictco_lib.book.plots import training as training_plots
from dictco_lib.training.data import noise_seed
from dictco_lib.training.loop import train
from dictco_lib.training.rates import ema_decay
from dictco_lib.training.recipe import load_recipe

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_average_forgets_its_beginning_then_decays_as_the_recipe_says():
    recipe = replace(load_recipe(DATA / "nano.toml"), ema_decay=0.9)
    assert ema_decay(recipe, 0) == 0.1
    decays = [ema_decay(recipe, step) for step in range(200)]
    assert decays == sorted(decays) and decays[-1] == 0.9 and decays[40] < 0.9


def test_no_two_steps_and_no_two_seeds_share_their_noise():
    seeds = {noise_seed(step, seed=seed) for step in (0, 1, 10**9) for seed in (0, 1, 2**31 - 1)}
    assert len(seeds) == 9
    for seed in seeds:
        torch.manual_seed(seed)  # whatever torch takes


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_view_keeps_a_frame_of_each_entry(tmp_path, monkeypatch, is_shown):
    shown = []
    monkeypatch.setattr(plots, "live_training", lambda *given: shown.append(given) or plt.figure())
    place = SimpleNamespace(update=lambda figure: None)  # what a notebook gives for a display
    monkeypatch.setattr(widgets, "display", lambda *what, display_id: place)
    recipe = replace(
        load_recipe(DATA / "nano.toml"), out=str(tmp_path), pca_start=False, validation=(),
        steps=2, crop=64, batch_size=2, warmup=1, log_every=1, transform_lr=1e-2,
    )  # fmt: skip
    pixels = np.full((64, 64, 3), 128, np.uint8)
    view = widgets.TrainingView(pixels, is_shown=is_shown)
    train(recipe, "cpu", progress=False, listener=view)
    assert list(view.frames) == [0, 1, 2] == [row["step"] for row in view.rows]
    assert all(frame.shape == pixels.shape for frame in view.frames.values())
    assert not np.array_equal(view.frames[0], view.frames[2])
    assert len(shown) == (3 if is_shown else 0)
    if is_shown:
        rows, original, first, now = shown[-1]
        assert original is pixels and first is view.frames[0] and now is view.frames[2]


def test_a_schedule_names_each_curve_at_it():
    rise_and_fall = [0.5, 1.0, 0.75, 0.25]
    rates = {"lr": rise_and_fall, "prior_lr": [10 * r for r in rise_and_fall]}
    figure = training_plots.schedule(rates, warmup=1)
    named = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert [named["lr: peak 1"], named["prior_lr: peak 10"]] == colours and len(set(colours)) == 2
    assert "prior_lr rises from 5 to 10, ends at 2.5" in figure.get_label()


def test_stand_ins_are_drawn_where_they_belong():
    v = np.linspace(-1.6, 1.6, 33)
    figure = training_plots.stand_ins({"rounding": (v.round(), 0 * v + 1), "soft": (v, 0 * v + 2)})
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), np.stack([v, v.round()], 1))
    assert [line.get_ydata()[0] for line in right.lines] == [1, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["rounding", "soft"]


def test_gaps_have_a_bar_each_and_their_numbers():
    found = {"noise": [(4.4, -1.22), (1.5, -0.2)], "mixed": [(5.7, 0.0), (-0.04, -0.001)]}
    figure = training_plots.gaps(found, (0, 50))
    rate, image = figure.axes
    assert sorted(bar.get_width() for bar in rate.patches) == [-0.04, 1.5, 4.4, 5.7]
    texts = {text.get_text() for text in (*rate.texts, *image.texts)}
    assert {"+4.4", "+0.0", "-1.22", "+0.00"} <= texts and not {"-0.0", "-0.00"} & texts
    assert "noise: rate +4.4, +1.5 %, PSNR -1.22, -0.20 dB" in figure.get_label()
    # The upper bars are those of the first name, and none hides another.
    heights = sorted(bar.get_y() for bar in rate.patches)
    assert min(np.diff(heights)) >= rate.patches[0].get_height()


@pytest.mark.parametrize(("loss", "is_right"), [(70_000.0, True), (500.0, False)])
def test_an_exploded_run_may_end_anywhere_above(monkeypatch, capsys, loss, is_right):
    entries = [{"loss": v, "first": 100, "bpp": 1, "psnr": 9, "mse": 0.1} for v in (40.0, 50_000.0)]
    monkeypatch.setattr(training, "_last_entries", lambda recipe, rates: entries)
    assert checks.ex_training_4({2e-3: 40.5, 1e-2: loss}, None, (2e-3, 1e-2)) is is_right
    assert is_right or "ends at 50000.000 here" in capsys.readouterr().out
