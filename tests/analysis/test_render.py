"""Reports on disk: what is written is whole, true, valid against the schema, and safe whatever a file says of itself."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hilum.analysis.explain import METHODS
from hilum.analysis.render import (
    notebook_html,
    pictures,
    report_html,
    report_schema,
    safe_name,
    write_index,
    write_report,
)
from hilum.analysis.render import words as wording
from hilum.analysis.render.files import as_json
from hilum.analysis.render.overlay import OPACITY, heated, overlay
from hilum.analysis.report import LOW_LUNG_SHARE, BoxResult, BundleUsed, FindingResult, LungsResult, Report
from hilum.bundles.card import RESEARCH_USE
from hilum.errors import HilumError
from hilum.images.radiograph import Notice, Radiograph
from tests.phantom import phantom

SCRIPT = "<script>alert(1)</script>"
HEIGHT, WIDTH = 300, 260


def bump(cx: float, cy: float, shape: tuple[int, int] = (96, 83)) -> np.ndarray:
    """A heatmap with one peak of 1 at (cx, cy), as shares of the film."""
    y, x = ((np.indices(shape).T + 0.5) / shape).T
    heat = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.01)
    return (heat / heat.max()).astype(np.float32)


def test_heat_is_the_colour_map_over_the_film_as_the_formula_says():
    drawn = np.random.default_rng(0)
    heat = drawn.random((90, 80), np.float32) * 1.2 - 0.1
    heat[0, :3] = np.nan, np.inf, -np.inf
    level = np.rint(255 * np.clip(np.nan_to_num(heat, posinf=1.0), 0, 1)).astype(np.uint8)
    assert np.array_equal(pictures.to_grey(heat), level)
    colours = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = np.rint(255 * np.clip((level / 255 - pictures.CLEAR) / (pictures.SOLID - pictures.CLEAR), 0, 1))
    layer = pictures.heat_layer(heat)
    assert np.array_equal(layer[..., :3], colours)
    assert np.array_equal(layer[..., 3], opacity)
    grey = drawn.integers(0, 256, heat.shape, np.uint8)
    alpha = opacity[..., None] / 255 * OPACITY
    expected = grey[..., None] * (1 - alpha) + colours * alpha
    assert np.abs(heated(grey, heat) - expected).max() <= 0.5 + 1e-9


def finding(name: str, probability: float, threshold: float | None, **given: Any) -> FindingResult:
    positive = given.pop("positive", threshold is not None and probability >= threshold)
    told: dict[str, Any] = {
        "code": None,
        "bundle": "nih14",
        "group": None,
        "std": 0.03,
        "interval": (max(0.0, probability - 0.05), min(1.0, probability + 0.05)),
        "method": "mc_dropout",
        "heatmap": bump(0.3, 0.4),
        "lung_share": 0.8,
    }
    return FindingResult(
        name=name, probability=probability, threshold=threshold, positive=positive, **{**told, **given}
    )


def report(**changes: Any) -> Report:
    made = phantom(0, HEIGHT, WIDTH)
    film = Radiograph(
        made.pixels,
        path=Path("ward/film one.dcm"),
        format="dicom",
        view="PA",
        sex="F",
        age=54.0,
        spacing=(0.143, 0.143),
        bits=12,
        headers={"Modality": "CR"},
        digest="0f" * 32,
    )
    right, left = (made.lungs == 1).astype(np.uint8), (made.lungs == 2).astype(np.uint8)
    code = {"scheme": "SCT", "value": "309529002", "meaning": "Lung mass"}
    whole = Report(
        film=film,
        analysable=True,
        reason=None,
        warnings=(Notice("small_film", "The film is small."),),
        bundles=(
            BundleUsed(
                "nih14", "1.0.0", "ab" * 32, "Thoracic findings", ("Few films.",), "CC BY", {"AUC": "0.74"}
            ),
        ),
        findings=(
            finding("Mass", 0.71, 0.35, code=code),
            finding("Pleural Thickening", 0.2, 0.5, outside_lungs=True, heatmap=bump(0.7, 0.2)),
            finding(
                "Hernia", 0.004, 0.02, heatmap=None, lung_share=None, std=None, interval=None, method="none"
            ),
            finding("Normal", 0.1, None, bundle="pneumonia", group="pneumonia"),
            finding("Viral Pneumonia", 0.9, None, bundle="pneumonia", group="pneumonia", positive=True),
        ),
        lungs=LungsResult(left | right, left, right, float((left | right).mean()), "lungs"),
        boxes=(BoxResult("Mass", 0.6, (20.0, 30.0, 80.0, 90.0), "boxes"),),
        seconds=0.25,
    )
    return dataclasses.replace(whole, **changes)


def refused() -> Report:
    return report(
        analysable=False, reason="This is a lateral view.", findings=(), lungs=None, boxes=(), bundles=()
    )


def validate(path: Path) -> dict[str, Any]:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    data = json.loads(path.read_bytes(), parse_constant=no_constant)
    jsonschema.Draft202012Validator(report_schema()).validate(data)
    return data


def image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


# What is written


def test_every_file_that_the_json_names_exists_and_no_other(tmp_path: Path) -> None:
    names = write_report(report(), tmp_path, "film")
    assert sorted(names.values()) == sorted(p.name for p in tmp_path.iterdir())
    data = validate(tmp_path / "film.json")
    by_name = {f["name"]: f["heatmap"] for f in data["findings"]}
    assert by_name == {
        "Mass": "film.heatmap-nih14-mass.png",
        "Pleural Thickening": None,
        "Hernia": None,
        "Normal": None,
        "Viral Pneumonia": "film.heatmap-pneumonia-viral-pneumonia.png",
    }
    assert data["lungs"] | {"area_share": 0, "bundle": ""} == {
        "mask": "film.lungs.png",
        "left": "film.lung-left.png",
        "right": "film.lung-right.png",
        "area_share": 0,
        "bundle": "",
    }
    assert data["overlay"] == names["overlay"] == "film.png"


def test_json_alone_names_no_pictures(tmp_path: Path) -> None:
    assert write_report(report(), tmp_path, "film", ("json",)) == {"json": "film.json"}
    data = validate(tmp_path / "film.json")
    assert data["lungs"]["mask"] is None
    assert data["overlay"] is None
    assert all(f["heatmap"] is None for f in data["findings"])


def test_masks_and_heatmaps_hold_the_values_on_the_films_grid(tmp_path: Path) -> None:
    given = report()
    assert given.lungs is not None
    names = write_report(given, tmp_path, "film", ("png",))
    for side in ("mask", "left", "right"):
        written = image(tmp_path / names[f"lungs:{side}"])
        np.testing.assert_array_equal(written, getattr(given.lungs, side) * 255)
    heat = image(tmp_path / names["heatmap:nih14:Mass"])
    assert heat.shape == (HEIGHT, WIDTH)
    assert heat.dtype == np.uint8
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert (x / WIDTH, y / HEIGHT) == pytest.approx((0.3, 0.4), abs=0.02)
    back = cv2.resize(heat / 255, (83, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(back - bump(0.3, 0.4)).max() < 0.03


def test_without_a_positive_finding_the_one_nearest_its_threshold_is_shown(tmp_path: Path) -> None:
    findings = (finding("Infiltration", 0.3, 0.9), finding("Hernia", 0.018, 0.02), finding("Mass", 0.1, 0.2))
    names = write_report(report(findings=findings), tmp_path, "film", ("png",))
    assert [key for key in names if key.startswith("heatmap")] == ["heatmap:nih14:Hernia"]


def test_the_overlay_shows_film_outline_heat_and_caption(tmp_path: Path) -> None:
    write_report(report(), tmp_path, "film", ("png",))
    picture = image(tmp_path / "film.png").astype(int)
    assert 720 <= max(picture.shape) <= 1600
    coloured = np.ptp(picture, axis=2) > 60
    assert coloured[: len(picture) // 2].any()  # heat and outline on a grey film
    plain = report(findings=(), lungs=None, boxes=(), warnings=())
    write_report(plain, tmp_path, "plain", ("png",))
    bare = image(tmp_path / "plain.png").astype(int)
    film = bare[: round(bare.shape[1] * HEIGHT / WIDTH)]
    assert np.ptp(film, axis=2).max() == 0
    assert bare[len(film) :].max() > 150  # the caption's words
    expected = cv2.resize(plain.film.pixels, film.shape[1::-1], interpolation=cv2.INTER_CUBIC) * 255
    assert np.abs(film[..., 0] - expected.clip(0, 255)).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3000, 40), (40, 3000), (1700, 1400)])
def test_films_of_any_shape_are_written_within_the_side(tmp_path: Path, shape: tuple[int, int]) -> None:
    film = Radiograph(np.full(shape, 0.5, np.float32))
    made = report(film=film, lungs=None, boxes=(), findings=())
    write_report(made, tmp_path, "film")
    assert max(image(tmp_path / "film.png").shape) <= 1600
    validate(tmp_path / "film.json")


def test_a_refused_film_has_a_reason_and_no_scores(tmp_path: Path) -> None:
    names = write_report(refused(), tmp_path, "film")
    assert sorted(names) == ["html", "json", "overlay"]
    data = validate(tmp_path / "film.json")
    assert (data["analysable"], data["reason"], data["findings"]) == (False, "This is a lateral view.", [])
    page = (tmp_path / "film.html").read_text("utf-8")
    assert "Not analysed" in page
    assert "This is a lateral view." in page
    assert "<table" not in page


def test_an_unknown_format_or_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="pdf"):
        write_report(report(), tmp_path, "film", ("pdf",))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(HilumError, match="cannot be written") as caught:
        write_report(refused(), tmp_path / "taken", "film", ("json",))
    assert caught.value.path == tmp_path / "taken"


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(refused(), tmp_path, "film", ("json",))
    before = (tmp_path / "film.json").read_bytes()

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HilumError, match="No space left"):
        write_report(report(), tmp_path, "film", ("json",))
    assert [p.name for p in tmp_path.iterdir()] == ["film.json"]
    assert (tmp_path / "film.json").read_bytes() == before


# The schema


def test_the_schema_is_valid_and_asks_for_the_contracts_keys() -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {
        "source",
        "analysable",
        "reason",
        "warnings",
        "version",
        "bundles",
        "findings",
        "lungs",
        "boxes",
    } <= set(schema["required"])
    asked = set(schema["$defs"]["finding"]["required"])
    contract = "name code bundle group probability std interval method threshold positive heatmap lung_share"
    assert asked == set(contract.split())


def faults() -> dict[str, Any]:
    def change(**keys: Any) -> Any:
        return lambda data: data["findings"][0].update(keys)

    return {
        "probability above 1": change(probability=1.2),
        "interval of one": change(interval=[0.1]),
        "unknown method": change(method="guess"),
        "no threshold key": lambda data: data["findings"][0].pop("threshold"),
        "scores on a refused film": lambda data: data.update(analysable=False, reason="lateral"),
        "a reason on an analysed film": lambda data: data.update(reason="lateral"),
        "a box with three corners": lambda data: data["boxes"][0].update(box=[1, 2, 3]),
        "no source": lambda data: data.pop("source"),
    }


@pytest.mark.parametrize("fault", faults())
def test_the_schema_refuses(fault: str) -> None:
    data = json.loads(json.dumps(report().as_dict()))
    validator = jsonschema.Draft202012Validator(report_schema())
    assert validator.is_valid({**data, "added_later": 1})
    faults()[fault](data)
    assert not validator.is_valid(data)


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    odd = (finding("Mass", 0.3, 0.4, lung_share=float("nan"), std=float("inf")),)
    write_report(report(findings=odd), tmp_path, "film", ("json", "html"))
    data = validate(tmp_path / "film.json")
    assert data["findings"][0]["lung_share"] is None
    assert data["findings"][0]["std"] is None
    page = re.sub(
        r"data:image[^\"]*|id=\"packed\">[^<]*|<script>.*?</script>",
        "",
        (tmp_path / "film.html").read_text(),
        flags=re.S,
    )
    assert not re.search(r"\b(nan|inf)\b", page, re.I)


# Names that stay in their folder


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=200)
def test_a_safe_name_is_one_path_part(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert Path(safe).name == safe
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 140
    assert all(c.isprintable() and c not in '/\\:*?"<>|' for c in safe)


@given(st.lists(st.text(alphabet="ab./\\ \n", max_size=6), unique=True, max_size=12))
@settings(deadline=None, max_examples=100)
def test_two_names_never_become_one(names: list[str]) -> None:
    assert len({safe_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("stem", ["../../x", "/etc/x", "..", "", "a\x00b", "a\r\nb", "x" * 400, "\udcff"])
def test_nothing_is_written_outside(tmp_path: Path, stem: str) -> None:
    out = tmp_path / "deep" / "out"
    odd = finding("../../evil/Mass", 0.9, 0.5, bundle="../b")
    names = write_report(report(findings=(odd,)), out, stem)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {out / name for name in names.values()}


def test_ordinary_names_are_kept() -> None:
    for name in ("RG1_UNCR", "film 12", "Überblick-3", "1.2.840.10008"):
        assert safe_name(name) == name


# The page


def test_text_from_files_is_text() -> None:
    film = dataclasses.replace(
        report().film,
        path=Path(f'"{SCRIPT}.dcm'),
        headers={f"PatientName{SCRIPT}": f"'\">{SCRIPT}"},
        view=SCRIPT,
    )
    bundle = BundleUsed(SCRIPT, SCRIPT, SCRIPT, SCRIPT, (SCRIPT,), SCRIPT, {SCRIPT: SCRIPT})
    code = {"scheme": SCRIPT, "value": SCRIPT, "meaning": f'" onload="{SCRIPT}'}
    odd = finding(SCRIPT, 0.9, 0.5, code=code, bundle=SCRIPT)
    group = finding(f'"{SCRIPT}', 0.9, None, bundle=SCRIPT, group=SCRIPT, positive=True, method=SCRIPT)
    box = BoxResult(SCRIPT, 0.5, (1.0, 2.0, 3.0, 4.0), SCRIPT)
    page = report_html(
        report(
            film=film,
            bundles=(bundle,),
            findings=(odd, group),
            boxes=(box,),
            warnings=(Notice(SCRIPT, SCRIPT),),
        )
    )
    assert SCRIPT not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    why = report_html(dataclasses.replace(refused(), reason=SCRIPT))
    assert SCRIPT not in why
    assert "&lt;script&gt;" in why
    assert SCRIPT not in notebook_html(report(film=film))


def test_a_name_that_is_no_text_is_shown_escaped() -> None:
    film = dataclasses.replace(report().film, path=Path("bad\udcff.dcm"))
    assert "bad\\udcff.dcm" in report_html(report(film=film))


def test_the_page_reaches_for_nothing_and_runs_only_its_own_parts() -> None:
    page = report_html(report())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in rules
    assert "unsafe" not in rules
    for tag in ("style", "script"):
        for part in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S):
            assert base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() in rules
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:|#)""", page)
    assert not re.findall(r"""\s(?:style|on\w+)=["']""", page)  # the policy would stop them
    assert not re.findall(r"url\(|@import|https?://", page)


