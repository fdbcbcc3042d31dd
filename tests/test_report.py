"""checks.report(): which exercises of a notebook are right, printed and saved, whatever comes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dictco_lib.book import checks
from dictco_lib.book.checks import checker
from dictco_lib.book.checks.report import KIND


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a kernel that has just been started."""
    for record in checker.RECORDS.values():
        for name, value in vars(checker.Record()).items():
            monkeypatch.setattr(record, name, value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_right_wrong_and_not_done_are_told_apart(folder, capsys):
    checks.ex_rd_2(9, [30.0, 40.0])
    checks.ex_rd_2(None, [30.0, 40.0])
    checks.ex_coding_1(4 * 3 * 1 / 8**3, {"A": 4, "N": 3, "B": 1}, "NAB")
    checks.ex_coding_3("many", 1e-5)
    words = capsys.readouterr().out.splitlines()
    report = checks.report()
    lines = capsys.readouterr().out.splitlines()
    assert report == saved(folder / "report_coding_rd.json")
    assert lines[-2:] == ["1 of 8 are right", "saved as report_coding_rd.json"]
    assert f"+ ex_coding_1: {words[2]}" in lines and f"- ex_coding_3: {words[3]}" in lines
    assert ". ex_rd_2: not done yet" in lines and ". ex_coding_2: not run yet" in lines
    assert report["kind"] == KIND and (report["right"], report["of"]) == (1, 8)
    entry = report["exercises"]["ex_coding_3"]
    assert entry == {"state": "wrong", "words": words[3], "tries": 1}
    assert report["exercises"]["ex_rd_2"]["tries"] == 1  # None is no try


def test_the_last_answer_counts(folder):
    context = [30.0, 40.0]
    for answer in (1.0, 32.596):
        checks.ex_rd_2(answer, context)
    entry = checks.report()["exercises"]["ex_rd_2"]
    assert (entry["state"], entry["tries"]) == ("right", 2)
    checks.ex_rd_2(31, context)
    assert checks.report()["exercises"]["ex_rd_2"]["state"] == "wrong"
    assert saved(folder / "report_rd.json")["exercises"]["ex_rd_2"]["tries"] == 3


def test_a_path_or_a_folder_is_taken(folder, tmp_path):
    checks.ex_rd_2(1, [30.0, 40.0])
    checks.report(tmp_path / "deep" / "anna.json")
    assert saved(tmp_path / "deep" / "anna.json")["of"] == 4
    checks.report(tmp_path / "deep")
    assert saved(tmp_path / "deep" / "report_rd.json")["of"] == 4
    checks.report(tmp_path / "deep" / "anna.json")  # one of ours is replaced


def test_what_is_not_ours_is_kept(folder, capsys):
    checks.ex_rd_2(1, [30.0, 40.0])
    for text in ("my notes", "[1]", '{"kind": "mine"}', ""):
        (folder / "notes").write_text(text)
        assert checks.report("notes")["of"] == 4
        assert "not saved: notes is no report" in capsys.readouterr().out
        assert (folder / "notes").read_text() == text


@pytest.mark.parametrize("path", [3, object(), "a\0b", "x" * 5000, "notes/under", b"bytes", [1]])
def test_nothing_given_as_a_path_ends_the_cell(folder, capsys, path):
    (folder / "notes").write_text("a file")
    checks.ex_rd_2(1, [30.0, 40.0])
    assert checks.report(path)["of"] == 4
    assert "not saved: " in capsys.readouterr().out
    assert [p.name for p in folder.iterdir()] == ["notes"]


def test_without_any_answer_nothing_is_saved(folder, capsys):
    assert checks.report()["of"] == 0
    assert "no exercise was checked yet" in capsys.readouterr().out
    assert not any(folder.iterdir())


def test_strange_words_are_bounded_and_saved(folder):
    checks.ex_rd_4("\ud800" + "\x1b[2J" * 900)
    found = checks.report()["exercises"]["ex_rd_4"]
    assert len(found["words"]) <= 500 and "\x1b" not in found["words"]
    assert saved(folder / "report_rd.json")["exercises"]["ex_rd_4"] == found


def run(code: str, folder) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"from dictco_lib.book import checks\n{code}"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def test_a_warning_of_an_answer_is_said_but_not_on_standard_error(tmp_path):
    done = run(
        "import sys, warnings\n"
        "def loud(*arguments):\n"
        "    warnings.warn('divided by zero')\n    print('oh', file=sys.stderr)\n    return 0\n"
        "checks.ex_entropy_2(loud)",
        tmp_path,
    )
    assert "oh\n" in done.stdout and "divided by zero" in done.stdout and not done.stderr


def test_every_exercise_has_a_record_and_a_notebook_reports_its_own(tmp_path):
    run(
        "from dictco_lib.book.checks.checker import RECORDS\n"
        "assert set(RECORDS) == {n for n in checks.__all__ if n.startswith('ex_')}\n"
        "checks.ex_rd_2(None, [30.0])\nassert checks.report()['of'] == 4",
        tmp_path,
    )
    assert saved(tmp_path / "report_rd.json")["right"] == 0
