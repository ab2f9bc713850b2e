"""The quality gate on films that the tests make and on pydicom-data's real ones (HAZARDS group D)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from hilum.images import frontal
from hilum.images.body_part import is_chest
from hilum.images.lung_field import measure
from hilum.images.quality import Quality, assess
from hilum.images.radiograph import Notice, Radiograph
from hilum.images.read import read
from tests.phantom import phantom


def film(pixels: np.ndarray, **facts: object) -> Radiograph:
    return Radiograph(np.ascontiguousarray(pixels, np.float32), **facts)  # type: ignore[arg-type]


def codes(quality: Quality) -> set[str]:
    return {notice.code for notice in quality.notices}


def refused(quality: Quality, word: str) -> bool:
    return not quality.analysable and quality.reason is not None and word in quality.reason


@pytest.fixture(scope="module")
def rg1() -> Radiograph:
    return read(_testdata("RG1_UNCR.dcm"))


@pytest.fixture(scope="module")
def rg3() -> Radiograph:
    return read(_testdata("RG3_UNCR.dcm"))


def _testdata(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert path is not None, f"pydicom-data lacks {name}"
    return Path(str(path))


@pytest.mark.parametrize("seed", range(21))
def test_phantom_is_analysable(seed: int) -> None:
    made = phantom(seed, lesions=seed % 4)
    quality = assess(film(made.pixels), made.lungs)
    assert quality == Quality(True, None, (), quality.checks)


def test_real_chest_film_is_analysable(rg1: Radiograph) -> None:
    quality = assess(rg1)
    assert (quality.analysable, quality.reason, quality.notices) == (True, None, ())
    assert quality.checks["view"] == "PA"


def test_39_extremity_is_refused_by_header_and_by_pixels_alone(rg3: Radiograph) -> None:
    assert refused(assess(rg3), "EXTREMITY")
    assert refused(assess(replace(rg3, body_part=None, view=None, headers={})), "picture")


def test_what_was_said_before_the_lungs_were_known_is_not_asked_again(rg1: Radiograph) -> None:
    for one in (rg1, film(phantom().pixels, view="LATERAL"), film(np.zeros((200, 200)))):
        lungs = np.zeros((64, 64), np.uint8)
        assert assess(one, lungs, assess(one)) == assess(one, lungs)


# ---- headers


def test_38_lateral_header_is_refused() -> None:
    assert refused(assess(film(phantom().pixels, view="LATERAL")), "lateral")


def test_40_for_processing_is_refused() -> None:
    raw = film(phantom().pixels).with_notice("for_processing", "raw values")
    assert refused(assess(raw), "FOR PROCESSING")


def test_44_burned_in_annotation_refuses_nothing() -> None:
    marked = film(phantom().pixels).with_notice("burned_in_annotation", "text in the pixels")
    assert assess(marked).analysable


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "XA", "NM"])
def test_other_modalities_are_refused(modality: str) -> None:
    assert refused(assess(film(phantom().pixels, headers={"Modality": modality})), modality)


@pytest.mark.parametrize("modality", ["CR", "DX", "OT", ""])
def test_projection_modalities_pass(modality: str) -> None:
    assert assess(film(phantom().pixels, headers={"Modality": modality})).analysable


@pytest.mark.parametrize(
    "part", ["CHEST", "THORAX", "PORT CHEST", "CHEST_TO_ABDOMEN", "Tórax", "LUNG", "RIBS"]
)
def test_chest_synonyms(part: str) -> None:
    assert is_chest(part) is True


@pytest.mark.parametrize(
    "part",
    ["HAND", "EXTREMITY", "SKULL", "ABDOMEN", "TSPINE", "THORACIC SPINE", "PELVIS", "LOWER LEG", "BREAST"],
)
def test_other_parts_are_refused(part: str) -> None:
    assert is_chest(part) is False
    assert refused(assess(film(phantom().pixels, body_part=part)), part)


@pytest.mark.parametrize("part", [None, "", "UNKNOWN", "PORTABLE", "WHOLEBODY"])
def test_parts_that_say_nothing_leave_it_to_the_pixels(part: str | None) -> None:
    quality = assess(film(phantom().pixels, body_part=part))
    assert is_chest(part) is None
    assert quality.analysable
    assert ("unknown_body_part" in codes(quality)) == bool(part)


# ---- plain pixels


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_41_constant_image_is_refused(value: float) -> None:
    assert refused(assess(film(np.full((300, 280), value))), "blank")


def test_nearly_constant_and_mask_like_images_are_refused() -> None:
    rng = np.random.default_rng(0)
    assert refused(assess(film(0.5 + 0.0005 * rng.random((300, 300)))), "blank")
    assert refused(assess(film(phantom().lungs / 2)), "grey levels")


def test_values_that_are_not_numbers_are_refused() -> None:
    assert refused(assess(film(np.full((300, 300), np.nan))), "not numbers")
    one = phantom(height=600, width=600).pixels.copy()
    one[1:9, 1:9] = np.nan
    assert not assess(film(one)).analysable


def test_tiny_and_long_pictures_are_refused() -> None:
    pixels = phantom().pixels
    assert refused(assess(film(cv2.resize(pixels, (90, 99)))), "99 x 90")
    assert refused(assess(film(cv2.resize(pixels, (200, 900)))), "4.5 times")


def test_colour_is_refused_and_a_tint_is_noticed() -> None:
    assert refused(assess(film(phantom().pixels, colour=0.2)), "colour")
    tinted = assess(film(phantom().pixels, colour=0.02))
    assert tinted.analysable
    assert codes(tinted) == {"tinted"}


def test_twelve_bits_in_sixteen_are_noticed_not_refused() -> None:
    quality = assess(film(phantom().pixels * 4095 / 65535))
    assert quality.analysable
    assert codes(quality) == {"low_contrast"}


# ---- the learnt look


def test_inverted_and_turned_real_film_is_refused_and_told_so(rg1: Radiograph) -> None:
    small = cv2.resize(rg1.pixels, (480, 512), interpolation=cv2.INTER_AREA)
    assert refused(assess(film(1 - small)), "inverted")
    for quarter in (1, 2, 3):
        assert refused(assess(film(np.rot90(small, quarter))), "turn it upright")


@pytest.mark.parametrize("seed", range(3))
def test_inverted_and_turned_phantoms_are_refused(seed: int) -> None:
    pixels = phantom(seed).pixels
    assert refused(assess(film(1 - pixels)), "inverted")
    assert not any(assess(film(np.rot90(pixels, quarter))).analysable for quarter in (1, 2, 3))


def test_half_a_film_is_refused(rg1: Radiograph) -> None:
    assert refused(assess(film(rg1.pixels[:, : rg1.width * 45 // 100])), "part of a chest")


def test_ct_slice_without_its_header_is_refused() -> None:
    slice_ = read(_testdata("693_UNCR.dcm"))
    assert refused(assess(slice_), "CT")
    assert refused(assess(replace(slice_, headers={}, body_part=None)), "does not look like")


def test_photographs_are_refused_in_grey_too() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    for photograph in datasets.load_sample_images().images:
        grey = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        assert not assess(film(grey)).analysable


@pytest.mark.parametrize("kind", ["noise", "gradient", "checkers"])
def test_things_drawn_are_refused(kind: str) -> None:
    y, x = np.mgrid[0:400, 0:400] / 400
    drawn = {
        "noise": np.random.default_rng(1).random((400, 400)),
        "gradient": (x + y) / 2,
        "checkers": 0.2 + 0.6 * ((x * 8).astype(int) + (y * 8).astype(int)) % 2 + 0.1 * x,
    }
    assert not assess(film(np.clip(drawn[kind], 0, 1))).analysable


@pytest.mark.parametrize("border", [0.0, 1.0, 0.5])
def test_borders_and_letterboxing_change_nothing(border: float, rg1: Radiograph) -> None:
    small = cv2.resize(rg1.pixels, (480, 512), interpolation=cv2.INTER_AREA)
    boxed = cv2.copyMakeBorder(small, 20, 30, 200, 160, cv2.BORDER_CONSTANT, value=border)
    assert assess(film(boxed)).analysable


@settings(max_examples=12, deadline=None)
@given(gamma=st.floats(0.6, 1.7), gain=st.floats(0.4, 1.0), seed=st.integers(0, 20))
def test_window_and_gamma_change_nothing(gamma: float, gain: float, seed: int) -> None:
    assert assess(film(gain * phantom(seed).pixels ** np.float32(gamma))).analysable


def test_the_network_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in frontal.weights().items()}
    thumb = frontal.thumbnail(phantom(3).pixels)
    members = sum(name.endswith("head.weight") for name in tensors)
    expected = 0
    for member in range(members):
        x = torch.from_numpy(thumb)[None, None]
        for layer in range(4):
            name = f"{member}.conv{layer}"
            x = torch.conv2d(
                x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride=2, padding=1
            ).relu()
        logits = tensors[f"{member}.head.weight"] @ x.flatten() + tensors[f"{member}.head.bias"]
        expected = expected + logits.softmax(0) / members
    np.testing.assert_allclose(frontal.forward(thumb, frontal.weights()), expected.numpy(), atol=1e-5)


def test_thumbnail_trims_flat_borders_only() -> None:
    pixels = np.random.default_rng(0).random((120, 100)).astype(np.float32)
    boxed = cv2.copyMakeBorder(pixels, 7, 11, 13, 0, cv2.BORDER_CONSTANT, value=0.0)
    np.testing.assert_array_equal(frontal.trim_borders(boxed), pixels)
    flat = np.zeros((50, 60), np.float32)
    np.testing.assert_array_equal(frontal.trim_borders(flat), flat)


def test_the_record_belongs_to_the_weights() -> None:
    import hashlib

    home = Path(frontal.__file__).parent
    record = frontal.provenance()
    assert record["weights_sha256"] == hashlib.sha256((home / "frontal.safetensors").read_bytes()).hexdigest()
    assert tuple(record["kinds"]) == frontal.KINDS
    assert (home / "frontal.safetensors").stat().st_size < 300_000


def test_the_answer_is_the_same_twice(rg1: Radiograph) -> None:
    assert assess(rg1) == assess(rg1)


# ---- lungs


def test_measures_of_a_mask_against_plain_counting() -> None:
    made = phantom(1)
    field = measure(made.lungs)
    left, right = (made.lungs == 1).sum(), (made.lungs == 2).sum()
    rows, columns = np.nonzero(made.lungs)
    assert field.area == pytest.approx((left + right) / made.lungs.size, abs=0.01)
    assert field.balance == pytest.approx(min(left, right) / max(left, right), abs=0.03)
    assert field.centre[0] == pytest.approx(columns.mean() / 448, abs=0.01)
    assert field.centre[1] == pytest.approx(rows.mean() / 512, abs=0.01)
    assert set(field.cut.values()) == {0.0}
    assert measure((made.lungs > 0).astype(np.uint8) * 255).balance == pytest.approx(field.balance, abs=0.03)


def test_no_lungs_refuses() -> None:
    made = phantom()
    assert refused(assess(film(made.pixels), np.zeros_like(made.lungs)), "No lungs")


def test_one_lung_is_noticed_not_refused() -> None:
    made = phantom()
    quality = assess(film(made.pixels), np.where(made.lungs == 1, 1, 0).astype(np.uint8))
    assert quality.analysable
    assert "uneven_lungs" in codes(quality)


def test_cut_lungs_are_noticed_and_halved_lungs_refused() -> None:
    made = phantom()
    below = made.lungs[: int(0.72 * 512)]  # the bases are missing
    assert "lungs_cut" in codes(assess(film(made.pixels), below))
    through = made.lungs[:, int(0.29 * 448) :]  # the film's left lung is halved
    assert refused(assess(film(made.pixels), through), "left")


def test_a_doubtful_film_without_plausible_lungs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = phantom()
    doubtful = {kind: 0.0 for kind in frontal.KINDS} | {"frontal": 0.6, "lateral": 0.4}
    monkeypatch.setattr(frontal, "looks_like", lambda pixels: doubtful)
    assert codes(assess(film(made.pixels), made.lungs)) == {"doubtful_view"}
    assert refused(assess(film(made.pixels), np.where(made.lungs == 1, 1, 0).astype(np.uint8)), "doubtful")


def test_notices_met_while_reading_stay_with_the_film() -> None:
    noted = film(phantom().pixels, notices=(Notice("missing_age", "no age"),))
    assert assess(noted).notices == ()
