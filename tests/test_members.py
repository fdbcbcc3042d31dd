"""`dictco models` and `dictco bench models`: the family in a table, and side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dictco_lib.checkpoints import native, save_checkpoint, shipped_models
from dictco_lib.cli import main
from dictco_lib.errors import DictcoError, OptionError
from dictco_lib.evaluation import members, side_by_side
from dictco_lib.evaluation.published import published_names, record
from dictco_lib.evaluation.side_by_side import FULL, SMALL, bench_members, prepared
from dictco_lib.models import FAMILIES, PRESETS
from dictco_lib.models.family import paper_of
from dictco_lib.models.papers import Paper

#: Weights that the published implementations have, parts that only train included.
PUBLISHED_PARAMETERS = {
    "dcae": 119400351, "dictco": 118686371, "saaf": 126832762, "tcm": 76568148,
    "tcm_64": 45180752, "tcm_auxt": 45778996, "cca": 94253423, "wacnn": 75235779, "stf": 99855639,
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> dict[str, members.Member]:
    return {member.name: member for member in members.members()}


def test_every_preset_is_in_the_table_with_what_its_authors_have(table):
    assert table.keys() == PRESETS.keys()
    for name, count in PUBLISHED_PARAMETERS.items():
        member = table[name]
        assert member.parameters + member.training_parameters == count, name
    assert {name for name, m in table.items() if m.training_parameters} >= {"cca", "saaf"}


def test_published_numbers_stand_where_they_were_published(table):
    assert {name for name, m in table.items() if m.points} == {
        "dcae", "wacnn", "stf", "tcm", "tcm_64", "cca", "saaf"
    }  # fmt: skip
    assert table["dcae"].points.bd_rate == pytest.approx(-16.98, abs=0.01)
    assert table["dcae"].points.typical == (0.426, 34.41)
    assert table["tcm"].points.name == record("tcm-large")["name"]
    assert "LIC_TCM" in table["tcm"].points.source


def test_what_ships_is_named_with_its_fingerprint(table):
    assert {name for name, m in table.items() if m.weights} == {"classroom"}
    assert len(table["classroom"].weights.fingerprint) == 16
    assert table["classroom"].weights.size == shipped_models()["classroom"].stat().st_size


def test_other_weights_in_the_folder_are_members_too(nano, tmp_path, monkeypatch):
    mine = tmp_path / "mine.safetensors"
    save_checkpoint(nano, mine)
    monkeypatch.setattr(native, "DATA_FOLDERS", (tmp_path,))
    monkeypatch.setattr(members, "PRESETS", {"nano_stf": PRESETS["nano_stf"]})
    small, own = members.members()
    assert (small.name, small.weights) == ("nano_stf", None)
    assert (own.name, own.weights.file, own.family) == ("mine", "mine.safetensors", "dictionary")


def test_pages_and_published_curves_agree_on_papers():
    for family, page in FAMILIES.items():
        assert isinstance(page.PAPER, Paper)
        assert page.CURVES.keys() <= page.PRESETS.keys()
        for preset, curve in page.CURVES.items():
            paper = paper_of(PRESETS[preset])
            assert curve in published_names()
            assert PRESETS[preset].family == family
            told = record(curve).get("paper")
            if told is not None:
                want = f"{paper.authors} {paper.title}, {paper.venue} {paper.year}"
                assert told.replace(",", "").lower() == want.replace(",", "").lower()
    assert paper_of(PRESETS["tcm_auxt"]).year == 2025 and paper_of(PRESETS["tcm"]).year == 2023


def test_the_table_is_printed_and_given_to_machines(table, capsys, monkeypatch):
    chosen = [table[name] for name in ("dcae", "classroom", "nano_cca", "saaf")]
    monkeypatch.setattr(members, "members", lambda: iter(chosen))
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()[0] in table}
    assert "34.41 dB at 0.426 bpp" in rows["dcae"] and "-17.0 %" in rows["dcae"]
    size = shipped_models()["classroom"].stat().st_size
    assert f"{size / 1e6:.1f} MB" in rows["classroom"] and "> 2048" in rows["nano_cca"]
    assert len({len(line[:120]) for line in rows.values() if len(line) > 120}) == 1
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in found] == [m.name for m in chosen]
    assert found[0]["points"]["bpp"][0] == 0.109 and found[2]["analysis_sees"] is None
    assert found[3]["paper"]["venue"] == "CVPR" and found[3]["counted_for"] == [768, 512]


def test_members_are_measured_side_by_side(nano, tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    save_checkpoint(nano, path)
    names = ["nano_wacnn", str(path)]
    assert main(["bench", "models", *names, "--size", "64", "64", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "random, seed 0" in out and "trained" in out and "64x64" in out
    ticks = []
    random, mine = bench_members(names, (64, 64), 1, tick=lambda: ticks.append(1))
    assert len(ticks) == 2 * 2 * 2
    assert random.is_random and not mine.is_random and mine.bpp > 0
    for cost in (random, mine):
        assert cost.encode_s > 0 and cost.decode_s > 0
        if cost.peak_mb is not None:
            assert cost.peak_mb >= cost.idle_mb > 50 and cost.own_mb >= 0


def test_random_weights_are_the_same_in_every_run():
    a, b = (prepared("nano_stf", "cpu")[0] for _ in range(2))
    assert all((p == q).all() for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_small_ones_are_of_every_family_and_full_ones_published():
    assert {PRESETS[name].family for name in SMALL} == set(FAMILIES)
    assert set(FULL) == PUBLISHED_PARAMETERS.keys()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nano", "nano"], "each of them once"), ([], "each of them once"), (["none"], "none")],
)
def test_members_that_are_none_are_named(names, message):
    with pytest.raises(DictcoError, match=message):
        bench_members(names, (64, 64), 1)
    with pytest.raises(OptionError, match="at least 1"):
        bench_members(["nano"], (64, 64), 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parts", "nano"], "dictco bench models nano"),
        (["load", "--full"], "members are for bench models"),
        (["models", "nano", "--full"], "leave it out"),
        (["models", "--full", "--repeats", "1", "nano"], "leave it out"),
        (["models", "nano", "--repeats", "1", "nano"], "each of them once"),
        (["models", "--model", "nano"], "--model would be ignored"),
        (["models", "--recipe", "a.toml"], "--recipe would be ignored"),
    ],
)
def test_options_of_bench_models_are_checked(words, message, capsys):
    assert main(["bench", *words]) == 1
    assert message in capsys.readouterr().err


def test_the_readme_shows_what_the_table_measures(table):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) M \| (.*) \|$", text, re.MULTILINE)
    assert {name for name, *_ in rows} == {*FULL, "classroom"}
    for name, millions, rest in rows:
        member = table[name]
        assert float(millions) == round(member.parameters / 1e6, 1)
        seen = (member.analysis_sees, member.synthesis_sees)
        kinds = member.paper.authors, member.paper.venue, str(member.paper.year)
        assert rest.split(" | ") == [
            f"{member.encoder_macs / 1e3:.0f} / {member.decoder_macs / 1e3:.0f}",
            " / ".join("> 2048" if s is None else str(s) for s in seen),
            str(len(member.groups)),
            f"{member.points.bd_rate:+.1f} %" if member.points else "–",
            " ".join(kinds).strip(),
        ]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("import os; os._exit(3)", "nano: its process ended with status 3"),
        ("import os; print('{}', flush=True); input(); os._exit(9)", "nano: .* status 9"),
    ],
)
def test_a_member_that_dies_is_named(work, message, monkeypatch):
    monkeypatch.setattr(side_by_side, "_WORK", work)
    with pytest.raises(DictcoError, match=message):
        bench_members(["nano"], (64, 64), 1)


def test_a_process_ends_with_the_one_that_asks():
    with side_by_side._started("nano_cca", (64, 64), "cpu") as worker:
        worker.ready()
        assert worker.ask("encode") == {}
    assert worker.process.poll() == 0
