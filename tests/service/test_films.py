"""The API: films in by every form of body, their states, their results, reviews, and what the page's canvas is given."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pydicom
import pytest
from starlette.testclient import TestClient

from hilum.analysis.render import report_schema
from hilum.datasets import box_tables
from hilum.datasets.sources import csv as csv_source
from hilum.images.read import read
from hilum.service.desk import Desk
from hilum.service.films import Film, triage
from hilum.service.frames import windowed
from tests.clinic.helpers import a_film, phantom_film

from .conftest import analysed

FILMS = "/api/v1/films"


def related(*films: bytes, boundary: str = "b") -> tuple[bytes, dict[str, str]]:
    body = (
        b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + film + b"\r\n" for film in films)
        + b"--b--\r\n"
    )
    return body, {"content-type": f'multipart/related; type="application/dicom"; boundary={boundary}'}


def test_a_film_in_each_form_of_body(api: TestClient) -> None:
    raw = api.post(FILMS, content=a_film(1), headers={"content-type": "application/dicom"})
    assert raw.status_code == 202
    (first,) = raw.json()["films"]
    assert (first["kind"], first["sop_uid"]) == ("queued", "1.2.3.2")
    again = api.post(FILMS, files={"film": ("x", a_film(1)), "other": ("y", a_film(2))})
    assert [each["kind"] for each in again.json()["films"]] == ["known", "queued"]
    body, headers = related(a_film(2), a_film(3))
    stow = api.post(FILMS, content=body, headers=headers)
    assert [each["kind"] for each in stow.json()["films"]] == ["known", "queued"]
    png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))[1].tobytes()
    assert (
        api.post(FILMS, content=png, headers={"content-type": "image/png"}).json()["films"][0]["kind"]
        == "queued"
    )
    state = api.get(f"{FILMS}/{first['id']}").json()
    assert (state["state"], state["door"], state["findings"]) == ("queued", "upload", [])
    assert api.get(f"{FILMS}/{first['id']}/report.json").status_code == 409


def test_conflict_and_quarantine_through_the_upload_door(api: TestClient) -> None:
    """HAZARDS 47 to 49."""
    kinds = [
        api.post(FILMS, content=film, headers={"content-type": "application/dicom"}).json()["films"][0]["kind"]
        for film in (
            a_film(20), a_film(20), a_film(20, pixels=3), a_film(21, StudyInstanceUID="1.2.4.21", PatientID="other"),
        )
    ]  # fmt: skip
    assert kinds == ["queued", "known", "conflict", "quarantined"]
    held = api.get(FILMS, params={"state": "held"}).json()["films"]
    assert {film["sop_uid"] for film in held} >= {"1.2.3.21", "1.2.3.22"}


def test_stow_answers_as_the_standard_says(api: TestClient) -> None:
    body, headers = related(a_film(30), b"no film")
    found = api.post("/dicom-web/studies", content=body, headers=headers)
    assert (found.status_code, found.headers["content-type"]) == (202, "application/dicom+json")
    assert found.json()["00081199"]["Value"][0]["00081155"]["Value"] == ["1.2.3.31"]
    assert found.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC000]
    assert found.headers["warning"] == '299 hilum "the file is neither DICOM nor PNG, JPEG or TIFF"'
    body, headers = related(b"no film")
    assert api.post("/dicom-web/studies", content=body, headers=headers).status_code == 409


def test_a_study_is_referred_to_a_known_archive_only(api: TestClient) -> None:
    good = {"source": "http://pacs/dicom-web", "study_uid": "1.2.3"}
    assert api.post("/api/v1/studies", json=good).json() == {"study_uid": "1.2.3", "waiting": False}
    assert api.post("/api/v1/studies", json=good).json()["waiting"] is True
    other = api.post("/api/v1/studies", json={**good, "source": "http://169.254.169.254/"})
    assert other.status_code == 422
    assert "not configured" in other.json()["fault"]
    assert api.post("/api/v1/studies", json={**good, "study_uid": "../x"}).status_code == 422


def test_results_of_a_film(api: TestClient, desk: Desk, film: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    told = Film.model_validate(api.get(f"{FILMS}/{film}").json())
    assert (told.state, told.analysable, len(told.findings)) == ("done", True, 3)
    assert told.results == ["sr", "seg", "sc", "gsps"]
    jsonschema.validate(api.get(f"{FILMS}/{film}/report.json").json(), report_schema())
    page = api.get(f"{FILMS}/{film}/report.html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert (
        cv2.imdecode(np.frombuffer(api.get(f"{FILMS}/{film}/picture.png").content, np.uint8), -1) is not None
    )
    mask = cv2.imdecode(np.frombuffer(api.get(f"{FILMS}/{film}/lungs.png").content, np.uint8), -1)
    assert mask.shape == (400, 320)
    for kind in told.results:
        answer = api.get(f"{FILMS}/{film}/results/{kind}.dcm")
        assert "attachment" in answer.headers["content-disposition"]
        assert pydicom.dcmread(io.BytesIO(answer.content)).StudyInstanceUID == told.study_uid
    report = api.get(f"{FILMS}/{film}/report.json").json()
    named = next(f for f in report["findings"] if f["heatmap"])
    heat = api.get(f"{FILMS}/{film}/heatmaps/{named['name']}.png", params={"bundle": named["bundle"]})
    assert cv2.imdecode(np.frombuffer(heat.content, np.uint8), -1).shape == (400, 320)
    assert api.get(f"{FILMS}/{film}/heatmaps/None.png").status_code == 404
    assert api.get(f"{FILMS}/{film}/heatmaps/..%2f..%2freport.json.png").status_code == 404
    events = [entry for entry in desk.trail.entries() if entry.event == "read"]
    assert {entry.what["file"] for entry in events} >= {"json", "html", "overlay", "sr.dcm"}


def test_pixels_are_the_film_and_a_window_of_it_is_the_formula(
    api: TestClient, desk: Desk, film: int
) -> None:
    row = desk.worklist.film(film) or {}
    pixels = read(desk.store.film(row["file"])).pixels
    whole = api.get(f"{FILMS}/{film}/pixels")
    stored = cv2.imdecode(np.frombuffer(whole.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert (stored == np.rint(pixels * 65535)).all()
    raw = api.get(f"{FILMS}/{film}/pixels", params={"form": "raw"})
    size = int(raw.headers["x-hilum-height"]), int(raw.headers["x-hilum-width"])
    assert (np.frombuffer(raw.content, "<u2").reshape(size) == stored).all()
    seen = api.get(f"{FILMS}/{film}/pixels", params={"centre": 0.3, "width": 0.2, "invert": True})
    shown = cv2.imdecode(np.frombuffer(seen.content, np.uint8), cv2.IMREAD_UNCHANGED)
    by_hand = 255 - np.floor(np.clip((stored / 65535 - 0.2) / 0.2, 0, 1) * 255 + 0.5)
    assert np.abs(shown - by_hand).max() <= 1  # one where 0.3 - 0.1 is not 0.2
    assert (shown == windowed(stored, 0.3, 0.2, True)).all()
    assert api.get(f"{FILMS}/{film}/pixels", params={"width": 0}).status_code == 422


def test_reviews_are_added_and_exported_for_training(api: TestClient, desk: Desk, film: int) -> None:
    told = api.get(f"{FILMS}/{film}").json()
    first, second = told["findings"][:2]
    review = {
        "result": told["result"],
        "findings": [
            {"name": first["name"], "bundle": first["bundle"], "verdict": "agree"},
            {"name": second["name"], "bundle": second["bundle"], "verdict": "disagree"},
        ],
        "boxes": [{"name": "Nodule", "box": [10, 20, 30, 40.5]}],
    }
    url = f"{FILMS}/{film}/reviews"
    kept = api.post(url, json=review)
    assert (kept.status_code, kept.json()["who"]) == (201, "anna")
    assert api.get(url).json()["reviews"][-1] == kept.json()
    for wrong in (
        {"result": told["result"] + 1},
        {"boxes": [{"name": "Nodule", "box": [10, 20, 321, 40]}]},
        {"boxes": [{"name": "=cmd()", "box": [1, 2, 3, 4]}]},
        {"boxes": [{"name": "Nodule", "box": [30, 20, 10, 40]}]},
        {"boxes": [{"name": "Nodule", "box": [10, 20, 30, 40]}] * 2},
        {"findings": [{"name": "Nothing", "bundle": "toy", "verdict": "agree"}]},
    ):
        assert api.post(url, json=review | wrong).status_code in (409, 422), wrong
    assert len(api.get(url).json()["reviews"]) == 1
    root = desk.store.root
    (root / "labels.csv").write_text(api.get("/api/v1/reviews/export").text)
    (root / "boxes.csv").write_text(api.get("/api/v1/reviews/export", params={"table": "boxes"}).text)
    file = str((desk.worklist.film(film) or {})["file"])
    this = pl.col("image_id").str.ends_with(file)  # other films of this store may have readings too
    table = csv_source.load(root / "labels.csv").table.filter(this)
    assert table["label:" + first["name"]].to_list() == [float(first["positive"])]
    assert table["label:" + second["name"]].to_list() == [float(not second["positive"])]
    boxes = box_tables.read(root / "boxes.csv", scored=False)
    assert boxes.boxes.filter(this).select("finding", "x1", "y1", "x2", "y2").rows() == [
        ("Nodule", 10.0, 20.0, 30.0, 40.5)
    ]
    assert boxes.films.filter(this)["image_id"].to_list() == table["image_id"].to_list()
    for name in ("labels.csv", "boxes.csv"):
        (root / name).unlink()


def test_a_withdrawn_word_leaves_the_export_and_a_contradiction_is_unknown() -> None:
    from hilum.service.export import boxes_csv, labels_csv

    summary = {"findings": [{"name": "Mass", "bundle": "b", "positive": True}]}

    def row(who: str, verdict: str | None, boxes: list | None = None) -> dict:
        said = [{"name": "Mass", "bundle": "b", "verdict": verdict}] if verdict else []
        return {
            "file": "ab" * 32, "patient": "p", "study_uid": "1.2", "who": who, "summary": summary, "findings": said,
            "boxes": boxes,
        }  # fmt: skip

    def label(*rows: dict) -> list[str | None]:
        table = pl.read_csv(io.StringIO(labels_csv(rows)), infer_schema=False)
        return table["Mass"].to_list() if "Mass" in table.columns else []

    assert label(row("a", "agree")) == ["1"]
    assert label(row("a", "agree"), row("a", "disagree")) == ["0"]
    assert label(row("a", "agree"), row("a", "withdrawn")) == []
    assert label(row("a", "agree"), row("c", "disagree")) == [None]
    none, one = row("a", None, []), row("a", None, [{"name": "Mass", "box": [1, 2, 3, 4]}])
    assert "Mass" not in boxes_csv([one, none])
    assert boxes_csv([none, one]).count("Mass") == 1


def test_a_box_that_two_readers_drew_alike_stands_once_with_both_names(tmp_path: Path) -> None:
    from hilum.service.export import boxes_csv

    box, other = ({"name": "Mass", "box": [1.0, 2.0, x, 4.0]} for x in (3.0, 5.0))
    rows = [
        {"file": "ab", "who": who, "patient": "P", "findings": [], "boxes": drawn}
        for who, drawn in (("anna", [box]), ("ben", [box, other]))
    ]
    path = tmp_path / "boxes.csv"
    path.write_text(boxes_csv(rows))
    assert pl.read_csv(path)["reader"].to_list() == ["anna; ben", "ben"]
    assert box_tables.read(path, scored=False).boxes["x2"].to_list() == [3.0, 5.0]


def test_priors_are_films_of_the_same_patient(desk: Desk, film: int, api: TestClient) -> None:
    later = analysed(desk, phantom_film(1001, PatientID="P-77"))
    row = desk.worklist.film(later) or {}
    assert [prior["id"] for prior in desk.worklist.priors(row)] == [film]
    assert desk.worklist.priors({**row, "patient": None}) == []


def test_triage_puts_the_likeliest_positive_first() -> None:
    def made(number: int, state: str = "done", risk: float | None = None, **values: object) -> Film:
        usual = {
            "reason": None, "sop_uid": "1.2", "study_uid": None, "modality": None, "door": "node", "received": 0,
            "analysable": True, "not_analysed": None, "leading": None, "findings": [], "reviewed": 0, "result": 1,
            "results": [],
        }  # fmt: skip
        return Film.model_validate({**usual, "id": number, "state": state, "risk": risk, **values})

    films = [
        made(1), made(2, risk=0.3), made(3, "queued", analysable=None), made(4, risk=0.9), made(5, "not_for_us"),
        made(6, "failed", analysable=None), made(7, risk=0.95, reviewed=1), made(8, analysable=False),
    ]  # fmt: skip
    assert [film.id for film in triage(films)] == [4, 2, 7, 8, 6, 3, 1, 5]


def test_lists_have_pages_and_filters(api: TestClient, film: int) -> None:
    page = api.get(FILMS, params={"limit": 1}).json()
    after = api.get(FILMS, params={"limit": 1, "before": page["before"]}).json()
    assert after["films"][0]["id"] < page["films"][0]["id"]
    told = api.get(f"{FILMS}/{film}").json()
    for params in ({"text": told["sop_uid"][-9:]}, {"state": "done", "order": "triage"}):
        assert film in [each["id"] for each in api.get(FILMS, params=params).json()["films"]]
    assert api.get(FILMS, params={"text": "%"}).json()["films"] == []
    assert api.get(FILMS, params={"state": "lost"}).status_code == 422
    assert api.get(f"{FILMS}/999999").status_code == 404


def test_openapi_tells_every_error_that_a_call_may_have(api: TestClient) -> None:
    told = api.get("/api/v1/openapi.json").json()
    paths = told["paths"]
    assert {"/api/v1/films", "/api/v1/films/{film_id}/pixels", "/api/v1/trail", "/dicom-web/studies"} <= set(
        paths
    )
    assert not any(path.endswith("/view") for path in paths)
    for path, calls in paths.items():
        if path == "/health":
            continue
        for call in calls.values():
            assert {"401", "403", "429"} <= set(call["responses"]), path
            assert call["security"], path
    assert {"408", "413", "415", "422", "507"} <= set(paths["/api/v1/films"]["post"]["responses"])
    assert json.dumps(told).count("binary") > 5


def test_pages_have_no_address_but_their_own() -> None:
    import hilum.service

    for path in Path(hilum.service.__file__).parent.rglob("*.*"):
        if path.suffix in (".html", ".js", ".css"):
            assert "http://" not in path.read_text() and "https://" not in path.read_text(), path  # noqa: PT018
