"""The command line, end to end, as a user types it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dictco_lib.book.plots import training_gap
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.config import NANO
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.files import write_atomic
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.log import read_log


@pytest.fixture
def folder(tmp_path, photo):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "one.png")
    Image.fromarray(photo[:100, :90]).save(folder / "two.jpg", quality=95)
    return folder


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_photo_to_file_and_back_with_the_shipped_model(capsys, folder, photo, tmp_path):
    coded = tmp_path / "one.dco"
    status, out, _ = run(capsys, "compress", folder / "one.png", coded, "--quality", 80)
    assert status == 0 and f"{coded.stat().st_size} bytes" in out
    status, out, _ = run(capsys, "inspect", coded)
    assert status == 0
    for text in ("301 x 203", "80", "classroom", "slice 4", "share"):
        assert text in out
    back = tmp_path / "back.png"
    status, out, _ = run(capsys, "decompress", coded, back)
    assert status == 0 and "301x203 RGB" in out
    assert psnr(np.array(Image.open(back)), photo) > 28
    assert coded.stat().st_size < (folder / "one.png").stat().st_size / 4


def test_folders_and_named_checkpoints(capsys, folder, nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    with_model = ("--model", tmp_path / "nano.safetensors")
    assert run(capsys, "compress", folder, tmp_path / "out", *with_model)[0] == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one.dco", "two.dco"]
    assert run(capsys, "decompress", tmp_path / "out", tmp_path / "back", *with_model)[0] == 0
    assert Image.open(tmp_path / "back" / "two.png").size == (90, 100)
    status, _, err = run(capsys, "decompress", tmp_path / "out" / "one.dco", tmp_path / "x.png")
    assert status == 1 and "give its checkpoint: --model" in err


def test_one_bad_file_does_not_stop_a_folder(capsys, folder, tmp_path):
    (folder / "broken.png").write_text("hello")
    status, _, err = run(capsys, "compress", folder, tmp_path / "out", "--quality", 0)
    assert status == 1
    assert "1 of 3 files failed: broken.png" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one.dco", "two.dco"]


@pytest.mark.parametrize("option", [("--bpp", 0.8), ("--max-bytes", 8000), ("--min-psnr", 30)])
def test_targets_are_met_and_reported(capsys, folder, photo, tmp_path, option):
    coded = tmp_path / "one.dco"
    status, out, _ = run(capsys, "compress", folder / "one.png", coded, *option)
    assert status == 0 and f"{coded.stat().st_size} bytes" in out and "passes" in out
    assert ("dB" in out) == (option[0] == "--min-psnr")
    if option[0] == "--max-bytes":
        assert 7840 <= coded.stat().st_size <= 8000
    if option[0] == "--bpp":
        assert 8 * coded.stat().st_size / (301 * 203) == pytest.approx(0.8, rel=0.01)


def test_each_file_of_a_folder_meets_the_target_or_is_named(capsys, folder, tmp_path):
    out = tmp_path / "out"
    status, text, err = run(capsys, "compress", folder, out, "--max-bytes", 5000)
    assert status == 0 and "two.dco" in text
    assert (out / "one.dco").stat().st_size <= 5000
    assert text.count("no quality is higher") == 1  # the small one needs less
    (out / "one.dco").unlink()
    (out / "two.dco").unlink()
    status, _, err = run(capsys, "compress", folder, out, "--max-bytes", 1500)
    assert status == 1 and "one.png: max_bytes 1500 cannot be met: quality 0 gives" in err
    assert [p.name for p in out.iterdir()] == ["two.dco"]


def test_targets_and_quality_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compress", "a.png", "a.dco", "--bpp", "0.5", "--quality", "50"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_image_is_never_replaced_by_its_file(capsys, folder):
    odd = folder / "one.jp2"
    Image.open(folder / "one.png").save(odd)
    before = odd.read_bytes()
    status, _, err = run(capsys, "compress", odd, odd)
    assert status == 1 and "is the image itself" in err and odd.read_bytes() == before


def test_only_files_are_replaced_and_links_stay(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    for special in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            write_atomic(special, b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe", "target"]


def test_a_surprise_is_one_line_and_does_not_stop_a_folder(capsys, folder, tmp_path, monkeypatch):
    import dictco_lib.images

    original = dictco_lib.images.read_image

    def surprise(source):
        if source.name == "one.png":
            raise ZeroDivisionError("what\nnow")
        return original(source)

    monkeypatch.setattr(dictco_lib.images, "read_image", surprise)
    status, _, err = run(capsys, "compress", folder, tmp_path / "out")
    assert status == 1 and "1 of 2 files failed: one.png" in err
    line = "ZeroDivisionError: what now; use --debug to see where"
    assert f"one.png: {line}" in err and "Traceback" not in err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["two.dco"]
    single = ("compress", folder / "one.png", tmp_path / "x.dco")
    status, _, err = run(capsys, *single)
    assert (status, err) == (1, f"dictco: error: {line}\n")
    assert "in surprise" in run(capsys, *single, "--debug")[2]
    assert "in surprise" in run(capsys, "compress", folder, tmp_path / "out", "--debug")[2]


def test_options_of_the_wrong_kind_of_model_are_refused(capsys, folder, tmp_path):
    fixed = DictionaryCodec(replace(NANO, lmbdas=())).eval()
    fixed.update()
    save_checkpoint(fixed, tmp_path / "fixed.safetensors")
    with_model = ("--model", tmp_path / "fixed.safetensors")
    status, _, err = run(capsys, "evaluate", folder, "--quality", 50, *with_model)
    assert status == 1 and "has one fixed rate" in err
    for option in ("--bpp", "--max-bytes", "--min-psnr", "--quality"):
        arguments = ("compress", folder / "two.jpg", tmp_path / "x.dco", option, 20)
        status, _, err = run(capsys, *arguments, *with_model)
        assert status == 1 and "has one fixed rate" in err
    assert run(capsys, "compress", folder / "two.jpg", tmp_path / "x.bin", *with_model)[0] == 0


def test_a_broken_log_is_named_with_its_line(capsys, tmp_path):
    log, figure = tmp_path / "log.jsonl", tmp_path / "log.png"
    entry = {"kind": "train", "step": 1, "loss": 1.0, "bpp": 1.0, "psnr": 30.0}
    for broken in ('{"kind": "train", "st', "[1]", '{"step": 3}', '{"kind": "train", "step": 2}'):
        log.write_text(json.dumps(entry) + "\n" + broken + "\n")
        status, _, err = run(capsys, "plot", figure, log)
        assert status == 1 and "line 2 of" in err and "dictco train" in err
    log.write_text("")
    assert "no training steps" in run(capsys, "plot", figure, log)[2]
    assert not figure.exists()
    log.write_text(json.dumps(entry) + "\n")
    assert "logs and curves" in run(capsys, "plot", figure, log, "published:vtm")[2]
    assert "is no file" in run(capsys, "plot", figure, tmp_path / "none.jsonl")[2]
    assert "--max-bpp would be ignored" in run(capsys, "plot", figure, log, "--max-bpp", 1)[2]
    assert run(capsys, "plot", figure, log, log)[0] == 0 and figure.exists()


def test_logs_of_parts_go_on_and_the_gap_between_two_runs_is_drawn(tmp_path):
    def written(name: str, losses: list[float]) -> str:
        rows = [{"kind": "train", "step": 1, "loss": 1.0, "bpp": 1.0, "psnr": 30.0}]
        rows += [
            {"kind": "validation", "step": step, "loss@0": loss, "loss@50": 2.0, "loss@100": 3.0}
            for step, loss in enumerate(losses, 2)
        ]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return str(tmp_path / name)

    long, short = written("long", [1.1, 1.2]), written("short", [1.0])
    whole = read_log(long, short)
    assert [row["step"] for row in whole] == [1, 2, 3, 4, 5]
    low, middle, _, zero = training_gap(whole, read_log(short)).axes[0].lines
    assert low.get_xdata() == [2] and low.get_ydata() == pytest.approx([10])
    assert middle.get_ydata() == [0] and len(zero.get_xdata()) == 2


def test_evaluate_writes_a_report_that_bdrate_reads(capsys, folder, nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    report = tmp_path / "report.json"
    arguments = ("evaluate", folder, "--model", tmp_path / "nano.safetensors", "--out", report)
    status, out, _ = run(capsys, *arguments, "--quality", 10, 50, 90)
    assert status == 0 and "PSNR dB" in out
    assert len(json.loads(report.read_text())["per_image"]) == 6
    status, out, _ = run(capsys, "bdrate", report, report)
    assert status == 0 and "+0.00 %" in out


def test_evaluate_can_overrule_the_router(capsys, folder, nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    command = ("evaluate", folder, "--model", tmp_path / "nano.safetensors", "--quality", 50)
    rows = {}
    for gates in (None, "uniform", "only:1"):
        report = tmp_path / "report.json"
        more = ("--gates", gates) if gates else ()
        assert run(capsys, *command, "--mode", "estimated", "--out", report, *more)[0] == 0
        rows[gates] = json.loads(report.read_text())["results"]
    assert rows["uniform"]["gate_entropy"] == pytest.approx([2.0])
    assert rows["only:1"]["gate_entropy"] == [0.0]
    assert len({row["bpp"][0] for row in rows.values()}) == 3
    assert "--gates is for estimates" in run(capsys, *command, "--gates", "uniform")[2]
    wrong = run(capsys, *command, "--mode", "estimated", "--gates", "only:4")
    assert wrong[0] == 1 and "0 to 3" in wrong[2]


def test_training_by_recipe(capsys, tmp_path):
    recipe = {"model": "nano", "data": ["scikit-image"], "out": "run", "steps": 2, "crop": 64}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in recipe.items()]
    (tmp_path / "r.toml").write_text("".join(lines))
    status, out, _ = run(capsys, "train", tmp_path / "r.toml")
    assert status == 0 and "2 steps" in out
    assert (tmp_path / "run" / "last.safetensors").exists()
    assert (
        run(capsys, "export", tmp_path / "run/last.safetensors", tmp_path / "s.safetensors")[0] == 0
    )


def test_models_lists_what_ships(capsys):
    status, out, _ = run(capsys, "models", "--json")
    ships = {m["name"]: m["weights"] and m["weights"]["file"] for m in json.loads(out)}
    assert status == 0 and ships["classroom"] == "classroom.safetensors" and ships["dcae"] is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "bytes early"),
        (lambda data: data[:3], "ends at byte"),
        (lambda data: b"", "a .dco file with"),
        (lambda data: b"\x89PNG" + data[4:], "a .dco file with"),
        (lambda data: data[:4] + b"\x07" + data[5:], "version 7"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 4]) + data[-8:], "checksum"),
        (lambda data: data[:5] + bytes(8) + data[13:], "checksum"),
    ],
)
def test_damaged_files_give_one_line_and_no_output(capsys, folder, tmp_path, damage, message):
    coded, target = tmp_path / "one.dco", tmp_path / "back.png"
    run(capsys, "compress", folder / "two.jpg", coded, "--quality", 0)
    coded.write_bytes(damage(coded.read_bytes()))
    target.write_bytes(b"old")
    status, _, err = run(capsys, "decompress", coded, target, "--force")
    assert status == 1
    assert err.startswith("dictco: error: ") and err.count("\n") == 1 and message in err
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "none.png", "x.dco"), "none.png does not exist"),
        (("compress", "a.png", "x.png"), "suffix .dco"),
        (("plot", "curve.pdf", "published:vtm"), "suffix .png"),
        (("bench", "--recipe", "a.toml", "--size", 64, 64), "--size would be ignored"),
        (("evaluate", ".", "--out", "."), "is a folder"),
        (("decompress", "none.dco", "x.png"), "none.dco does not exist"),
        (("decompress", "none.dco", "x.psd"), "suffix '.psd'; use .png"),
        (("inspect", "none.dco"), "none.dco does not exist"),
        (("evaluate", "none"), "no folder"),
        (("evaluate", ".", "--batch-size", 2), "--batch-size would be ignored"),
        (("train", "none.toml"), "does not exist"),
        (("compress", "none.png", "x.dco", "--model", "giant"), "no model 'giant'"),
        (("compress", "none.png", "x.dco", "--device", "cuda"), "no CUDA device"),
        (("compress", "none.png", "x.bin", "--quality", 0), "--quality would be ignored"),
        (("compress", "none.png", "x.bin", "--fast", "--metadata"), "--metadata and --fast"),
        (("compress", "none.png", "x.bin", "--max-bytes", 9), "--max-bytes would be ignored"),
        (("decompress", "none.bin", "x.png", "--slices", 0), "--slices would be ignored"),
        (("decompress", "none.bin", "x.png", "--partial"), "--partial would be ignored"),
        (("bench", "--repeats", 0), "at least 1"),
        (("bench", "--size", 0, 64), "at least 1"),
    ],
)
def test_mistakes_are_explained_in_one_line(capsys, monkeypatch, tmp_path, arguments, message):
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, err = run(capsys, *arguments)
    assert status == 1 and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(capsys):
    status, _, err = run(capsys, "inspect", "none.dco", "--debug")
    assert status == 1 and "Traceback" in err


def test_help_teaches_with_examples_and_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "dictco_lib", "compress", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "dictco compress photo.jpg small.dco --quality 10" in done.stdout


def test_a_folder_meets_a_rate_on_average(capsys, folder, nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    out = tmp_path / "out"
    words = ("compress", folder, out, "--model", tmp_path / "nano.safetensors")
    words += ("--bpp", 1.0, "--average")
    status, said, err = run(capsys, *words)
    assert status == 0, err
    pixels = 301 * 203 + 90 * 100
    total = sum(path.stat().st_size for path in out.iterdir())
    assert 0.99 <= 8 * total / pixels <= 1.0
    assert f"2 images: {8 * total / pixels:.4f} bpp together ({total} bytes)" in said
    assert "asked for 1: quality" in said and "2 done" in said
    # Again: the same quality, and nothing is made anew; nor if it is given.
    status, said, _ = run(capsys, *words)
    assert status == 0 and "2 done before" in said
    quality = re.search(r"quality (\S+) after", said)[1]
    status, said, _ = run(capsys, *words[:-3], "--quality", quality)
    assert status == 0 and "2 done before" in said
    # Another rate replaces what this command made, and nothing that it did not make.
    (out / "two.dco").write_bytes(b"mine")
    status, _, err = run(capsys, *words[:-2], 0.8, "--average")
    assert status == 1 and "did not make it as it is" in err
    (out / "two.dco").unlink()
    status, said, _ = run(capsys, *words[:-2], 0.8, "--average")
    assert status == 0 and "2 done" in said
    assert 0.792 <= 8 * sum(path.stat().st_size for path in out.iterdir()) / pixels <= 0.8


def test_an_average_is_refused_where_there_is_none(capsys, folder, tmp_path):
    for words, message in (
        (("compress", folder, tmp_path / "out", "--average"), "--bpp"),
        (("compress", folder / "one.png", tmp_path / "a.dco", "--bpp", 1, "--average"), "several"),
        (("compress", folder, tmp_path / "out", "--bpp", 99, "--average"), "cannot be met"),
    ):
        status, _, err = run(capsys, *words)
        assert status == 1 and message in err
    (folder / "broken.png").write_text("hello")
    words = ("compress", folder, tmp_path / "out", "--bpp", 1, "--average")
    status, _, err = run(capsys, *words)
    assert status == 1 and "broken.png fails" in err
    assert not list((tmp_path / "out").glob("*.dco"))
