"""Many films in one call: each bad one costs itself only, names never collide, and the index lists everything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.analysis.folder import analyze_all, with_stems
from hilum.analysis.search import expand
from hilum.bundles import save
from hilum.errors import BundleError, HilumError
from tests.bundles_for_tests import classifier_bundle
from tests.phantom import phantom


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save(classifier_bundle(), tmp_path_factory.mktemp("bundles") / "toy")


def write_film(path: Path, seed: int = 0) -> Path:
    """A film of its own for each seed: one phantom, a little darker or lighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(phantom(0, 160, 144).pixels * (255 - seed)).astype(np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """12 films, 3 files that are none, and files that are no candidates."""
    root = tmp_path_factory.mktemp("films")
    for i in range(10):
        write_film(root / f"{'ab'[i % 2]}" / f"film{i:02}.png", i)
    write_film(root / "c" / "film00.png", 90)
    write_film(root / "c" / "film00", 91)
    (root / "a" / "empty.dcm").touch()
    (root / "b" / "film01.dcm").write_text("text named .dcm")
    (root / "c" / "cut.png").write_bytes((root / "c" / "film00.png").read_bytes()[:400])
    (root / "notes.txt").write_text("not a film")
    (root / "labels.csv").write_text("a,b")
    (root / "DICOMDIR").write_bytes(b"x")
    write_film(root / ".hidden" / "film.png")
    write_film(root / "a" / ".hidden.png")
    return root


def without_times(folder: Path) -> dict[str, object]:
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        content.pop("seconds")
        for entry in content.get("reports", []):
            entry.pop("seconds")
        found[path.name] = content
    return found


def test_three_bad_films_cost_three_films(inputs, bundle, tmp_path):
    seen = []
    summary = analyze_all(
        [inputs], tmp_path / "out", bundles=[bundle], jobs=2, progress=lambda *n: seen.append(n)
    )
    assert summary.exit_code == 1
    assert len(summary.entries) == 12
    assert [Path(f["file"]).name for f in summary.failures] == ["empty.dcm", "film01.dcm", "cut.png"]
    assert all(f["fault"] and f["mend"] for f in summary.failures)
    assert seen == [(i + 1, 15) for i in range(15)]
    assert [e["file"] for e in summary.entries] == sorted(e["file"] for e in summary.entries)
    names = [e[kind] for e in summary.entries for kind in ("report", "html", "png")]
    assert len(set(names)) == 36
    assert all((tmp_path / "out" / name).is_file() for name in names)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["failures"] == summary.failures
    assert [r["report"] for r in index["reports"]] == [e["report"] for e in summary.entries]
    assert summary.index == tmp_path / "out" / "index.html"
    page = summary.index.read_text()
    assert all(Path(f["file"]).name in page for f in summary.failures)
    for entry in summary.entries:
        report = json.loads((tmp_path / "out" / entry["report"]).read_text())
        assert report["source"]["path"] == entry["file"]
        assert entry["warnings"] == [w["text"] for w in report["warnings"]]
        assert entry["positive"] == [f["name"] for f in report["findings"] if f["positive"]]


def test_the_number_of_processes_changes_nothing(inputs, bundle, tmp_path):
    some = [inputs / "c", inputs / "a" / "film00.png", inputs / "nowhere"]
    one = analyze_all(some, tmp_path / "one", ("json",), [bundle], jobs=1)
    two = analyze_all(some, tmp_path / "two", ("json",), [bundle], jobs=2)
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")
    assert [f["fault"] for f in one.failures] == [f["fault"] for f in two.failures]
    assert one.failures[0] == {
        "file": str(inputs / "nowhere"), "fault": "there is no such file", "mend": "Check the path",
    }  # fmt: skip
    assert not list((tmp_path / "one").glob("*.png"))


def test_a_film_past_its_time_is_a_failure(inputs, bundle, tmp_path):
    summary = analyze_all([inputs / "a" / "film00.png"], tmp_path / "out", ("json",), [bundle], timeout=1e-3)
    assert "longer than 0.001 seconds" in summary.failures[0]["fault"]
    assert summary.exit_code == 1
    assert summary.index.is_file()


def test_an_interrupted_call_leaves_an_index_of_what_it_did(inputs, bundle, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze_all([inputs / "b"], tmp_path / "out", ("json",), [bundle], progress=stop)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert (len(index["reports"]), len(index["failures"])) == (1, 1)  # film01.dcm is none


def test_a_bundle_that_cannot_be_loaded_ends_the_call(inputs, tmp_path):
    with pytest.raises(BundleError, match="no such bundle"):
        analyze_all([inputs], tmp_path / "out", bundles=["no-such-bundle"])


def test_an_unknown_format_is_refused_before_any_work(inputs, tmp_path):
    with pytest.raises(HilumError, match="docx"):
        analyze_all([inputs], tmp_path / "out", ("docx",))
    assert not (tmp_path / "out").exists()


def test_out_must_be_a_folder_that_can_be_made(inputs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HilumError, match="cannot be made"):
        analyze_all([inputs], tmp_path / "file" / "out")


def test_a_folder_is_searched_whole_but_for_what_is_no_film(inputs, tmp_path):
    films, failures = expand([inputs], tmp_path)
    names = {p.name for p in films}
    assert len(films) == 15
    assert not names & {"notes.txt", "labels.csv", "DICOMDIR", ".hidden.png", "film.png"}
    assert failures == []


def test_results_of_the_last_call_are_no_inputs_of_the_next(tmp_path):
    write_film(tmp_path / "film.png")
    write_film(tmp_path / "out" / "film.png")
    films, _ = expand([tmp_path], tmp_path / "out")
    assert films == [tmp_path / "film.png"]


def test_results_among_the_films_are_refused_before_any_work(tmp_path, bundle):
    film = write_film(tmp_path / "films" / "film.png")
    before = film.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "films")
    for out in (tmp_path / "films", tmp_path / "films" / ".." / "films", tmp_path / "link"):
        with pytest.raises(HilumError, match="among the films") as caught:
            analyze_all([tmp_path / "films"], out, bundles=[bundle])
        assert caught.value.mend
    assert list((tmp_path / "films").iterdir()) == [film]
    assert film.read_bytes() == before


def test_a_film_beside_its_results_is_not_written_over_and_a_second_call_meets_films_only(tmp_path, bundle):
    """The overlay of film.png would be film.png."""
    film = write_film(tmp_path / "all" / "film.png")
    before = film.read_bytes()
    summary = analyze_all([film], tmp_path / "all", bundles=[bundle])
    assert summary.exit_code == 0
    assert summary.entries[0]["png"] == "film-2.png"
    assert film.read_bytes() == before
    assert len(list((tmp_path / "all").glob("*.png"))) > 2, "an overlay and a heatmap beside the film"
    write_film(tmp_path / "all" / "film-2.x.png", 3)  # another film, whatever its name begins with
    films, failures = expand([tmp_path / "all"], tmp_path / "other")
    assert [f.name for f in films] == ["film-2.x.png", "film.png"]
    assert failures == []


def test_what_would_be_written_over_takes_no_stem(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    films = [
        tmp_path / "a.lungs.png",
        tmp_path / "sub" / "a.dcm",
        tmp_path / "b.dcm",
        tmp_path / "link" / "C.png",
    ]
    assert [j.stem for j in with_stems(films, tmp_path)] == ["a_lungs-2", "a-2", "b", "C-2"]


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"reports": [{"png": 3}]}', '{"reports": 1}'])
def test_an_index_of_another_program_bars_nothing(content, tmp_path):
    film = write_film(tmp_path / "film.png")
    (tmp_path / "index.json").write_text(content)
    assert expand([tmp_path], tmp_path / "out") == ([film], [])


def test_paths_that_cannot_be_asked_about_cost_themselves_only(tmp_path, monkeypatch):
    film = write_film(tmp_path / "film.png")
    shut = tmp_path / "shut.png"
    original = Path.stat

    def asked(path: Path, **options: bool) -> os.stat_result:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, **options)

    monkeypatch.setattr(Path, "stat", asked)
    paths = [tmp_path / ("x" * 300 + ".png"), "a\0b.png", shut, film / "below.png", film]
    films, failures = expand(paths, tmp_path / "out")
    assert films == [film]
    faults = [failure["fault"] for failure in failures]
    assert faults[0] == "it cannot be opened (File name too long)"
    assert faults[1].startswith("it cannot be opened (embedded null")
    assert faults[2:] == ["it cannot be opened (Permission denied)", "there is no such file"]
    assert all(failure["mend"] for failure in failures)