def test_the_page_says_what_a_reader_must_know() -> None:
    page = report_html(report())
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ").replace("&nbsp;", " ")
    assert text.count(RESEARCH_USE) == 2
    assert wording.CAVEAT in text
    for words in (
        "The film is small.",
        "Few films.",
        "1 of 3 findings above threshold: Mass.",
        "Pneumonia: most probably Viral Pneumonia, 90 %.",
        "SCT 309529002",
        "above 35 %",
        "below 50 %",
        "66–76",
        "most probable",
        "film one.dcm",
        "54 years",
        "MC dropout",
        "80 % of heat in lungs, may lie outside",
        "abababababab",
    ):
        assert words in text, words
    assert "does not exclude disease" in report_html(report(findings=(finding("Mass", 0.1, 0.5),)))


def test_heat_outside_the_lungs_is_marked_where_it_matters() -> None:
    stray = finding("Mass", 0.9, 0.5, lung_share=0.2)
    assert stray.strays
    assert not dataclasses.replace(stray, outside_lungs=True).strays
    assert not dataclasses.replace(stray, positive=False).strays
    assert not dataclasses.replace(stray, name="Normal").strays
    assert not dataclasses.replace(stray, lung_share=LOW_LUNG_SHARE).strays
    assert not dataclasses.replace(stray, lung_share=None).strays
    page = report_html(report(findings=(stray,)))
    assert 'class="share stray"' in page
    assert "only 20 % of heat in lungs" in page


