"""Several detectors on a film: what is fused is what `hilum.boxes` fuses, and a filter of classifiers counts as it says."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.box_files import FilmBoxes
from hilum.analysis.detection import Detection, detect_together, with_views
from hilum.analysis.folder import Beside, Job, Writing, _analyze_one
from hilum.analysis.normality import Filter, Normal, check_filter, normal, share
from hilum.analysis.render import report_html, report_schema, words
from hilum.boxes import METHODS, fuse, group_numbers, iou
from hilum.bundles import Bundle
from hilum.bundles.detecting import detect_film
from hilum.bundles.info import Cut, Info, Label
from hilum.bundles.runtimes import ExportedRuntime
from hilum.errors import BoxError, BundleError, HilumError
from hilum.images.radiograph import Radiograph
from hilum.models.contract import Detector
from hilum.models.viewed import View, published_views
from tests.bundles_for_tests import bright_bundle, classifier_bundle, dark_lungs_bundle, yolo_bundle
from tests.phantom import phantom

FILM = Radiograph(phantom(0, 200, 160).pixels, format="array")


class Given(Detector):
    """Finds what it is told to: rows of class number, score and a box in pixels of its input."""

    strides, channels, input_size, mean, std = (8,), 1, (96, 96), (0.0,), (1.0,)

    def __init__(self, rows: list[tuple[float, ...]], classes: int) -> None:
        super().__init__()
        self.rows, self.classes = rows, classes

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]

    def boxes(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        scores = torch.zeros(1, len(self.rows), self.classes)
        for i, (kind, score, *_) in enumerate(self.rows):
            scores[0, i, int(kind)] = score
        return torch.tensor([row[2:] for row in self.rows]).reshape(1, -1, 4), scores

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.boxes(self.forward(images))

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return iter(())


def told(
    name: str, labels: tuple[str, ...], *rows: tuple[float, ...], size: int = 96, cut: float = 0.5
) -> Bundle:
    return Bundle(_info(name, labels, size, cut), Given(list(rows), len(labels)))


@functools.cache
def _info(name: str, labels: tuple[str, ...], size: int, cut: float) -> Info:
    return yolo_bundle(name, labels, size=size, threshold=cut).info


def plain(result) -> list[tuple]:
    return [
        (b.name, round(b.score, 6), tuple(round(e, 3) for e in b.box), b.bundle, b.seen_by) for b in result
    ]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weights", [None, (3.0, 1.0, 1.0)])
def test_what_is_fused_is_what_boxes_fuse_gives_on_the_same_boxes(method: str, weights):
    bundles = [yolo_bundle(f"d{i}", seed=i, size=size) for i, size in enumerate((64, 96, 128))]
    how = Detection(method=method, weights=weights, iou_threshold=0.4)
    found = detect_together(bundles, FILM, how)
    each = [detect_film(bundle, FILM, i) for i, bundle in enumerate(bundles)]
    kinds = np.concatenate([e.kind for e in each])
    scores = np.concatenate([e.scores for e in each])
    models = np.concatenate([e.film for e in each])
    wanted = fuse(
        np.concatenate([e.boxes for e in each]),
        scores,
        models,
        group_numbers(np.zeros(len(kinds), int), kinds),
        method=method,
        iou_threshold=0.4,
        weights=weights or ([1, 1, 1] if method in ("wbf", "nmw") else None),
    )
    assert len(found.boxes) == len(wanted) > 10
    np.testing.assert_allclose([b.score for b in found.boxes], wanted.scores)
    np.testing.assert_allclose(sorted(b.box for b in found.boxes), sorted(wanted.boxes.tolist()))
    assert sorted(b.seen_by for b in found.boxes) == sorted(wanted.models_in.tolist())
    assert {b.bundle for b in found.boxes} == {"fusion of d0, d1, d2"}
    assert all(0 <= b.score <= 1 for b in found.boxes)
    if method == "nms" and weights is None:  # a box stays as it was, and so does whether it is called
        assert all(b.score >= 0.5 for b in found.called)
        assert len(found.called) == sum(b.score >= 0.5 for b in found.boxes)
    assert {b.bundle for b in found.own} <= {"d0", "d1", "d2"}
    assert len(found.own) == (scores >= 0.5).sum()


def test_classes_are_matched_by_name_and_one_that_a_single_bundle_knows_is_left_alone():
    a = told("a", ("Mass", "Effusion"), (0, 0.8, 24, 24, 48, 48), (1, 0.55, 60, 60, 90, 90))
    b = told("b", ("Nodule", "Mass"), (1, 0.4, 24, 24, 48, 48), (0, 0.9, 50, 10, 60, 20))
    film = Radiograph(phantom(0, 192, 192).pixels, format="array")
    found = detect_together([a, b], film)
    assert plain(found.boxes) == [
        ("Nodule", 0.9, (100, 20, 120, 40), "b", 1),
        ("Mass", 0.6, (48, 48, 96, 96), "fusion of a, b", 2),
        ("Effusion", 0.55, (120, 120, 180, 180), "a", 1),
    ]
    assert len(found.called) == 3
    assert [b.name for b in found.own] == ["Mass", "Effusion", "Nodule"]  # b's Mass is below its threshold
    alone = told("c", ("Mass",), (0, 0.9, 0, 0, 20, 20))
    lonely = detect_together([a, alone, told("d", ("Mass",))], film)
    # Two of three that know the class do not see it there: a third of the score is left.
    assert plain(lonely.boxes)[1:] == [
        ("Mass", 0.3, (0, 0, 40, 40), "fusion of a, c, d", 1),
        ("Mass", 0.266667, (48, 48, 96, 96), "fusion of a, c, d", 1),
    ]
    assert len(lonely.called) == 3  # it is called where the bundle that saw it calls it


def test_detectors_of_any_input_size_meet_in_the_films_pixels():
    film = Radiograph(phantom(0, 200, 100).pixels, format="array")  # padded: 48 of 96 pixels wide
    a = told("a", ("Mass",), (0, 0.8, 24, 0, 48, 96))
    b = told("b", ("Mass",), (0, 0.8, 48, 0, 96, 192), size=192)
    assert plain(detect_together([a, b], film).boxes) == [("Mass", 0.8, (0, 0, 50, 200), "fusion of a, b", 2)]


def test_soft_nms_calls_no_box_that_it_has_decayed_below_the_threshold():
    rows = [(0, 0.9, 10, 10, 40, 40), (0, 0.6, 12, 10, 42, 40)]
    film = Radiograph(phantom(0, 96, 96).pixels, format="array")
    found = detect_together(
        [told("a", ("Mass",), rows[0]), told("b", ("Mass",), rows[1])], film, Detection("soft-nms")
    )
    assert len(found.boxes) == 2
    assert [b.score for b in found.called] == [pytest.approx(0.9)]
    weighted = Detection("soft-nms", weights=(1.0, 3.0))
    found = detect_together([told("a", ("Mass",), rows[0]), told("b", ("Mass",), rows[1])], film, weighted)
    assert [round(b.score, 3) for b in found.called] == [
        0.45
    ]  # three quarters of 0.6, still above by its own scale


@pytest.mark.parametrize(
    ("first", "second", "weights"),
    [((0.45, 0.5), (0.9, 0.5), (3.0, 1.0)), ((0.35, 0.3), (0.5, 0.6), None), ((0.2, 0.5), (0.5, 0.6), None)],
)
@pytest.mark.parametrize("method", ["wbf", "nmw"])
def test_a_box_that_one_bundle_calls_is_called_whatever_the_others_weigh_and_ask(
    first, second, weights, method
):
    film = Radiograph(phantom(0, 96, 96).pixels, format="array")
    pair = [
        told(name, ("Mass",), (0, score, 24, 24, 48, 48), cut=cut)
        for name, (score, cut) in (("a", first), ("b", second))
    ]
    found = detect_together(pair, film, Detection(method, weights=weights))
    assert len(found.boxes) == 1
    assert len(found.called) == (first[0] >= first[1] or second[0] >= second[1])
    assert len(found.called) == len(found.own)


def test_a_share_of_the_scores_and_none():
    a = told("a", ("Mass",), (0, 0.9, 10, 10, 40, 40), (0, 0.6, 60, 60, 90, 90))
    half = detect_together([a], FILM, share=0.7)
    assert [round(b.score, 3) for b in half.boxes] == [0.63, 0.42]
    assert [round(b.score, 3) for b in half.called] == [0.63]
    assert detect_together([a], FILM, share=0.0).boxes == ()
    assert detect_together([a], FILM).own == ()


def test_what_does_not_fit_is_refused():
    a, b = told("a", ("Mass",)), told("b", ("Mass",))
    assert detect_together([a, b], FILM).boxes == ()
    with pytest.raises(BoxError, match="1 weights for 2"):
        detect_together([a, b], FILM, Detection(weights=(1.0,)))
    with pytest.raises(BoxError, match="no method"):
        Detection(method="mean")  # type: ignore[arg-type]
    with pytest.raises(BoxError, match="conf_type 'avg'"):
        Detection(conf_type="avg")
    with pytest.raises(BoxError, match="IoU threshold"):
        Detection(iou_threshold=1.0)
    with pytest.raises(BundleError, match="3 weights for 1"):
        Analyzer([a, dark_lungs_bundle()], detection=Detection(weights=(1.0, 1.0, 1.0)))
    with pytest.raises(BundleError, match="class 'Left lung'"):
        with_views(told("c", ("Left lung",)), published_views(flip=True))
    exported = told("e", ("Mass",))
    exported.started = ExportedRuntime("onnx", lambda images: {}, None, "e")
    with pytest.raises(BundleError, match="form onnx takes films of one size"):
        with_views(exported, published_views())
    with pytest.raises(HilumError, match="no bundle"):
        Filter(())
    with pytest.raises(HilumError, match="threshold of 2"):
        Filter(("x",), threshold=2)


def test_a_detector_in_one_view_is_itself_and_in_several_sees_more():
    bundle = yolo_bundle()
    assert with_views(bundle, (View(),)) is bundle
    viewed = detect_film(with_views(bundle, published_views()), FILM)
    alone = detect_film(bundle, FILM)
    assert (viewed.boxes[:, 2] <= FILM.width).all()
    assert (
        set(np.round(alone.scores[:1], 6)) <= set(np.round(viewed.scores, 6))
        or viewed.scores[0] > alone.scores[0]
    )


# The filter


def normal_bundle(name: str, label: str = "No Finding", **changes) -> Bundle:
    """Findings and `label`, whose logits are 1, 2 and 3 times one number of the film."""
    bundle = bright_bundle(name=name)
    labels = (*bundle.info.labels[:2], Label(name=label, threshold=Cut(value=0.5, rule="by hand")))
    bundle.info = bundle.info.model_copy(update={"labels": labels, **changes})
    return bundle


def chances(bundle: Bundle) -> np.ndarray:
    with torch.inference_mode():
        return bundle.probabilities(bundle(bundle.prepare(FILM)))[0].double().numpy()


def test_the_probability_of_being_normal_is_what_the_module_says_it_is():
    a, b = normal_bundle("a"), classifier_bundle("b")
    p, q = chances(a), chances(b)
    assert normal([a], FILM, Filter(("a",))).probability == pytest.approx(p[2])
    assert normal([b], FILM, Filter(("b",))).probability == pytest.approx(1 - q.max())
    assert normal([b], FILM, Filter(("b",), pool="mean")).probability == pytest.approx(1 - q.mean())
    assert normal([b], FILM, Filter(("b",), label="Mass")).probability == pytest.approx(1 - q[2])
    assert normal([a], FILM, Filter(("a",), label="No Finding")).probability == pytest.approx(p[2])
    both = normal([a, b], FILM, Filter(("a", "b")))
    assert both.probability == pytest.approx((p[2] + 1 - q.max()) / 2)
    assert both.by == pytest.approx({"a": p[2], "b": 1 - q.max()})


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_hard_filter_keeps_all_or_nothing_and_a_soft_one_multiplies(p: float, threshold: float):
    found = Normal(p, {"a": p})
    assert share(found, Filter(("a",), threshold=threshold)) == (0.0 if p >= threshold else 1.0)
    assert share(found, Filter(("a",), how="soft")) == 1 - p


def test_a_bundle_that_cannot_judge_is_refused_before_any_film():
    exclusive = classifier_bundle("c", group="pattern")
    with pytest.raises(BundleError, match="none of its exclusive classes"):
        check_filter([exclusive], Filter(("c",)))
    check_filter([exclusive], Filter(("c",), label="Mass"))
    with pytest.raises(BundleError, match="no label 'Nodule'"):
        check_filter([exclusive], Filter(("c",), label="Nodule"))
    with pytest.raises(BundleError, match="does not classify"):
        check_filter([dark_lungs_bundle()], Filter(("lungs",)))
    with pytest.raises(BundleError, match="same name"):
        check_filter([exclusive, exclusive], Filter(("c", "c"), label="Mass"))


# Reports


def test_a_report_has_each_box_once_and_each_bundles_own_beside():
    film = Radiograph(phantom(0, 400, 320).pixels, format="array")
    a = told("a", ("Mass",), (0, 0.8, 24, 24, 48, 48))
    b = told("b", ("Mass",), (0, 0.6, 25, 24, 49, 48))
    judge = normal_bundle("judge")
    lungs = dark_lungs_bundle()
    report = Analyzer([a, b, lungs]).analyze(film)
    assert [(x.name, x.bundle, x.seen_by) for x in report.boxes] == [("Mass", "fusion of a, b", 2)]
    assert [(x.bundle, round(x.score, 3)) for x in report.own_boxes] == [("a", 0.8), ("b", 0.6)]
    assert report.detection is not None
    assert report.detection.bundles == ("a", "b")
    data = report.as_dict()
    assert data["detection"]["method"] == "wbf"
    assert data["detection"]["normal"] is None
    valid(data)
    page = report_html(report)
    assert "fused by wbf where they overlap by more than 0.55" in page
    assert "2 of 2" in page
    assert "1 box: Mass." in page
    p = normal([judge], film, Filter(("judge",))).probability
    hard = Detection(filter=Filter((judge,), threshold=p - 1e-9))
    empty = Analyzer([a, b, lungs], detection=hard).analyze(film)
    assert empty.boxes == empty.all_boxes == ()
    assert len(empty.own_boxes) == 2
    assert empty.detection is not None
    assert empty.detection.normal is not None
    assert empty.detection.normal.dropped
    assert [b.name for b in empty.bundles] == ["lungs", "a", "b", "judge"]
    valid(empty.as_dict())
    assert "all boxes are dropped" in report_html(empty)
    kept = Analyzer([a, b, lungs], detection=Detection(filter=Filter((judge,), threshold=p + 1e-9))).analyze(
        film
    )
    assert kept.boxes == report.boxes
    soft = Analyzer([a, b, lungs], detection=Detection(filter=Filter((judge,), how="soft"))).analyze(film)
    assert [b.score for b in soft.all_boxes] == pytest.approx([(1 - p) * b.score for b in report.all_boxes])
    valid(soft.as_dict())
    one = Analyzer([a, lungs]).analyze(film)
    assert one.own_boxes == ()
    assert one.detection == replace(report.detection, bundles=("a",), method=None, iou_threshold=None)
    valid(one.as_dict())


def test_detectors_of_several_folds_share_a_name_and_are_numbered():
    boxes = [(0, 0.8, 24, 24, 48, 48)], [(0, 0.6, 24, 24, 50, 50)]
    folds = [told("fold", ("Mass",), *rows) for rows in boxes]
    for bundle, digest in zip(folds, ("a" * 64, "b" * 64), strict=True):
        bundle.info = bundle.info.model_copy(update={"digest": digest})
    report = Analyzer([*folds, dark_lungs_bundle()]).analyze(FILM)
    (box,) = report.boxes
    assert (box.bundle, box.seen_by) == ("fusion of fold, fold-2", 2)
    assert [b.bundle for b in report.own_boxes] == ["fold", "fold-2"]
    assert [b.info.name for b in folds] == ["fold", "fold"]
    with pytest.raises(BundleError, match="same name"):
        Analyzer([folds[0], folds[0], dark_lungs_bundle()])


def test_suppression_leaves_boxes_of_one_detector_and_a_page_counts_none():
    a = told("a", ("Mass",), (0, 0.8, 24, 24, 48, 48))
    b = told("b", ("Mass",), (0, 0.6, 24, 24, 48, 48))
    report = Analyzer([a, b, dark_lungs_bundle()], detection=Detection("nms")).analyze(FILM)
    assert [round(x.score, 3) for x in report.boxes] == [0.8]
    assert "Seen by" not in report_html(report)
    assert "fused by nms where they overlap by more than 0.55." in report_html(report)
    assert report.detection is not None
    assert words.boxes(replace(report.detection, method="soft-nms")) == ["Boxes of a, b, fused by soft-nms."]


@pytest.mark.parametrize(
    ("name", "file", "renamed"),
    [
        ("film", "one/film.png", False),
        ("film-2", "two/film.png", True),
        ("1.2.840.7", "1.2.840.7.dcm", False),
        ("1.2.840.7", "1.2.840.7", False),
        ("film (3)", "film (3).PNG", False),
        ("two/film", "two/film.png", True),
    ],
)
def test_a_film_whose_name_in_tables_is_not_its_files_says_so(name: str, file: str, renamed: bool):
    assert FilmBoxes(name, (1, 1), (), (), file=Path(file)).renamed is renamed


@pytest.mark.parametrize("name", ["Right Lung", "Right lung"])
def test_a_box_around_a_lung_is_no_finding_of_the_index(name: str, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "film.png"), np.rint(FILM.pixels * 255).astype(np.uint8))
    rows = (0, 0.8, 24, 24, 48, 48), (1, 0.7, 30, 30, 50, 50)
    analyzer = Analyzer([told("a", (name, "Mass"), *rows), dark_lungs_bundle()])
    entry, boxes = _analyze_one(
        analyzer, Writing(tmp_path, ("json",), Beside(), None), Job(tmp_path / "film.png", "out", "film")
    )
    assert boxes is not None
    assert boxes.called == ("Mass", name)
    assert entry["positive"] == ["Mass"]


# What must not vanish, be confused, or be lost


@pytest.mark.parametrize("weights", [None, (3.0, 1.0)])
@pytest.mark.parametrize("method", METHODS)
def test_a_called_box_does_not_vanish_behind_one_that_is_not_called(method: str, weights):
    film = Radiograph(phantom(0, 96, 96).pixels, format="array")
    strong = told("a", ("Mass",), (0, 0.65, 24, 24, 48, 48), cut=0.7)  # counts most, and is not called
    weak = told("b", ("Mass",), (0, 0.6, 25, 24, 49, 48), cut=0.5)
    found = detect_together([strong, weak], film, Detection(method, weights=weights))
    assert [b.bundle for b in found.own] == ["b"]
    assert [b.name for b in found.called] == ["Mass"]
    assert set(found.called) <= set(found.boxes)


def test_soft_nms_keeps_a_called_box_that_many_uncalled_ones_would_wipe_out():
    film = Radiograph(phantom(0, 96, 96).pixels, format="array")
    many = told("a", ("Mass",), *[(0, 0.65, 24, 24 + i / 10, 48, 48) for i in range(8)], cut=0.7)
    one = told("b", ("Mass",), (0, 0.6, 24, 24, 48, 48), cut=0.5)
    for method in ("soft-nms", "soft-nms-linear", "nms"):
        found = detect_together([many, one], film, Detection(method))
        assert len(found.called) == 1
        assert set(found.called) <= set(found.boxes)


rows_of_boxes = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(5, 100).map(lambda s: s / 100), st.integers(0, 40), st.integers(0, 40)
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=40)
@given(
    rows_of_boxes,
    rows_of_boxes,
    st.sampled_from(METHODS),
    st.sampled_from([None, (4.0, 1.0), (1.0, 2.0)]),
    st.sampled_from([(0.3, 0.7), (0.7, 0.3), (0.5, 0.5)]),
)
def test_whatever_a_detector_calls_has_a_called_box_in_its_place(first, second, method, weights, cuts):
    film = Radiograph(phantom(0, 96, 96).pixels, format="array")
    pair = [
        told(name, ("Mass", "Nodule"), *[(k, s, x, y, x + 30, y + 24) for k, s, x, y in given], cut=cut)
        for name, given, cut in zip("ab", (first, second), cuts, strict=True)
    ]
    found = detect_together(pair, film, Detection(method, weights=weights))
    assert {b.name for b in found.own} == {b.name for b in found.called}
    assert set(found.called) <= set(found.boxes)
    if method == "nms":
        for mine in found.own:
            near = [b.box for b in found.called if b.name == mine.name]
            assert iou(np.array([mine.box]), np.array(near)).max() > 0.55


def test_a_box_is_counted_against_the_detectors_that_know_its_class():
    film = Radiograph(phantom(0, 192, 192).pixels, format="array")
    a = told("a", ("Mass", "Effusion"), (0, 0.8, 24, 24, 48, 48), (1, 0.9, 60, 60, 90, 90))
    b = told("b", ("Mass",), (0, 0.7, 24, 24, 48, 48))
    c = told("c", ("Nodule",), (0, 0.6, 5, 5, 15, 15))
    report = Analyzer([a, b, c, dark_lungs_bundle()]).analyze(Radiograph(phantom(0, 400, 320).pixels))
    assert {(x.name, x.seen_by, x.known_by) for x in report.boxes} == {
        ("Mass", 2, 2),
        ("Effusion", 1, 1),
        ("Nodule", 1, 1),
    }
    page = report_html(report)
    assert "2 of 2" in page
    assert "1 of 1" in page
    assert "of 3<" not in page
    assert [box["known_by"] for box in report.as_dict()["boxes"]] == [x.known_by for x in report.boxes]
    valid(report.as_dict())
    assert {x.known_by for x in detect_together([a], film).boxes} == {1}


def valid(data: dict) -> None:
    jsonschema.Draft202012Validator(report_schema()).validate(data)
