"""Every text of the pages against its ground, computed in the browser: WCAG 2.1 AA, 1.4.3, at both sizes of screen."""

from __future__ import annotations

from typing import Any

import pytest

from hilum.service.desk import Desk
from tests.clinic.helpers import a_film, wait_until

from .conftest import analysed, phantom_film
from .test_page import address, browser

__all__ = ["address", "browser"]

SIZES = ({"width": 1920, "height": 1080}, {"width": 1024, "height": 768})

# Relative luminance and contrast as WCAG 2.1 defines them. A ground is what lies under a text, each layer over the next;
# under a caption on the film lies a white film, the worst that can be. Large text (24 px, or 18.66 px and bold) needs 3,
# other 4.5.
CONTRASTS = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
  const light = (colour) => colour.map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    if (element === null) return [255, 255, 255];
    const colour = parse(getComputedStyle(element).backgroundColor);
    if (colour[3] === 1) return colour.slice(0, 3);
    return over(colour, element.matches("figcaption, .over") ? [255, 255, 255] : ground(element.parentElement));
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode, element = text.parentElement, range = document.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect(), style = getComputedStyle(element);
    const unseen = !text.data.trim() || !box.width || style.visibility === "hidden";
    if (unseen || element.closest("script, style, .unseen, .skip")) continue;
    const under = ground(element), [l1, l2] = [light(over(parse(style.color), under)), light(under)];
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = (Math.max(l1, l2) + 0.05) / (Math.min(l1, l2) + 0.05);
    found.push({ text: text.data.trim().slice(0, 40), contrast, least: large ? 3 : 4.5 });
  }
  for (const input of document.querySelectorAll("input")) {
    if (!input.placeholder || !input.offsetWidth) continue;
    const under = ground(input), colour = over(parse(getComputedStyle(input, "::placeholder").color), under);
    const [l1, l2] = [light(colour), light(under)];
    found.push({ text: input.placeholder, contrast: (Math.max(l1, l2) + 0.05) / (Math.min(l1, l2) + 0.05), least: 4.5 });
  }
  return found;
}"""


# What reaches past the right edge of the screen, where the page can be scrolled there.
BESIDE = """() => {
  const past = (e) => e.getBoundingClientRect().right > innerWidth + 1;
  const told = (e) => `${innerWidth}: ${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`;
  const scrolls = document.documentElement.scrollWidth > innerWidth;
  return scrolls ? [...document.querySelectorAll("body *")].filter(past).map(told) : [];
}"""


def legible(page: Any, fewest: int) -> None:
    """All texts that are shown have their contrast, and nothing lies beside the screen."""
    found = page.evaluate(CONTRASTS)
    assert len(found) >= fewest
    assert [each for each in found if each["contrast"] < each["least"]] == []
    assert page.evaluate(BESIDE) == []


def test_the_computation_knows_a_faint_text(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(
        "<body style='background: #fff'><p style='color: #777'>grey on white</p><p style='color: #767676'>just enough</p>"
        "<p style='color: #949494; font-size: 24px'>large</p></body>"
    )
    found = {each["text"]: each for each in page.evaluate(CONTRASTS)}
    assert found["grey on white"]["contrast"] == pytest.approx(4.48, abs=0.01)
    assert found["just enough"]["contrast"] == pytest.approx(4.54, abs=0.01)
    assert found["large"]["contrast"] == pytest.approx(3.03, abs=0.01)
    assert [each["least"] for each in found.values()] == [4.5, 4.5, 3]
    page.close()


@pytest.mark.slow
def test_every_text_has_the_contrast_of_wcag_aa(
    browser: Any, address: str, desk: Desk, film: int, secrets: dict[str, str]
) -> None:
    analysed(desk, phantom_film(1099, PatientID="P-78"))  # its prior
    number = analysed(desk, phantom_film(1100, PatientID="P-78"))
    desk.intake.accept([a_film(1101)], "upload", "a test")  # one that waits
    desk.intake.accept([a_film(1101, pixels=1)], "upload", "a test")  # one that is held
    page = browser.new_page(viewport=SIZES[0])
    page.goto(f"{address}/login")
    legible(page, 5)
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector(".fault")
    legible(page, 6)
    page.fill("#token", secrets["all"])
    page.keyboard.press("Enter")
    page.wait_for_selector("#worklist")
    for size in SIZES:
        page.set_viewport_size(size)
        page.goto(f"{address}/")
        legible(page, 40)
        page.goto(f"{address}/?finding=nothing")
        legible(page, 10)
        page.goto(f"{address}/films/999999/view")
        legible(page, 3)
        page.goto(f"{address}/films/{number}/view")
        page.wait_for_selector("#canvas[data-ready=yes]")
        for key in ("a", "j", "x", "n", "p"):  # agreed, disagreed, a box, a prior beside
            page.keyboard.press(key)
        page.wait_for_selector("#canvas-prior[data-ready=yes]")
        page.click("summary")
        legible(page, 60)
        page.keyboard.press("?")
        legible(page, 80)
        page.keyboard.press("Escape")
        page.keyboard.press("s")
        wait_until(lambda: (page.text_content("#said") or "").startswith("saved"))
        legible(page, 60)
    page.close()
