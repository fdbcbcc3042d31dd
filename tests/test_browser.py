"""What a student does: open a notebook in a browser, run it, move a slider.

Needs Chromium and its driver (Debian: ``apt install chromium chromium-driver``). Screenshots are
left in build/browser. About a minute per notebook on two cores.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.common.print_page_options import PrintOptions  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no browser: install chromium and chromium-driver (Debian's names)",
    ),
]
ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "build" / "browser"

#: Seconds for what takes a minute on two idle cores; the test's own limit ends what hangs.
SLOW = 600
#: Notebook, and the description of a slider in it that has a caption and an image below.
SLIDERS = [
    ("00_quickstart", "quality"),
    ("08_the_experts", "expert"),
    ("09_bitstream", "slices"),
]


@pytest.fixture
def desk(tmp_path) -> Path:
    """A copy of the project's notebooks without outputs: whatever is seen is new."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, tmp_path / "notebooks" / path.name)
    return tmp_path


@pytest.fixture
def lab(desk) -> str:
    """JupyterLab on a free port of this machine; its address with ``{}`` for a notebook."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    home = desk / "jupyter"  # nobody's settings, and none left behind
    settings = home / "settings" / "@jupyterlab"
    for name, values in {
        # All cells in the page, seen or not; no questions about news.
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        (settings / name).parent.mkdir(parents=True)
        (settings / f"{name}.jupyterlab-settings").write_text(json.dumps(values))
    folders = {
        f"JUPYTER{part}_DIR": str(home / part.strip("_").lower())
        for part in ("_CONFIG", "_DATA", "_RUNTIME", "LAB_WORKSPACES")
    }
    folders["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={desk}"]
    command += [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--IdentityProvider.token={token}"]
    with (desk / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | folders, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, desk / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{{}}.ipynb?token={token}"
    finally:
        server.terminate()  # it ends its kernels
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(15)
        server.kill()


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = SLOW) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=5)
            return
        if server.poll() is not None:
            break
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "window-size=1280,1400", f"user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    # The answer to a script comes when its cells have run: on a busy machine not within 120 s.
    driver.command_executor.client_config.timeout = SLOW + 60
    yield driver
    driver.quit()


def shot(browser, element, name: str) -> None:
    """Leave a screenshot for whoever wants to look."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    browser.execute_script("arguments[0].scrollIntoView()", element)
    browser.save_screenshot(str(SHOTS / f"{name}.png"))


PIXELS = """
    const [image] = arguments;
    if (!image.naturalWidth) return null;  // not there yet
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL();
"""
RUN_ALL = """
    const done = arguments[arguments.length - 1];
    const run = async () => {
        let panel;
        while (!panel) {
            await new Promise(resume => setTimeout(resume, 200));
            if (window.jupyterapp)
                panel = [...window.jupyterapp.shell.widgets('main')].find(w => w.sessionContext);
        }
        await panel.context.ready;
        await panel.sessionContext.ready;
        window.jupyterapp.shell.activateById(panel.id);
        await window.jupyterapp.commands.execute('notebook:run-all-cells');
        return panel.content.widgets
            .filter(cell => cell.model.type === 'code')
            .map(cell => cell.model.executionCount);
    };
    run().then(done, error => done(String(error)));
"""