def test_an_empty_heatmap_is_said_to_be_empty_and_is_no_picture(tmp_path: Path) -> None:
    nothing = np.zeros((96, 83), np.float32)
    empty = finding("Mass", 0.9, 0.5, heatmap=nothing, lung_share=None)
    other = finding("Nodule", 0.8, 0.5)
    mixed = report(findings=(empty, other))
    assert pictures.shown(mixed) == [other]
    page = report_html(mixed)
    assert page.count("data-heat=") == 1
    assert "heatmap empty" in page
    assert "no place on the film speaks for the finding by itself" in page
    names = write_report(mixed, tmp_path, "film")
    assert [k for k in names if k.startswith("heatmap:")] == ["heatmap:nih14:Nodule"]
    by_name = {f["name"]: f for f in validate(tmp_path / "film.json")["findings"]}
    assert by_name["Mass"]["heatmap"] is by_name["Mass"]["lung_share"] is None
    alone = report_html(report(findings=(empty,)))
    assert "data-heat=" not in alone
    assert "Select a finding" not in alone
    assert pictures.png(overlay(report(findings=(empty,))))


@pytest.mark.parametrize("gone", ["left", "right", "both"])
def test_a_film_with_one_lung_or_none_says_so(gone: str) -> None:
    lungs = report().lungs
    assert lungs is not None
    both = wording.lungs(lungs)
    right, left = (round(100 * float(side.mean())) for side in (lungs.right, lungs.left))
    assert f"right lung takes {right} % and the left {left} %" in both
    none = np.zeros_like(lungs.mask)
    changes = {side: none for side in ("left", "right") if gone in (side, "both")}
    page = report_html(report(lungs=dataclasses.replace(lungs, **changes)))
    kept = {"left": "right", "right": "left"}.get(gone)
    assert (f"Only the {kept} lung was found" if kept else "No lung was found") in page


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_heatmaps_is_named_on_the_page(method: str) -> None:
    assert f"Heatmaps by {wording.HEATMAPS[method]}." in report_html(report(heatmap_method=method))


