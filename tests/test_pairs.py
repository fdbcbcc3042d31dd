"""Mixture against one dictionary: the same training over seeds, and a table that is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dictco_lib.cli import main
from dictco_lib.config import NANO
from dictco_lib.errors import RecipeError
from dictco_lib.training.data import DEMO
from dictco_lib.training.pairs import (
    MIXTURE,
    load_pairs,
    save_pairs,
    table,
    train_pairs,
    variants,
)
from dictco_lib.training.recipe import Recipe

RECIPE = Recipe(model="nano", data=(DEMO,), validation=(DEMO,), out="run", steps=1, crop=64)


def test_variants_differ_in_their_dictionaries_only():
    made = variants(replace(RECIPE, shape={"dictionary_dim": 16}))
    plain = made[MIXTURE].config
    single, sparse = (r.config for name, r in made.items() if name != MIXTURE)
    assert (single.experts, single.entries) == (1, NANO.experts * NANO.entries)
    assert replace(single, experts=NANO.experts, entries=NANO.entries) == plain
    assert sparse.top_k == 1 and replace(sparse, top_k=0) == plain
    ignored = ("shape", "routing")
    for recipe in made.values():
        same = {k: v for k, v in recipe.to_dict().items() if k not in ignored}
        assert same == {k: v for k, v in RECIPE.to_dict().items() if k not in ignored}


@pytest.mark.parametrize("shape", [{"experts": 1}, {"experts": 0}, {"top_k": 2}])
def test_there_is_nothing_to_compare_without_a_dense_mixture(shape):
    recipe = replace(RECIPE, shape=shape)
    with pytest.raises(RecipeError, match="dense mixture"):
        variants(recipe)
    with pytest.raises(RecipeError, match="validation"):
        variants(replace(RECIPE, validation=()))


def test_the_table_compares_seed_by_seed():
    def row(a: float, b: float) -> dict[str, float]:
        return {"step": 1, "loss@0": a, "loss@100": b, "loss": (a * b) ** 0.5, "bpp@0": 9.0}

    results = {
        MIXTURE: {0: row(1.0, 2.0), 1: row(1.1, 2.0)},
        "other": {0: row(1.01, 2.0), 1: row(1.133, 1.98)},
    }
    heads, own, other = table(results)
    assert heads.split() == ["quality", "0", "quality", "100", "all"]
    assert "1.0500 ± 6.73 %" in own and "2.0000 ± 0.00 %" in own
    assert "+2.00 ± 1.41 %" in other and "-0.50 ± 0.71 %" in other
    alone = table({name: {0: runs[0]} for name, runs in results.items()})
    assert "±" not in "".join(alone) and "+1.00 %" in alone[2]


def test_pairs_are_trained_once_and_printed(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'model = "nano"\ndata = ["scikit-image"]\nvalidation = ["scikit-image"]\nout = "runs"\n'
        "steps = 1\ncrop = 64\nbatch_size = 1\n"
    )
    command = ["pairs", str(recipe), "--seeds", "0", "1", "--device", "cpu", "--set", "lr=1e-3"]
    assert main(command) == 0
    first = capsys.readouterr().out.splitlines()
    logs = sorted(Path(tmp_path, "runs").glob("*/log.jsonl"))
    assert [log.parent.name for log in logs] == [
        f"{name}_{seed}"
        for name in ("best_expert_only", "mixture", "one_dictionary")
        for seed in (0, 1)
    ]
    before = [log.read_bytes() for log in logs]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == first
    assert [log.read_bytes() for log in logs] == before
    assert len(first) == 6 and first[3].startswith(MIXTURE)


def test_pairs_return_what_the_logs_say(tmp_path):
    recipe = replace(RECIPE, out=str(tmp_path), batch_size=1)
    results = train_pairs(recipe, [3], "cpu")
    assert all(runs[3]["step"] == 1 and runs[3]["loss"] > 0 for runs in results.values())
    assert len(results) == 3


def test_losses_are_kept_in_a_file(tmp_path, capsys):
    runs = {seed: {"step": 1.0, "loss@0": 1.0 + seed, "loss": 2.0, "bpp@0": 0.3} for seed in (0, 4)}
    results = {MIXTURE: runs, "one dictionary": runs}
    save_pairs(results, RECIPE, tmp_path / "pairs.json")
    found, setup = load_pairs(tmp_path / "pairs.json")
    assert found[MIXTURE] == {0: {"loss@0": 1.0, "loss": 2.0}, 4: {"loss@0": 5.0, "loss": 2.0}}
    assert setup == {"model": "nano", "steps": 1, "crop": 64} and found.keys() == results.keys()
    assert table(found) == table(results)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "KeyError"),
        ('{"setup": {}, "pairs": {"mixture": {"0": {"loss": -1}}}}', "not above 0"),
        ('{"setup": {}, "pairs": {"mixture": {"0": {"loss": 1}}, "b": {}}}', "same seeds"),
        ('{"setup": {}, "pairs": {"mixture": {"zero": {"loss": 1}}}}', "ValueError"),
        ("[1]", "TypeError"),
    ],
)
def test_other_files_are_no_losses(tmp_path, text, message):
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(RecipeError, match=f"{message}.*dictco pairs RECIPE --out"):
        load_pairs(tmp_path / "pairs.json")


def test_what_is_no_file_of_losses_is_not_replaced(tmp_path, capsys):
    (tmp_path / "mine.json").write_text("{}")
    out = str(tmp_path / "mine.json")
    assert main(["pairs", str(tmp_path / "none.toml"), "--out", out]) == 1
    assert "mine.json" in capsys.readouterr().err and (tmp_path / "mine.json").read_text() == "{}"