def test_nothing_in_a_folder_vanishes_silently(tmp_path, monkeypatch):
    root = tmp_path / "films"
    film = write_film(root / "film.png")
    other = write_film(tmp_path / "elsewhere" / "film.png")
    (root / "nowhere.dcm").symlink_to(tmp_path / "absent.dcm")
    (root / "long.dcm").symlink_to("x" * 300)
    (root / "round.dcm").symlink_to("round.dcm")
    (root / "nowhere.txt").symlink_to(tmp_path / "absent.txt")
    (root / "study").symlink_to(other.parent)
    (root / "again").symlink_to(root)
    (root / "linked.png").symlink_to(other)
    (root / "shut").mkdir()
    original = os.scandir

    def opened(path):
        if Path(path) == root / "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", opened)
    films, failures = expand([root], tmp_path / "out")
    assert films == [film, root / "linked.png"]
    assert {Path(f["file"]).name: f["fault"] for f in failures} == {
        "nowhere.dcm": "this link leads nowhere",
        "long.dcm": "it cannot be opened (File name too long)",
        "round.dcm": "it cannot be opened (Too many levels of symbolic links)",
        "study": "this is a link to another folder, which is not followed",
        "shut": "it cannot be opened (Permission denied)",
    }


def test_a_bad_path_leaves_the_rest_of_a_call_complete(inputs, bundle, tmp_path):
    summary = analyze_all(
        [inputs / "a" / "film00.png", tmp_path / ("x" * 300)], tmp_path / "out", ("json",), [bundle]
    )
    assert (len(summary.entries), len(summary.failures), summary.exit_code) == (1, 1, 1)