def unpack(page: str) -> np.ndarray:
    """What the page's script does, in its own order, pixel by pixel."""
    canvas = re.search(r'width="(\d+)" height="(\d+)" data-depth="(\d+)"', page)
    coded = re.search(r'id="packed">([^<]*)<', page)
    assert canvas is not None
    assert coded is not None
    width, height, depth = map(int, canvas.groups())
    planes = zlib.decompress(base64.b64decode(coded[1]))
    n = width * height
    assert len(planes) == 2 * n
    pixels = [0] * n
    for i in range(n):
        folded = planes[i] | planes[n + i] << 8
        rest = (folded >> 1) ^ -(folded & 1)
        column = i % width
        if i >= width:
            foretold = (pixels[i - 1] + pixels[i - width]) >> 1 if column else pixels[i - width]
        else:
            foretold = pixels[i - 1] if column else 0
        pixels[i] = foretold + rest
    return np.array(pixels).reshape(height, width) / (2**depth - 1)


@pytest.mark.parametrize(("bits", "step"), [(12, 1 / 4095), (16, 1 / 4095), (8, 1 / 255), (None, 1 / 4095)])
def test_the_pages_film_is_the_film(bits: int | None, step: float) -> None:
    film = dataclasses.replace(report().film, bits=bits)
    shown = unpack(report_html(report(film=film)))
    assert np.abs(shown - film.pixels).max() <= 0.5001 * step


