"""Which part of a film a bundle sees: lungs by the segmenter that it was trained around, and no other."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.bundles import Bundle, load, save, verify
from hilum.bundles.export import export
from hilum.bundles.focus import SHELF, Finder, is_segmenter, pinned, segmenter, window_of
from hilum.bundles.info import Info
from hilum.bundles.lungs import outlined
from hilum.errors import BundleError
from hilum.images.crop import Window, lung_crop
from hilum.images.preparation import Clahe, Focus, Median, Preparation
from hilum.images.radiograph import Radiograph
from tests.bundles_for_tests import bright_bundle, classifier_bundle, dark_lungs_bundle, unet_bundle
from tests.phantom import phantom

FILM = Radiograph(phantom(3, 300, 260).pixels)


def focused(focus: Focus) -> Bundle:
    bundle = bright_bundle()
    steps = bundle.info.preparation.model_copy(update={"focus": focus})
    bundle.info = bundle.info.model_copy(update={"preparation": steps})
    return bundle


def test_the_window_holds_the_lungs_that_the_segmenter_finds():
    focus = pinned(Focus(margin=0.1))
    bundle = focused(focus)
    window = window_of(bundle, FILM)
    mask = outlined(load("lungs"), FILM).mask
    assert window == lung_crop(mask, 0.1)
    assert window.width == window.height < 260
    assert not np.delete(mask, slice(window.left, window.left + window.width), axis=1).any()
    steps = bundle.info.preparation
    wanted = steps.tensor(steps.pixels(FILM.pixels, window)[None])
    assert torch.equal(bundle.prepare(FILM), wanted)
    assert torch.equal(bundle.prepare(FILM, window), wanted)
    assert bundle.place(FILM) == steps.place((300, 260), window)
    assert pickle.loads(pickle.dumps(Finder(bundle.info.preparation)))(FILM) == window
    assert window_of(bright_bundle(), FILM) is None


def test_lungs_found_already_are_taken_where_they_are_those_of_the_segmenter():
    dark, other = dark_lungs_bundle(), dark_lungs_bundle(size=64)
    bundle = focused(Focus(digest=dark.info.behaviour, segmenter="not there"))
    mask = np.zeros((300, 260), np.uint8)
    mask[100:200, 50:150] = 1
    assert window_of(bundle, FILM, (dark, mask)) == Window((300, 260), 45, 95, 110, 110)
    empty = window_of(bundle, FILM, (dark, np.zeros_like(mask)))
    assert empty == Window.whole((300, 260))
    specks = np.zeros_like(mask)
    specks[25::50, 25::50] = 1
    assert window_of(bundle, FILM, (dark, specks)) == empty
    assert window_of(bundle, FILM, (dark, mask | specks)) == window_of(bundle, FILM, (dark, mask))
    half = mask.copy()
    half[:, 100:] = 0
    assert window_of(bundle, FILM, (dark, half)).height == 110, "one lung is still a lung"
    assert not is_segmenter(other, bundle.info.preparation.focus)
    with pytest.raises(BundleError, match="there is no such bundle"):
        window_of(bundle, FILM, (other, mask))


def test_another_segmenter_is_refused_a_card_written_anew_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = save(unet_bundle("mine"), tmp_path / "mine")
    held = pinned(Focus(segmenter=str(place)))
    again = load(place)
    again.info = again.info.model_copy(update={"metrics": {"later": {"note": "Measured."}}})
    save(again, place)
    assert pinned(held) == held
    assert segmenter(held).info.behaviour == held.digest
    with torch.no_grad():
        next(again.model.parameters()).mul_(2)
    save(again, place)
    segmenter.cache_clear()
    with pytest.raises(BundleError, match="other masks than the bundle"):
        segmenter(held)
    monkeypatch.setenv(SHELF, str(tmp_path))
    assert pinned(Focus(segmenter="mine")).digest == load(place).info.behaviour


def test_what_finds_no_lungs_is_refused(tmp_path: Path):
    save(classifier_bundle("toy"), tmp_path / "toy")
    with pytest.raises(BundleError, match="does not outline lungs"):
        pinned(Focus(segmenter=str(tmp_path / "toy")))
    with pytest.raises(BundleError, match=r"no such bundle.*A folder of bundles"):
        pinned(Focus(segmenter=str(tmp_path / "nothing")))
    info = unet_bundle().info.model_dump()
    info["preparation"]["focus"] = {"kind": "lungs"}
    with pytest.raises(ValueError, match="sees the whole film"):
        Info.model_validate(info)


def test_bundles_and_digests_from_before_are_as_they_were(tmp_path: Path):
    """The built-in ones verify, which is by a digest of all that is written of them; one with a focus says so."""
    assert {name: verify(name).digest[:8] for name in ("findings", "lungs", "pneumonia")} == {
        "findings": "58816c52",
        "lungs": "2e89c1c7",
        "pneumonia": "49cf3204",
    }
    bundle = classifier_bundle()
    steps = bundle.info.preparation.model_copy(update={"focus": pinned(Focus())})
    bundle.info = bundle.info.model_copy(update={"preparation": steps})
    place = save(bundle, tmp_path / "one.hilum")
    again = load(place)
    assert again.info.preparation == steps
    assert torch.equal(again.prepare(FILM), bundle.prepare(FILM))
    assert (
        "smallest square around the lungs"
        in (export(again, "onnx", tmp_path / "out") / "card.md").read_text()
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_every_filter_runs_after_the_cut(bits):
    steps = Preparation(
        size=(64, 64),
        channels=1,
        mean=(0.0,),
        std=(1.0,),
        bits=bits,
        denoise=Median(),
        clahe=Clahe(),
        focus=Focus(),
    )
    window = Window((300, 260), 30, 40, 200, 200)
    plain = steps.model_copy(update={"focus": None})
    np.testing.assert_array_equal(
        steps.pixels(FILM.pixels, window), plain.pixels(FILM.pixels[40:240, 30:230].copy())
    )