def test_a_file_that_is_named_is_always_tried_and_once(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("x")
    films, failures = expand([text, tmp_path / "." / "notes.txt", tmp_path / "absent.png"], tmp_path / "out")
    assert films == [text]
    assert [f["fault"] for f in failures] == ["there is no such file"]


def test_an_empty_folder_and_a_pipe_are_failures(tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    films, failures = expand([tmp_path / "empty", tmp_path / "pipe"], tmp_path / "out")
    assert films == []
    assert [f["fault"] for f in failures] == ["the folder holds no films", "this is no regular file"]
    assert analyze_all([tmp_path / "pipe"], tmp_path / "out").exit_code == 1


def test_a_name_that_would_forge_a_line_is_made_visible(tmp_path):
    _, failures = expand([tmp_path / "a\nERROR b"], tmp_path)
    assert "\n" not in failures[0]["file"]


@pytest.mark.parametrize(
    ("films", "stems"),
    [
        (["a.dcm", "a.png", "b/a.dcm"], ["a", "a-2", "a-3"]),
        (["a-2.png", "a.png", "a.dcm"], ["a-2", "a", "a-3"]),
        (["Film.png", "film.png"], ["Film", "film-2"]),
        (["index.png"], ["index-2"]),
        (["a.png", "a.lungs.png"], ["a", "a_lungs-2"]),
        (["1.2.dcm", "1.2.png"], ["1.2", "1_2-2"]),
        (["a.lungs.png", "a.png"], ["a.lungs", "a-2"]),
        (["1.2.840.1.dcm", "1.2.840.2.dcm"], ["1.2.840.1", "1.2.840.2"]),
    ],
)
def test_stems_never_collide(films, stems):
    jobs = with_stems([Path(f) for f in films], Path("out"))
    assert [j.stem for j in jobs] == stems
    for job in jobs:
        assert not any(
            other is not job and other.stem.casefold().startswith(job.stem.casefold() + ".") for other in jobs
        )


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "a/../b", "...", "\u202egnp.exe", "x" * 200, "a b", "nul\x01"]
)
def test_a_stem_stays_in_its_folder(name, tmp_path):
    (job,) = with_stems([Path(name + ".png")], tmp_path)
    assert (tmp_path / job.stem).parent == tmp_path
    assert job.stem
    assert len(job.stem.encode()) < 200


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("aA.12-_", min_size=1, max_size=6), max_size=12))
def test_any_names_get_stems_of_their_own(names):
    stems = [
        job.stem.casefold()
        for job in with_stems([Path(f"{i}/{name}.png") for i, name in enumerate(names)], Path("out"))
    ]
    assert len(set(stems)) == len(names)
    assert not any(b.startswith(a + ".") for a in [*stems, "index"] for b in stems)