def run_all(browser, seconds: float = SLOW) -> None:
    """Run > Run All Cells, and wait until every code cell has its number."""
    browser.set_script_timeout(seconds)
    counts = browser.execute_async_script(RUN_ALL)
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.slow
@pytest.mark.parametrize(("notebook", "slider"), SLIDERS)
def test_a_slider_changes_number_and_image(lab, browser, notebook, slider):
    browser.get(lab.format(notebook))
    run_all(browser)
    errors = "[data-mime-type='application/vnd.jupyter.error']"
    assert not browser.find_elements(By.CSS_SELECTOR, errors)
    label = f"//*[contains(@class, 'widget-label') and text()='{slider}']"
    row = browser.find_element(By.XPATH, f"{label}/ancestor::*[contains(@class, 'slider')][1]")
    box = row.find_element(By.XPATH, "./ancestor::*[contains(@class, 'widget-vbox')][1]")
    handle = row.find_element(By.CSS_SELECTOR, "[role=slider]")
    caption = box.find_element(By.CSS_SELECTOR, ".widget-html-content")
    image = box.find_element(By.CSS_SELECTOR, "img")

    def seen() -> tuple[str, str | None]:
        return caption.text, browser.execute_script(PIXELS, image)

    def has_moved(_) -> bool:
        new = seen()
        has_number = re.search(r"\d", new[0]) and new[0] != before[0]
        return has_number and new[1] and new[1] != before[1]

    WebDriverWait(browser, SLOW).until(lambda _: seen()[1])
    before = seen()
    shot(browser, box, f"{notebook}_before")
    assert re.search(r"\d", before[0])
    at, low = (float(handle.get_attribute(f"aria-value{name}")) for name in ("now", "min"))
    handle.send_keys(Keys.ARROW_LEFT if at > low else Keys.ARROW_RIGHT)
    WebDriverWait(browser, SLOW).until(has_moved)
    shot(browser, box, f"{notebook}_after")


def test_the_book_reads_without_a_network(book, browser):
    browser.get((book / "index.html").as_uri())
    SHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SHOTS / "book_index.png"))
    browser.find_element(By.PARTIAL_LINK_TEXT, "00 ·").click()
    WebDriverWait(browser, SLOW).until(lambda b: b.find_elements(By.TAG_NAME, "nav"))
    browser.save_screenshot(str(SHOTS / "book_page.png"))
    assert all(name.startswith("data:") for name in browser.execute_script(LOADED))
    sizes = "return [...document.images].map(image => image.naturalWidth)"
    widths = browser.execute_script(sizes)
    assert widths and all(widths)


LEAVES = """
    return [...document.querySelectorAll('.leaves')].map(leaves => ({
        sliders: [...leaves.querySelectorAll('input')].map(
            e => [+e.value, +e.max, e.ariaValueText, e.nextElementSibling.textContent]),
        shown: [...leaves.querySelectorAll('figure')]
            .filter(e => e.offsetParent)
            .map(e => [e.innerText, e.querySelector('img').src, e.querySelector('img').alt,
                       e.querySelector('img').naturalWidth]),
    }));
"""
LOADED = "return performance.getEntriesByType('resource').map(entry => entry.name)"


def move_everything(browser, name: str) -> int:
    """Move every slider of a page by its keys, and back; how many there are.

    Its images and captions change, one is shown at a time, and those of other sliders stay.
    """
    boxes = browser.find_elements(By.CSS_SELECTOR, ".leaves")
    count = 0
    for i, box in enumerate(boxes):
        for j, slider in enumerate(box.find_elements(By.TAG_NAME, "input")):
            before = browser.execute_script(LEAVES)
            at, end, *names = before[i]["sliders"][j]
            assert names[0] == names[1]
            there, back = (Keys.ARROW_RIGHT, Keys.ARROW_LEFT)[:: 1 if at < end else -1]
            slider.send_keys(there)
            now = browser.execute_script(LEAVES)
            ((caption, src, alt, width),), ((caption_now, src_now, alt_now, width_now),) = (
                seen[i]["shown"] for seen in (before, now)
            )
            assert caption != caption_now and src != src_now and alt != alt_now
            assert width and width_now and min(len(alt), len(alt_now)) > 20
            assert now[i]["sliders"][j][2] == now[i]["sliders"][j][3] != names[0]
            assert now[:i] + now[i + 1 :] == before[:i] + before[i + 1 :]
            shot(browser, box, f"book_{name}_{i}_{j}")
            slider.send_keys(back)
            assert browser.execute_script(LEAVES) == before
            count += 1
    return count


#: Page of the book -> how many sliders it has.
IN_THE_BOOK = {
    "00_quickstart": 2, "01_lossy_compression": 1, "02_coding_by_hand": 1,
    "03_entropy_model_by_hand": 1, "04_model_transforms": 1, "05_model_entropy": 1,
    "06_model_attention": 2, "08_the_experts": 4, "09_bitstream": 1, "11_ablations": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_BOOK)