def test_the_still_picture_and_each_heatmap_stand_in_the_page() -> None:
    page = report_html(report())
    kinds = re.findall(r"data:image/(\w+);base64,([A-Za-z0-9+/=]+)", page)
    assert [kind for kind, _ in kinds].count("jpeg") == 1
    layers = [np.asarray(Image.open(io.BytesIO(base64.b64decode(d)))) for k, d in kinds if k == "png"]
    heats = [layer for layer in layers if layer.shape[-1] == 4]
    assert len(heats) == 4  # every finding with a map, positive or not
    y, x = np.unravel_index(heats[0][..., 3].argmax(), heats[0].shape[:2])
    assert heats[0][y, x, 3] == 255
    assert heats[0][0, 0, 3] == 0


def test_a_film_larger_than_the_page_is_reduced() -> None:
    packed = pictures.pack_film(np.zeros((3000, 2500), np.float32), 12)
    assert (packed.width, packed.height) == (1333, 1600)


def test_lung_outlines_lie_on_the_lungs() -> None:
    made = phantom(0, HEIGHT, WIDTH)
    mask = (made.lungs == 1).astype(np.uint8)
    points = np.array(re.findall(r"(\d+) (\d+)", pictures.svg_path(mask)), np.int32)
    drawn = np.zeros_like(mask)
    cv2.fillPoly(drawn, [points], 1)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.97


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    shown = report()._repr_html_()
    assert shown.startswith("<iframe ")
    assert 'sandbox="allow-scripts"' in shown
    assert shown.count("<") == 2  # the frame's own tags: the page inside is an attribute's text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0004, "<0.1"),
        (0.034, "3.4"),
        (0.714, "71"),
        (0.9953, "99.5"),
        (0.9996, ">99.9"),
        (1.0, "100"),
    ],
)
def test_percentages_claim_no_more_than_they_know(value: float, text: str) -> None:
    assert wording.percent(value) == text
    assert wording.percent(float("nan")) == "–"


