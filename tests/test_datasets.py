"""Public sets, from a server of our own: no test needs a network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from dictco_lib import datasets
from dictco_lib.cli import main
from dictco_lib.datasets import PublicSet, RemoteFile, check, fetch, public_sets
from dictco_lib.errors import DatasetError


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    handler = functools.partial(Handler, directory=tmp_path / "served")
    Handler.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def make_set(folder, url, **contents) -> PublicSet:
    files = []
    for stem, data in contents.items():
        name = stem.replace("_", ".")
        (folder / name).write_bytes(data)
        files.append(RemoteFile(name, url + name, len(data), hashlib.sha256(data).hexdigest()))
    return PublicSet("toy", "two files", "free", "http://toy.example/", "ours", tuple(files))


@pytest.fixture
def toy(tmp_path, server):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("set/a.png", b"image a")
        archive.writestr("set/../../b.png", b"image b")
        archive.writestr("__MACOSX/set/._a.png", b"ghost")
        archive.writestr("set/readme.txt", b"text")
    return make_set(
        tmp_path / "served", server, one_png=b"1" * 3_000_000, set_zip=packed.getvalue()
    )


RIGHT = {"one.png": "right", "set.zip": "right", "set/a.png": "right", "set/b.png": "right"}


def test_a_set_is_fetched_checked_and_unpacked(toy, tmp_path):
    folder, counts = tmp_path / "to", []
    fetch(toy, folder, counts.append)
    assert check(toy, folder) == RIGHT
    assert sum(counts) == toy.bytes and len(counts) > 3
    assert (folder / "set" / "b.png").read_bytes() == b"image b"
    # Nothing else: no temporary files, no ghosts, nothing outside the folder.
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 2 + 4


def test_what_is_there_and_right_is_not_fetched_again(toy, tmp_path):
    folder = tmp_path / "to"
    fetch(toy, folder)
    Handler.asked.clear()
    fetch(toy, folder)
    assert Handler.asked == []
    (folder / "one.png").write_bytes(b"cut")
    (folder / "set" / "a.png").write_bytes(b"altered")
    assert check(toy, folder) == RIGHT | {"one.png": "wrong", "set/a.png": "wrong"}
    fetch(toy, folder)
    assert Handler.asked == ["/one.png"] and check(toy, folder) == RIGHT


def test_another_file_on_the_server_is_refused(toy, tmp_path):
    (tmp_path / "served" / "one.png").write_bytes(b"2" * 3_000_000)
    with pytest.raises(DatasetError, match="gave 3000000 bytes with SHA-256 .* nothing was kept"):
        fetch(toy, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_without_a_network_it_says_what_to_do_by_hand(toy, tmp_path, capsys, monkeypatch):
    unreachable = RemoteFile("one.png", "http://127.0.0.1:9/one.png", 5, "0" * 64)
    alone = PublicSet("toy", "w", "t", "http://toy.example/", "ours", (unreachable,))
    monkeypatch.setattr(datasets, "public_sets", lambda: {"toy": alone})
    assert main(["data", "toy", "--to", str(tmp_path / "to")]) == 1
    error = capsys.readouterr().err
    for text in ("http://127.0.0.1:9/one.png cannot be fetched", "By hand", "http://toy.example/",
                 f"dictco data toy --to {tmp_path / 'to'}"):  # fmt: skip
        assert text in error
    assert list((tmp_path / "to").iterdir()) == []


def test_missing_pages_are_named(toy, tmp_path):
    (tmp_path / "served" / "set.zip").unlink()
    with pytest.raises(DatasetError, match="set.zip cannot be fetched .*404"):
        fetch(toy, tmp_path / "to")
    assert check(toy, tmp_path / "to") == {"one.png": "right", "set.zip": "missing"}


def test_the_command_fetches_and_checks(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "public_sets", lambda: {"toy": toy})
    folder = str(tmp_path / "to")
    assert main(["data", "toy", "--to", folder, "--check"]) == 1
    captured = capsys.readouterr()
    assert "0 of 2 files are there and right" in captured.out
    assert "one.png is missing; set.zip is missing" in captured.err and not Handler.asked
    assert main(["data", "toy", "--to", folder]) == 0
    assert "4 of 4 files are there and right" in capsys.readouterr().out
    assert main(["data", "toy", "--to", folder, "--check"]) == 0


def test_the_table_is_complete_and_printed(capsys):
    sets = public_sets()
    assert {"kodak", "clic", "div2k"} <= sets.keys()
    assert [file.name for file in sets["kodak"].files] == [f"kodim{i:02}.png" for i in range(1, 25)]
    for public in sets.values():
        for file in public.files:
            assert file.url.startswith("http") and file.url.endswith(file.name)
            assert file.bytes > 0 and len(bytes.fromhex(file.sha256)) == 32
    assert main(["data"]) == 0
    assert "kodak" in (out := capsys.readouterr().out) and sets["div2k"].page in out
    assert main(["data", "imagenet"]) == 1
    assert "known are kodak, clic" in capsys.readouterr().err
