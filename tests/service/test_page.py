"""The page in a real browser: what the canvas shows is what the server computes; a reading is saved by keys alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hilum.images.read import read
from hilum.service.app import create_app
from hilum.service.desk import Desk
from hilum.service.frames import windowed
from hilum.service.server import Server
from tests.clinic.helpers import phantom_film, wait_until

from .conftest import analysed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium (Debian: chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(desk: Desk) -> Iterator[str]:
    server = Server(create_app(desk), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.start()}"
    server.stop()


@pytest.mark.slow
def test_a_film_is_read_in_a_browser(
    browser: Any, address: str, desk: Desk, film: int, secrets: dict[str, str]
) -> None:
    number = analysed(desk, phantom_film(1002, PatientID="P-77"))
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on(
        "request",
        lambda asked: faults.append(asked.url) if not asked.url.startswith((address, "blob:")) else None,
    )
    page.goto(f"{address}/films/{number}/view")
    page.fill("#token", secrets["all"])
    page.keyboard.press("Enter")
    page.wait_for_selector("#worklist")
    page.click(f'tr:has(a[href="/films/{number}/view"]) td.time')  # anywhere in its row
    page.wait_for_selector("#canvas[data-ready=yes]")

    pixels = np.rint(read(desk.store.film((desk.worklist.film(number) or {})["file"])).pixels * 65535).astype(
        np.uint16
    )
    # The policy of the page forbids `eval`, so nothing here waits by a string of script.
    page.keyboard.press("b")  # boxes out of the way
    page.keyboard.press("1")
    for centre, width, inverted in ((0.5, 1.0, False), (0.37, 0.21, False), (0.6, 0.5, True)):
        shown = page.evaluate(
            """async ([centre, width, inverted, w, h]) => {
                const viewer = hilum.viewer;
                Object.assign(viewer, { centre, width, inverted, left: 7, top: 3, scale: 1 });
                viewer.shade();
                const image = viewer.context.getImageData(7, 3, w, h).data;
                return Array.from(image.filter((_, i) => i % 4 === 0));
            }""",
            [centre, width, inverted, pixels.shape[1], pixels.shape[0]],
        )
        assert (np.array(shown).reshape(pixels.shape) == windowed(pixels, centre, width, inverted)).all(), (
            centre,
            width,
        )

    page.keyboard.press("r")
    before = page.evaluate("hilum.viewer.centre")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("hilum.viewer.centre") != before
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 300)
    page.mouse.up()
    assert page.evaluate("hilum.viewer.width") > 1
    for key in ("l", "h", "b"):
        page.keyboard.press(key)
    wait_until(lambda: page.evaluate("hilum.lungs?.length") == 2)

    page.keyboard.press("a")  # agree with the chosen finding
    page.keyboard.press("n")  # a box, moved and sized by keys
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("s")
    wait_until(lambda: (page.text_content("#said") or "").startswith("saved"))
    (review,) = desk.reviews.of((desk.worklist.film(number) or {})["instance_id"])
    assert (review.who, [said["verdict"] for said in review.findings]) == ("anna", ["agree"])
    assert review.boxes
    x1, y1, x2, y2 = review.boxes[-1]["box"]
    assert (x1, y1) == (130.0, 160.0)
    assert (round(x2 - x1), round(y2 - y1)) == (64, 82)

    page.keyboard.press("p")
    page.wait_for_selector("#canvas-prior[data-ready=yes]")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas")].filter((e) =>
            !(e.textContent.trim() || e.ariaLabel || e.labels?.length || e.type === "hidden")).map((e) => e.outerHTML)"""
    )
    assert unnamed == [], json.dumps(unnamed)
    assert faults == []
    page.close()