# The index


def entry(i: int, **changes: Any) -> dict[str, Any]:
    told = {"file": f"ward/{i}.dcm", "report": f"{i}.json", "html": f"{i}.html", "png": f"{i}.png"}
    return {**told, "analysable": True, "reason": None, "positive": [], "warnings": [], **changes}


def test_the_index_lists_every_film_and_every_failure(tmp_path: Path) -> None:
    entries = [
        entry(0, positive=["Mass", "Nodule"]),
        entry(1, warnings=["The film is small."]),
        entry(2, analysable=False, reason="lateral view", png=None),
    ]
    failures = [{"file": "ward/bad.dcm", "fault": "the file is empty", "mend": None}]
    page = write_index(entries, failures, tmp_path, 12.5)
    assert page == tmp_path / "index.html"
    data = json.loads((tmp_path / "index.json").read_text())
    assert data["reports"] == entries
    assert data["failures"] == failures
    assert data["counts"] == {"films": 4, "positive": 1, "negative": 1, "unanalysable": 1, "failed": 1}
    assert data["seconds"] == 12.5
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', page.read_text("utf-8"), re.S)
    assert [state for state, _ in rows] == ["failed", "positive", "negative", "unanalysable"]
    for (_, row), words in zip(
        rows, ("the file is empty", "Mass, Nodule", "small", "lateral view"), strict=True
    ):
        assert words in row
    assert 'href="./0.html"' in rows[1][1]
    assert "href" not in rows[0][1]


def test_the_index_shows_names_as_text_and_links_only_into_its_folder(tmp_path: Path) -> None:
    odd = entry(0, file=SCRIPT, html=f'javascript:"{SCRIPT}', positive=[SCRIPT], warnings=[SCRIPT])
    page = write_index([odd], [{"file": SCRIPT, "fault": SCRIPT, "mend": SCRIPT}], tmp_path, 1).read_text(
        "utf-8"
    )
    assert SCRIPT not in page
    links = re.findall(r'href="([^"]*)"', page)
    assert links
    assert all(link.startswith("./") for link in links)


def test_the_index_of_a_very_long_call_stays_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.analysis.render.index.LARGEST", 50)
    page = write_index([entry(i) for i in range(1000)], [], tmp_path, 7200).read_text("utf-8")
    assert page.count('<tr class="negative">') == 50
    assert "index.json holds all 1,000" in page
    assert len(json.loads((tmp_path / "index.json").read_text())["reports"]) == 1000


def test_an_index_of_nothing_is_an_index(tmp_path: Path) -> None:
    assert "0 films" in write_index([], [], tmp_path, 0.0).read_text("utf-8")


def test_a_reports_json_has_an_entry_or_an_item_a_line_and_is_what_json_reads():
    data = {
        "title": 'a "film"\n\u00e9',
        "findings": [{"name": "Mass", "p": np.float32(0.5)}, {"name": "Nodule", "p": float("nan")}],
        "size": (3, 4),
        "none": [],
        "pairs": [(1, 2), (3, float("inf"))],
    }
    text = as_json(data).decode("ascii")
    assert json.loads(text) == {
        "title": 'a "film"\n\u00e9',
        "findings": [{"name": "Mass", "p": 0.5}, {"name": "Nodule", "p": None}],
        "size": [3, 4],
        "none": [],
        "pairs": [[1, 2], [3, None]],
    }
    assert ' "size": [3, 4],' in text.splitlines()
    assert '  {"name": "Mass", "p": 0.5},' in text.splitlines()
    for plain in ({}, [], [1, {"a": None}], None):
        assert json.loads(as_json(plain)) == plain
