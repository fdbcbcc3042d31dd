"""Files are never lost, and never left out in silence: searches, outputs, names, kills."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dictco_lib import files, progress
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.errors import DictcoError, DiskFull, ImageError, OutputError
from dictco_lib.evaluation.rd import images_in
from dictco_lib.images import find_images, looks_like_image, read_image
from dictco_lib.training.data import TrainingImages
from dictco_lib.training.ownership import owned_folder

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
JXL = b"\xff\x0a" + bytes(40)


@pytest.fixture(autouse=True)
def ledger_folder(tmp_path_factory, monkeypatch):
    """A ledger of its own for each test."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def model(nano, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    save_checkpoint(nano, path)
    return path


@pytest.fixture
def run(capsys, model, monkeypatch, tmp_path):
    """The command line in an empty folder, with a model that takes no time."""
    monkeypatch.chdir(tmp_path)

    def command(name: str, *arguments) -> tuple[int, str, str]:
        with_model = ("--model", model) if name in ("compress", "decompress", "evaluate") else ()
        status = main([name, *map(str, arguments), *map(str, with_model)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def image(path: Path | str, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    pil = Image.fromarray(pixels)
    if path.suffix.lower() in Image.registered_extensions():
        pil.save(path)
    else:
        pil.save(path, "PNG")
    return path


def names(folder: Path | str) -> list[str]:
    folder = Path(folder)
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def contents(folder: Path | str) -> dict[str, bytes]:
    return {name: (Path(folder) / name).read_bytes() for name in names(folder)}


# What is found


def mixed_folder(folder: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "c.jp2", "d.qoi", "e.tga", "sub/deep/f.webp", "sub/g.pgm"):
        if name.endswith("pgm"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / name)
        else:
            image(folder / name)
    image(folder / "no_suffix")
    (folder / "really_png.jpeg").write_bytes((folder / "b.PNG").read_bytes())
    (folder / "x.HEIC").write_bytes(HEIC)
    (folder / "phone.jpg").write_bytes(HEIC)  # some phones call it so
    (folder / "y.jxl").write_bytes(JXL)
    (folder / "z.dng").write_bytes((folder / "b.PNG").read_bytes())  # as a preview in it
    (folder / "w.psd").write_bytes(b"8BPS" + bytes(60))
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").write_bytes(b"")
    (folder / ".hidden.png").write_bytes((folder / "b.PNG").read_bytes())
    (folder / "._a.jpg").write_bytes(b"\0\5\x16\7" + bytes(80))
    image(folder / "__MACOSX" / "a.jpg")
    image(folder / ".cache" / "a.jpg")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / "socket.png"))
    (folder / "loop").symlink_to(folder)
    (folder / "nothing.png").symlink_to(folder / "gone.png")
    return folder


TAKEN = ["a.jpg", "b.PNG", "c.jp2", "d.qoi", "e.tga", "no_suffix", "really_png.jpeg"]
TAKEN += ["sub/deep/f.webp", "sub/g.pgm"]
SKIPPED = {
    "x.HEIC": "needs pillow-heif", "phone.jpg": "needs pillow-heif",
    "y.jxl": "needs pillow-jxl-plugin", "z.dng": "camera raw", "w.psd": "layers",
    "pipe.png": "pipe", "socket.png": "pipe", "nothing.png": "link to nothing",
}  # fmt: skip


@pytest.fixture
def mixed(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    from dictco_lib.images import formats

    monkeypatch.setattr(formats.importlib, "import_module", no_plugin)
    formats._formats.cache_clear()
    yield mixed_folder(tmp_path / "mixed")
    formats._formats.cache_clear()


def no_plugin(name: str):
    raise ImportError(name)


def test_a_search_takes_what_a_single_call_takes_and_names_the_rest(mixed):
    found = find_images(mixed)
    assert [str(p.relative_to(mixed)) for p in found.taken] == TAKEN
    reasons = {str(p.relative_to(mixed)): reason for p, reason in found.skipped.items()}
    assert reasons.keys() == SKIPPED.keys()
    assert all(SKIPPED[name] in reason for name, reason in reasons.items()), reasons
    assert sorted(p.name for p in found.others) == ["empty", "notes.txt"]
    for path in found.taken:
        read_image(path)
    for name, reason in SKIPPED.items():
        path = mixed / name
        with pytest.raises(ImageError, match="does not exist" if "nothing" in name else reason):
            read_image(path)
    assert images_in(mixed) == found.taken
    assert [Path(item.path) for item in TrainingImages((str(mixed),)).items] == found.taken


def test_tar_shards_hold_the_same_images_as_folders(mixed, caplog):
    with tarfile.open(mixed.parent / "shard.tar", "w") as tar:
        tar.add(mixed, "top", filter=lambda m: None if m.issym() or m.isfifo() else m)
    items = TrainingImages((str(mixed.parent / "shard.tar"),)).items
    prefix = f"{mixed.parent / 'shard.tar'}/top/"
    assert sorted(item.name.removeprefix(prefix) for item in items) == TAKEN
    assert "x.HEIC: it needs pillow-heif" in caplog.text


def test_commands_over_folders_take_all_keep_the_layout_and_count_what_is_skipped(run, mixed):
    status, out, err = run("compress", mixed, "out/", "--quality", 0)
    assert status == 0, err
    stems = [name if name == "no_suffix" else name.rsplit(".", 1)[0] for name in TAKEN]
    assert names("out") == sorted(f"{stem}.dco" for stem in stems)
    assert f"{len(TAKEN)} done, {len(SKIPPED)} skipped: " in out
    assert "2 left alone, no images: empty, notes.txt" in out
    for name, reason in SKIPPED.items():
        assert any(name in line and reason in line for line in err.splitlines())
    status, out, _ = run("decompress", "out", "back")
    assert status == 0 and names("back") == sorted(f"{stem}.png" for stem in stems)
    assert Image.open("back/sub/deep/f.png").size == (40, 30)


def test_every_skipped_one_is_named_in_one_line_where_they_are_few(run, tmp_path):
    image("photos/a.png")
    Path("photos/x.HEIC").write_bytes(HEIC)
    status, out, err = run("compress", "photos", "out/", "--quality", 0)
    assert status == 0
    assert out.splitlines()[-1] == "1 done, 1 skipped: x.HEIC needs pillow-heif"
    status, out, err = run("evaluate", "photos", "--quality", 0, "--mode", "estimated")
    assert status == 0 and "1 skipped: x.HEIC needs pillow-heif" in err


def test_links_to_folders_are_followed_once(tmp_path):
    image(tmp_path / "photos/real/a.png")
    image(tmp_path / "elsewhere/b.png")
    (tmp_path / "photos/again").symlink_to(tmp_path / "photos/real")
    (tmp_path / "photos/far").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "photos")
    found = find_images(tmp_path / "photos")
    assert [str(p.relative_to(tmp_path / "photos")) for p in found.taken] == [
        "far/b.png",
        "real/a.png",
    ]


def test_folders_as_deep_as_the_system_allows_are_no_surprise(tmp_path):
    folder = tmp_path
    while len(str(folder)) < 3500:
        folder = folder / ("d" * 9)
    image(folder / "a.png")
    assert find_images(tmp_path).taken == [folder / "a.png"]


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    image(tmp_path / "a.png")
    (tmp_path / "closed").mkdir()
    original = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_images(tmp_path)
    assert found.skipped == {tmp_path / "closed": "cannot be read: Permission denied"}
    assert len(found.taken) == 1


# What is written over


@pytest.mark.parametrize(
    "suffix", ["jp2", "png", "JPG", "heic", "cr2", "tga", "svg", "pfm", "indd", "jxs", "heifs"]
)
def test_a_glob_over_images_is_refused_with_the_way_out(run, tmp_path, suffix):
    for name in "abc":
        Path(f"{name}.{suffix}").write_bytes(name.encode())
    before = contents(".")
    for inputs in ("abc", "ab"):
        status, _, err = run("compress", *(f"{name}.{suffix}" for name in inputs))
        assert status == 1 and "the last name is the output" in err and "out" in err.lower()
        assert contents(".") == before
    assert looks_like_image(f"a.{suffix}")


def test_several_inputs_and_a_folder_work_both_ways(run, tmp_path):
    image("a.jpg", 1), image("b.png", 2), image("more/c.png", 3)
    assert run("compress", "a.jpg", "b.png", "more", "out/", "--quality", 0)[0] == 0
    assert names("out") == ["a.dco", "b.dco", "more/c.dco"]
    assert run("decompress", "out/a.dco", "out/b.dco", "back/")[0] == 0
    assert names("back") == ["a.png", "b.png"]


def test_the_output_may_stand_behind_options(run, capsys, tmp_path):
    image("a.jpg", 1), image("b.png", 2)
    assert run("compress", "a.jpg", "b.png", "--quality", 0, "out/")[0] == 0
    assert names("out") == ["a.dco", "b.dco"]
    for wrong in (
        ("compress", "a.jpg", "b.dco", "--sharp"),
        ("models", "x"),
        ("compress", "a.jpg"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(list(wrong))
        assert "error" in capsys.readouterr().err


def test_a_folder_with_a_slash_is_made_and_never_a_file(run, tmp_path):
    image("a.png")
    assert run("compress", "a.png", "out/", "--quality", 0)[0] == 0
    assert names("out") == ["a.dco"]
    Path("taken").write_text("mine")
    status, _, err = run("compress", "a.png", "taken/")
    assert status == 1 and "taken/" in err and Path("taken").read_text() == "mine"
    status, _, err = run("compress", "out", "x.dco")
    assert status == 1 and "write x.dco/" in err and not Path("x.dco").exists()


def test_only_what_the_command_made_is_replaced(run, tmp_path):
    image("a.png", 1), image("b.png", 2)
    for foreign in ("notes.txt", "x.dco", "y.bin"):
        Path(foreign).write_bytes(b"somebody's")
        status, _, err = run("compress", "a.png", foreign)
        assert status == 1 and foreign in err
        assert Path(foreign).read_bytes() == b"somebody's"
    assert run("compress", "a.png", "x.dco", "--quality", 0, "--force")[0] == 0
    assert run("compress", "b.png", "x.dco", "--quality", 0)[0] == 0  # ours, and named
    Path("x.dco").write_bytes(Path("x.dco").read_bytes() + b"edited")
    status, _, err = run("compress", "a.png", "x.dco")
    assert status == 1 and "did not make it as it is" in err and "--force" in err


def test_unpacking_into_the_folder_of_the_originals_loses_nothing(run, tmp_path):
    image("photos/a.png", 1), image("photos/b.png", 2)
    before = contents("photos")
    assert run("compress", "photos", "photos", "--quality", 0)[0] == 0
    status, _, err = run("decompress", "photos", "photos")
    assert status == 1 and "a.png exists" in err and "b.png exists" in err
    status, _, err = run("decompress", "photos/a.dco", "photos/a.png")
    assert status == 1 and "--force" in err
    assert {name: contents("photos")[name] for name in before} == before
    assert run("decompress", "photos/a.dco", "photos/a.png", "--force")[0] == 0
    assert contents("photos")["a.png"] != before["a.png"]
    assert run("decompress", "photos/a.dco", "photos/a.png")[0] == 0  # made here, and named


def test_two_folders_with_one_name_for_their_images_do_not_eat_each_other(run, tmp_path):
    image("one/IMG_1.png", 1), image("two/IMG_1.png", 2)
    assert run("compress", "one", "out", "--quality", 0)[0] == 0
    before = contents("out")
    status, _, err = run("compress", "two", "out", "--quality", 0)
    assert status == 1 and "was made of another file" in err and contents("out") == before


@pytest.mark.parametrize("made", [("a.png", "a.jpg"), ("a.PNG", "a.tif")])
def test_two_inputs_with_one_output_stop_only_themselves(run, tmp_path, made):
    for name in (*made, "b.png"):
        image(f"photos/{name}")
    status, out, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 1 and all(name in err for name in made) and "1 done, 2 failed" in out
    assert names("out") == ["b.dco"]


def test_names_in_upper_and_lower_case_meet_where_the_disk_ignores_case(run, monkeypatch):
    image("photos/A.png"), image("photos/a.jpg"), image("photos/b.png")
    assert run("compress", "photos", "both", "--quality", 0)[0] == 0
    monkeypatch.setattr("dictco_lib.commands.jobs.ignores_case", lambda folder: True)
    status, _, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 1 and "A.png and a.jpg" in err and names("out") == ["b.dco"]


def test_other_commands_replace_only_what_they_made(run, tmp_path):
    image("photos/a.png")
    for command in (
        ("evaluate", "photos", "--quality", 0, "--mode", "estimated", "--out", "out"),
        ("export", "in", "out"),
    ):
        Path("out").write_text('{"my": "notes"}')
        status, _, err = run(*command)
        assert status == 1 and "--force" in err and Path("out").read_text() == '{"my": "notes"}'
    image("out.png")
    before = Path("out.png").read_bytes()
    status, _, err = run("plot", "out.png", "published:vtm")
    assert status == 1 and "--force" in err and Path("out.png").read_bytes() == before
    for force in (("--force",), ()):
        assert run("plot", "out.png", "published:vtm", *force)[0] == 0
        again = ("photos", "--quality", 0, "--mode", "estimated", "--out", "out")
        assert run("evaluate", *again, *force)[0] == 0


def test_export_never_replaces_the_weights_it_reads(run, model, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(model.read_bytes())
    status, _, err = run("export", path, path)
    assert status == 1 and "--force" in err and path.read_bytes() == model.read_bytes()
    for _ in range(2):
        assert run("export", path, tmp_path / "half.safetensors")[0] == 0


def test_a_file_that_came_while_the_work_was_done_stays(run, monkeypatch, tmp_path):
    import dictco_lib.coding

    image("a.png"), image("photos/a.png")
    original = dictco_lib.coding.encode

    def slow(*args, **options):
        Path("out").mkdir(exist_ok=True)
        for late in ("x.dco", "out/a.dco"):
            Path(late).write_text("somebody's")
        return original(*args, **options)

    monkeypatch.setattr(dictco_lib.coding, "encode", slow)
    for command in (("a.png", "x.dco"), ("photos", "out/")):
        Path("x.dco").unlink(missing_ok=True)
        Path("out/a.dco").unlink(missing_ok=True)
        status, _, err = run("compress", *command)
        assert status == 1 and "did not make it" in err
        assert Path("x.dco").read_text() == Path("out/a.dco").read_text() == "somebody's"


# Repeating


def test_a_run_is_repeated_only_where_something_changed(run, tmp_path):
    for i, name in enumerate("abc"):
        image(f"photos/{name}.png", i)
    first = run("compress", "photos", "out", "--quality", 0)
    assert first[0] == 0 and first[1].splitlines()[-1] == "3 done"
    before = contents("out")
    again = run("compress", "photos", "out", "--quality", 0)
    assert again[0] == 0 and "0 done, 3 done before" in again[1] and contents("out") == before
    os.utime("photos/a.png")  # not its bytes
    image("photos/b.png", 9)
    os.utime("photos/b.png", (1, 1))  # an older date is a change as well
    changed = run("compress", "photos", "out", "--quality", 0)
    assert "1 done, 2 done before" in changed[1] and contents("out")["b.dco"] != before["b.dco"]
    Path("out/c.dco").unlink()
    assert "1 done, 2 done before" in run("compress", "photos", "out", "--quality", 0)[1]
    other = run("compress", "photos", "out", "--quality", 1)
    assert other[0] == 0 and "3 done" in other[1] and "before" not in other[1]
    assert "3 done" in run("compress", "photos", "out", "--quality", 1, "--force")[1]
    assert "3 done" in run("decompress", "out", "back")[1]
    assert "0 done, 3 done before" in run("decompress", "out", "back")[1]


def test_equal_images_are_no_confusion(run, tmp_path):
    for name in "abc":
        image(f"photos/{name}.png", 1)
    first = run("compress", "photos", "out", "--quality", 0)
    again = run("compress", "photos", "out", "--quality", 0)
    assert "3 done" in first[1] and again[0] == 0 and "0 done, 3 done before" in again[1]


def test_a_ledger_that_cannot_be_kept_is_said_and_stops_nothing(run, ledger_folder):
    image("photos/a.png")
    (ledger_folder / "dictco").write_text("a file where the folder should be")
    status, _, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 0 and "a second run will not know" in err and names("out") == ["a.dco"]
    status, _, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 1 and "exists" in err


def test_a_cut_ledger_is_read_up_to_the_cut(run, ledger_folder):
    image("photos/a.png"), image("photos/b.png", 1)
    run("compress", "photos", "out", "--quality", 0)
    ledger = ledger_folder / "dictco" / "made"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    status, out, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 1 and "1 done before" in out and "b.dco exists" in err


# Names and streams


def test_pipes_and_devices_are_refused_at_once(run, tmp_path):
    os.mkfifo("x.png"), os.mkfifo("x.dco")
    for command in (
        ("compress", "x.png", "a.dco"), ("decompress", "x.dco", "a.png"), ("inspect", "x.dco"),
        ("compress", "/dev/zero", "a.dco"), ("decompress", "/dev/zero", "a.png"),
    ):  # fmt: skip
        status, _, err = run(*command)
        assert status == 1 and ("a pipe" in err or "a device" in err or "no regular" in err)
    image("a.png")
    for target in ("x.dco", "/dev/null"):
        status, _, err = run("compress", "a.png", target)
        assert status == 1 and "no regular file" in err
    assert stat.S_ISFIFO(os.stat("x.dco").st_mode)


def test_a_hyphen_is_standard_input_and_output(model, tmp_path, monkeypatch, capsysbinary):
    monkeypatch.chdir(tmp_path)
    data = image("a.png").read_bytes()

    def piped(text: bytes, *arguments: str) -> tuple[bytes, bytes]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        with_model = () if arguments[0] == "inspect" else ("--model", str(model))
        assert main([*arguments, *with_model]) == 0
        return capsysbinary.readouterr()

    coded, err = piped(data, "compress", "-", "-", "--quality", "0")
    assert coded.startswith(b"DCO") and b"standard output: " in err
    assert b"40 x 30" in piped(coded, "inspect", "-")[0]
    assert piped(coded, "decompress", "-", "-")[0].startswith(b"\x89PNG")
    assert piped(coded, "decompress", "-", "-", "--format", "webp")[0].startswith(b"RIFF")
    piped(data, "compress", "-", "b.dco", "--quality", "0")
    assert Path("b.dco").read_bytes() == coded
    assert piped(b"", "compress", "a.png", "-", "--quality", "0")[0] == coded
    assert names(".") == ["a.png", "b.dco"]


def test_what_a_hyphen_cannot_be_is_said(run, tmp_path):
    image("a.png"), image("photos/b.png")
    for command, message in (
        (("compress", "-", "photos/"), "no name"),
        (("compress", "photos", "-"), "one file"),
        (("compress", "-", "a.png", "out/"), "one file"),
        (("decompress", "a.dco", "b.png", "--format", "webp"), "--format would be ignored"),
    ):
        status, _, err = run(*command)
        assert status == 1 and message in err


@pytest.mark.parametrize(
    "name", ["é" * 125, "n" * 250, "a\nb", "a\x1b[31mb", "a\udcffb", "\u202eb"]
)
def test_any_legal_name_works_and_prints_harmlessly(run, capsys, tmp_path, name):
    image(f"photos/{name}.png")
    status, out, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 0, err
    assert os.listdir("out") == [f"{name}.dco"]
    assert "\x1b" not in out and "\u202e" not in out and len(out.splitlines()) == 2
    status, out, err = run("compress", f"photos/{name}.png", f"{name}.dco", "--quality", 0)
    assert status == 0, err
    status, _, err = run("inspect", f"{name}.dco")
    assert status == 0 and "\x1b" not in out


def test_a_name_that_gets_too_long_stops_only_itself(run, tmp_path):
    image("photos/a.png")
    (Path("photos") / ("n" * 253)).write_bytes(Path("photos/a.png").read_bytes())
    status, _, err = run("compress", "photos", "out", "--quality", 0)
    assert status == 1 and "257 bytes" in err and names("out") == ["a.dco"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_an_output_that_is_replaced_keeps_its_mode_and_its_link(run, tmp_path, mode):
    image("a.png")
    assert run("compress", "a.png", "real.dco", "--quality", 0)[0] == 0
    os.chmod("real.dco", mode)
    Path("link.dco").symlink_to("real.dco")
    assert run("compress", "a.png", "link.dco", "--quality", 100)[0] == 0
    assert Path("link.dco").is_symlink() and stat.S_IMODE(os.stat("real.dco").st_mode) == mode


# Finding out before the work


@pytest.mark.parametrize("place", ["file/x{}", "{}/", "/proc/none/x{}", "n" * 300 + "{}"])
def test_commands_find_out_before_the_work_whether_they_can_write(run, tmp_path, place):
    image("photos/a.png")
    Path("file").write_text("mine")
    for folder in (".json", ".png", ".safetensors", ".dco"):
        Path(folder).mkdir()

    def work(*_: object, **__: object):
        raise AssertionError("the work began")

    for suffix, command in (
        (".json", ("evaluate", "photos", "--out")),
        (".png", ("plot",)),
        (".safetensors", ("export", "none.safetensors")),
        (".dco", ("compress", "none.png")),
    ):
        if place == "{}/" and suffix == ".dco":
            continue  # a folder is fine there
        out = place.format(suffix)
        more = ("published:vtm",) if command[0] == "plot" else ()
        status, _, err = run(*command, out, *more)
        assert status == 1 and err.count("\n") == 1, (command, err)
        assert not any(word in err for word in ("does not exist", "work began")), err
    if "n" * 300 not in place:
        status, _, err = run("anchors", "photos", "--codecs", "jpeg", "--out", "file/x")
        assert status == 1 and "file is a file" in err
    assert Path("file").read_text() == "mine"


def test_training_finds_out_before_the_data_are_read(run, tmp_path):
    Path("file").write_text("mine")
    recipe = {"model": "nano", "data": ["none"], "out": "file/run", "steps": 1, "crop": 64}
    Path("r.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in recipe.items()))
    status, _, err = run("train", "r.toml")
    assert status == 1 and "cannot be written" in err


def test_checking_leaves_nothing_behind(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "c.json")
    files.check_writable(tmp_path / "a" / "b", "folder")
    assert not list(tmp_path.iterdir())


# Full disks


@contextlib.contextmanager
def small_files():
    """No file of this process may grow above 4096 bytes: the system says so as for a full disk.

    Inside a test only: the report of the tests may go to a file that is longer.
    """
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_called_so_whoever_writes(tmp_path, nano):
    target = tmp_path / "x"

    def torch_save():
        with files.atomic_path(target) as temporary:
            torch.save(torch.zeros(9999), temporary)

    def append():
        for _ in range(9):
            files.append_text(target, "x" * 1000)

    for write in (
        lambda: files.write_atomic(target, bytes(9999)),
        lambda: save_checkpoint(nano, target),
        torch_save,
        append,
    ):
        with pytest.raises(DiskFull, match=f"the disk is full: {target} cannot be written"):
            with small_files():
                write()
        target.unlink(missing_ok=True)
    assert not list(tmp_path.iterdir())


def test_a_full_standard_output_is_called_so():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dictco_lib", "bdrate", "published:vtm", "published:dcae"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1 and "the disk is full" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_lines_that_a_full_disk_does_not_take_fail_no_file(model, tmp_path, stream, unbuffered):
    for i, name in enumerate("abc"):
        image(tmp_path / f"{name}.png", i)
    command = [sys.executable, "-m", "dictco_lib", "compress", "a.png", "b.png", "c.png", "out/"]
    command += ["--quality", "0", "--model", str(model)]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, **streams)
    assert names(tmp_path / "out") == ["a.dco", "b.dco", "c.dco"]
    if stream == "stdout":
        assert done.returncode == 1 and "failed" not in done.stderr
        assert done.stderr.count("the disk is full") == 1
    else:
        assert done.stdout.splitlines()[-1] == "3 done"


# Other streams


def test_a_closed_pipe_and_a_poor_locale_are_no_errors(tmp_path):
    shell = f"{sys.executable} -m dictco_lib models | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.stdout.endswith("0\n") and done.stderr == ""
    env = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "dictco_lib", "inspect", "ünï\udcff.dco"],
        env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "does not exist" in done.stderr and done.stderr.count("\n") == 1


def test_a_pipe_that_closes_does_not_stop_a_run(run, monkeypatch, tmp_path):
    for i, name in enumerate("abc"):
        image(f"photos/{name}.png", i)
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert run("compress", "photos", "out", "--quality", 0)[0] == 0
    assert len(names("out")) == 3


def test_a_bar_that_is_no_terminal_writes_a_line_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar(total=1000, unit="file") as bar:
        for _ in range(1000):
            now[0] += 0.1
            bar.update()
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 4 and "\r" not in err and "1000/1000" in err


# Kills


def left_by_a_killed_run(folder: Path) -> Path:
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = folder / f".dictco-{gone.pid}-0123456789abcdef.tmp"
    path.write_bytes(b"half an image")
    return path


def test_leftovers_of_dead_runs_go_and_nothing_else(tmp_path):
    dead = left_by_a_killed_run(tmp_path)
    users = [tmp_path / ".dictco-12-abc.tmp", tmp_path / "x.tmp", tmp_path / ".x.png.a1b2c3d4"]
    users.append(tmp_path / f".dictco-{os.getpid()}-0123456789abcdef.tmp")  # a live process's
    for path in users:
        path.write_bytes(b"mine")
    locked = left_by_a_killed_run(tmp_path).rename(dead.with_name(dead.name.replace("0", "1")))
    link = dead.with_name(dead.name.replace("0", "2"))
    link.symlink_to(users[0])
    with locked.open() as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        dead.write_bytes(b"half")
        files.check_writable(tmp_path / "out.dco")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        p.name for p in [*users, locked, link]
    )


def start(*arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "dictco_lib", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_whole_files_and_can_be_repeated(run, tmp_path, model, number):
    for i in range(20):
        image(f"photos/{i}.png", i)
    process = start("compress", "photos", "out", "--model", model)
    while not Path("out").exists() or len(list(Path("out").glob("*.dco"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(random.random() / 5)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == (143 if number == signal.SIGTERM else -number), err
    made = names("out")
    if number == signal.SIGTERM:
        assert all(name.endswith(".dco") for name in made) and "SIGTERM" in err
    left_by_a_killed_run(Path("out"))
    whole = [name for name in made if name.endswith(".dco")]
    status, out, err = run("compress", "photos", "out")
    assert status == 0 and f"{20 - len(whole)} done, {len(whole)} done before" in out, err
    assert names("out") == sorted(f"{i}.dco" for i in range(20))
    assert run("decompress", "out", "back")[0] == 0


ENDED = """
import os, pathlib, sys
from dictco_lib import files
kind, name = {"open": (os, "open"), "unlink": (pathlib.Path, "unlink")}[sys.argv[1]]
usual, calls = getattr(kind, name), []
def ended(path, *args, **options):  # as if a signal came, once, around this line
    if calls:
        return usual(path, *args, **options)
    calls.append(path)
    if name == "open":
        usual(path, *args, **options)
    raise KeyboardInterrupt
setattr(kind, name, ended)
files.check_writable("a.txt")  # makes a temporary, and removes it
"""


@pytest.mark.parametrize("line", ["open", "unlink"])
def test_a_signal_between_two_lines_leaves_no_temporary(run, tmp_path, line):
    Path("out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ENDED, line], cwd="out", capture_output=True, text=True
    )
    assert "KeyboardInterrupt" in done.stderr
    assert names("out") == []


def test_a_process_that_was_forked_leaves_temporaries_alone(tmp_path, monkeypatch):
    with files.atomic_path(tmp_path / "a.txt") as temporary:
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "getpid", lambda: 1)
            files._remove_made()
        temporary.write_bytes(b"whole")
    assert (tmp_path / "a.txt").read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_a_training_has_one_owner(run, tmp_path):
    recipe = {"model": "nano", "data": ["scikit-image"], "out": "run", "steps": 9999, "crop": 64}
    Path("r.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in recipe.items()))
    process = start("train", "r.toml", "--set", "batch_size=4", "workers=0")
    while not Path("run/log.jsonl").exists() and not Path("run/tensorboard").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    status, _, err = run("train", "r.toml", "--set", "batch_size=4", "steps=1")
    assert status == 1 and "run belongs to another training" in err
    assert f"process {process.pid}" in err
    process.kill()
    process.communicate()
    status, out, err = run("train", "r.toml", "--set", "batch_size=4", "steps=1")
    assert status == 0 and "1 steps" in out and not Path("run/.lock").exists()


def test_a_folder_is_owned_once_within_a_process_too(tmp_path):
    with owned_folder(tmp_path / "run", "training"):
        with pytest.raises(OutputError, match="belongs to another training"):
            with owned_folder(tmp_path / "run", "training"):
                pass
    with owned_folder(tmp_path / "run", "training"):
        pass
    assert not list((tmp_path / "run").iterdir())


def test_errors_about_outputs_are_ours_and_the_systems(tmp_path):
    with pytest.raises(DictcoError):
        files.write_atomic(tmp_path, b"")
    with pytest.raises(OSError):
        files.write_atomic(tmp_path, b"")


# Names that are none


@pytest.mark.parametrize(
    "words",
    [
        ("compress", "", "out/"),
        ("compress", "a.png", ""),
        ("decompress", "a.dco", ""),
        ("evaluate", ".", "--out", ""),
        ("plot", "", "a.json"),
    ],
)
def test_an_empty_name_is_not_the_folder_that_one_is_in(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    image("a.png")
    with pytest.raises(SystemExit, match="2"):
        main(list(words))
    assert "an argument is empty" in capsys.readouterr().err
    assert names(".") == ["a.png"]


def test_names_that_the_system_does_not_take_are_named_errors(run, tmp_path):
    image("a.png")
    os.symlink("loop.png", "loop.png")
    long = "x" * 300
    for words in (
        ("compress", "a.png", f"{long}.dco"),
        ("compress", "a.png", f"{long}/"),
        ("compress", f"{long}.png", "x.dco"),
        ("compress", "loop.png", "x.dco"),
        ("compress", "loop.png", "out/"),
        ("decompress", "loop.png", "x.png"),
        ("decompress", f"{long}.dco", "x.png"),
        ("inspect", "loop.png"),
        ("inspect", f"{long}.dco"),
        ("evaluate", long),
        ("evaluate", "a.png", "--out", f"{long}.json"),
    ):
        status, _, err = run(*words)
        assert status == 1 and "Errno" not in err, (words, err)
    assert not Path("x.dco").exists()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_name_of_standard_output_is_no_file_to_replace(run, tmp_path, name):
    image("a.png")
    status, _, err = run("compress", "a.png", name, "--force")
    assert status == 1 and "- for standard output" in err


def test_force_replaces_no_input_of_the_same_run(run, tmp_path):
    image("both/a.png", 1), image("both/a.dco", 2), image("both/b.png", 3)
    before = contents("both")
    status, _, err = run("compress", "both", "both", "--force", "--quality", 0)
    assert status == 1 and "a.png" in err and "an input too" in err
    after = contents("both")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"a.dco.dco", "b.dco"}


def test_streams_that_are_closed_stop_only_what_needs_them(model, tmp_path):
    image(tmp_path / "a.png")
    command = f"{sys.executable} -m dictco_lib compress --quality 0 --model {model}"

    def shell(line: str) -> subprocess.CompletedProcess:
        return subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)

    done = shell(f"{command} a.png out/ <&- >&- 2>&-")
    assert done.returncode == 0 and names(tmp_path / "out") == ["a.dco"]
    for line, what in ((f"{command} - x.dco <&-", "input"), (f"{command} a.png - >&-", "output")):
        done = shell(line)
        assert done.returncode == 1 and f"standard {what} is closed" in done.stderr
    assert names(tmp_path) == ["a.png", "out/a.dco"]


def test_new_files_have_the_mode_that_the_user_asked_for(nano, tmp_path):
    old = os.umask(0o027)
    try:
        save_checkpoint(nano, tmp_path / "a.safetensors")  # safetensors makes private files
        files.write_atomic(tmp_path / "a.dco", b"x")
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o640}