def test_sliders_of_the_book_need_no_kernel_and_no_network(browser, book, name):
    page = book / f"{name}.html"
    assert page.stat().st_size <= 8_000_000
    browser.get(page.as_uri())
    assert move_everything(browser, name) >= IN_THE_BOOK[name]
    assert all(entry.startswith("data:") for entry in browser.execute_script(LOADED))


@pytest.mark.slow
def test_images_are_leafed_through_in_the_lab(lab, browser):
    browser.get(lab.format("02_coding_by_hand"))
    run_all(browser)
    slider = browser.find_element(By.CSS_SELECTOR, ".leaves input")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    right = slider.size["width"] // 2 - 5
    webdriver.ActionChains(browser).move_to_element_with_offset(slider, right, 0).click().perform()
    figures = browser.find_elements(By.CSS_SELECTOR, ".leaves figure")
    shown = [figure.is_displayed() for figure in figures]
    assert shown == [False] * (len(figures) - 1) + [True]


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("slides")
    script = ROOT / "notebooks" / "book" / "slides.py"
    subprocess.run([sys.executable, script, out], check=True)
    return out


SLIDE = """
    const slide = document.querySelector("section.shown");
    const texts = [...slide.querySelectorAll("h2, p, li")];
    const parts = [...slide.children].filter(e => e.tagName !== "FOOTER");
    return {
        number: slide.querySelector("footer").textContent,
        only: document.querySelectorAll("section.shown").length === 1,
        over: Math.max(slide.scrollHeight - slide.clientHeight,
                       slide.scrollWidth - slide.clientWidth),
        low: Math.max(...parts.map(e => e.getBoundingClientRect().bottom)),
        smallest: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
        images: [...slide.querySelectorAll("img")].filter(e => e.offsetParent)
            .map(e => [e.naturalWidth, e.clientHeight]),
    };
"""


def turn(browser, key: str, number: str) -> dict:
    """Press a key; what the slide of that number then looks like."""
    if key:
        browser.find_element(By.TAG_NAME, "body").send_keys(key)
    WebDriverWait(browser, SLOW, poll_frequency=0.05).until(
        lambda b: b.execute_script(SLIDE)["number"] == number, f"no slide {number}"
    )
    return browser.execute_script(SLIDE)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_slides_are_turned_by_keys_and_fit_the_screen(browser, decks, name):
    browser.set_window_size(1280, 720)
    browser.get((decks / f"{name}.html").as_uri())
    height = browser.execute_script("return innerHeight")
    count = browser.execute_script("return document.querySelectorAll('section').length")
    SHOTS.mkdir(parents=True, exist_ok=True)
    for i in range(1, count + 1):
        seen = turn(browser, Keys.ARROW_RIGHT if i > 1 else "", f"{i} / {count}")
        browser.save_screenshot(str(SHOTS / f"slides_{name}_{i:02d}.png"))
        assert seen["only"] and seen["over"] <= 1 and seen["low"] <= height, seen
        assert seen["smallest"] >= 0.02 * height, seen  # is read from the last row
        assert all(width and shown > 5 for width, shown in seen["images"]), seen
    turn(browser, Keys.ARROW_RIGHT, f"{count} / {count}")  # the last one
    turn(browser, Keys.ARROW_LEFT, f"{count - 1} / {count}")
    turn(browser, Keys.HOME, f"1 / {count}")
    turn(browser, Keys.END, f"{count} / {count}")
    assert all(entry.startswith("data:") for entry in browser.execute_script(LOADED))


def test_slides_are_printed_one_on_a_page(browser, decks):
    name = next(iter(sorted(decks.glob("[!i]*.html"))))
    browser.set_window_size(1280, 720)
    browser.get(name.as_uri())
    count = browser.execute_script("return document.querySelectorAll('section').length")
    options = PrintOptions()
    options.orientation, options.background = "landscape", True
    options.page_width, options.page_height = 16 * 2.54, 9 * 2.54
    pdf = base64.b64decode(browser.print_page(options))
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == count
    (SHOTS / "slides.pdf").write_bytes(pdf)
