"""An exported bundle is the same bundle: every form answers as torch does, and is held to its weights."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.bundles import Bundle, files, load, save, verify
from hilum.bundles import export as export_module
from hilum.bundles.ensembling import ensemble
from hilum.bundles.export import OPSET, export
from hilum.bundles.info import Architecture
from hilum.bundles.runtimes import NAMES
from hilum.errors import BundleError, MissingExtraError
from hilum.images.radiograph import Radiograph
from hilum.models import build
from tests.bundles_for_tests import classifier_bundle, unet_bundle
from tests.phantom import phantom

onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
pytest.importorskip("openvino", reason="the extra 'export' is not installed")
pytest.importorskip("nncf", reason="the extra 'export' is not installed")


def film(seed: int) -> Radiograph:
    return Radiograph(phantom(seed, 160, 144).pixels, digest=f"{seed:064}")


@pytest.fixture(scope="module")
def films() -> list[Radiograph]:
    return [film(seed) for seed in range(8)]


def lively(bundle: Bundle, films: list[Radiograph]) -> Bundle:
    """Batch-norm statistics of these films, and a head that spreads them: random weights alone answer all films alike."""
    images = torch.cat([bundle.prepare(f) for f in films])
    bundle.model.train()
    with torch.no_grad():
        for _ in range(30):
            bundle.model(images)
        bundle.eval()
        head = getattr(bundle.model, "head", None)
        if head is not None:
            head[1].weight.mul_(8)
    return bundle


@pytest.fixture(scope="module", params=["classifier", "segmenter"])
def exported(request, films, tmp_path_factory) -> Path:
    """One bundle in all its forms, exported one after the other into its own folder."""
    make = classifier_bundle if request.param == "classifier" else unet_bundle
    place = save(lively(make(), films), tmp_path_factory.mktemp("bundles") / "toy")
    for form in files.EXPORTED:
        export(place, form, place, films)
    return place


@torch.inference_mode()
def test_every_form_answers_as_torch_does(exported, films):
    reference = load(exported)
    images = torch.cat([reference.prepare(f) for f in films[:3]])
    axis = 1 if reference.info.task == "segment" else -1
    expected = reference.probabilities(reference(images).movedim(axis, -1))
    assert expected.std() > 0.01
    for form, allowed in (("onnx", 1e-5), ("openvino", 1e-4), ("int8", 0.15)):
        bundle = load(exported, form, threads=1)
        assert bundle.runtime.name == form
        for batch in (images, images[:1]):
            found = bundle.probabilities(bundle(batch).movedim(axis, -1))
            assert (found - expected[: len(batch)]).abs().max() < allowed, form
        assert bundle.info == reference.info
        if form == "int8":
            assert (found - expected[:1]).abs().max() > 1e-6


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or (os.cpu_count() or 1) < 2,
    reason="it has one core, or does not say",
)
@pytest.mark.parametrize("form", ["onnx", "openvino", "int8"])
def test_a_form_is_not_tied_to_some_cores(exported, films, form):
    """OpenVINO ties its threads to the first cores unless told otherwise: workers would share one and leave the others."""
    bundle = load(exported, form, threads=1)
    images = bundle.prepare(films[0])
    allowed, seen, done = os.sched_getaffinity(0), set(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(frozenset(os.sched_getaffinity(main)))

    main = threading.get_native_id()
    watcher = threading.Thread(target=watch)
    watcher.start()
    with torch.inference_mode():
        for _ in range(50):
            bundle(images)
    done.set()
    watcher.join()
    assert seen == {frozenset(allowed)}


@torch.inference_mode()
def test_a_form_gives_map_and_embedding_for_heatmaps_and_dropout(exported, films):
    reference = load(exported)
    if reference.info.task == "segment":
        pytest.skip("a segmenter has neither")
    images = reference.prepare(films[0])
    wanted = reference.runtime.features(images)
    for form in ("onnx", "openvino"):
        found = load(exported, form).runtime.features(images)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_it_says_how_it_was_made(exported):
    info = verify(exported)
    assert set(info.exports) == set(files.EXPORTED) == set(NAMES) - {"torch"}
    for name, form in info.exports.items():
        assert form.weights == info.files["weights.safetensors"]
        assert form.opset == OPSET
        assert {"torch", "onnx"} <= set(form.made_with)
        assert form.tried_on == 8
        assert form.calibrated_on == (8 if name == "int8" else 0)
        assert set(form.files) <= set(info.files)
        assert f"`{name}`" in (exported / "card.md").read_text()
    graph = onnx.load(exported / "model.onnx")
    onnx.checker.check_model(graph)
    assert graph.opset_import[0].version == OPSET
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    sizes = {name: (exported / name).stat().st_size for name in ("model.bin", "model.int8.bin")}
    assert sizes["model.int8.bin"] < 0.6 * sizes["model.bin"]


def test_an_int8_head_stays_in_float32(exported):
    """The exported logits are what torch's head makes of the exported embedding."""
    bundle = load(exported, "int8")
    if bundle.info.task == "segment":
        pytest.skip("a segmenter has no head")
    found = bundle.runtime.graph(np.random.default_rng(0).standard_normal((1, 1, 64, 64), np.float32))
    with torch.inference_mode():
        logits = bundle.model.head(torch.from_numpy(found["embedding"]))
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)


@pytest.mark.parametrize("name", [name for names in files.EXPORTED.values() for name in names])
def test_an_altered_form_is_refused(exported, tmp_path, name):
    shutil.copytree(exported, tmp_path / "toy")
    content = bytearray((tmp_path / "toy" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "toy" / name).write_bytes(content)
    for look in (verify, load):
        with pytest.raises(BundleError, match=f"{name} was altered"):
            look(tmp_path / "toy")


def test_a_form_of_other_weights_is_refused(exported, tmp_path):
    bundle = load(exported)
    with torch.no_grad():
        next(bundle.model.parameters()).add_(0.1)
    with pytest.raises(BundleError, match="made from other weights"):
        save(bundle, tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_it_stays_one_bundle_in_one_file(exported, tmp_path):
    packed = save(load(exported), tmp_path / "toy.hilum")
    assert verify(packed).digest == verify(exported).digest
    assert load(packed, "onnx").runtime.name == "onnx"


def test_a_form_that_is_not_there_is_said_with_the_command_that_makes_it(tmp_path):
    place = save(classifier_bundle(), tmp_path / "toy")
    with pytest.raises(BundleError, match=r"has no form 'onnx'.*hilum bundle export .*toy --to onnx"):
        load(place, "onnx")
    with pytest.raises(BundleError, match="no runtime 'tflite'"):
        load(place, "tflite")


@pytest.mark.parametrize("package", ["openvino", "nncf", "onnx"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, films, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=r"hilum\[export\]"):
        export(classifier_bundle(), "int8", tmp_path / "toy", films)
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_films_that_can_be_read(tmp_path, caplog):
    (tmp_path / "no.png").write_text("no film")
    with pytest.raises(BundleError, match=r"0 of them can be read.*at least 8"):
        export(classifier_bundle(), "int8", tmp_path / "toy", [tmp_path / "no.png"] * 9)
    assert "left out" in caplog.text
    assert not (tmp_path / "toy").exists()


def test_a_float_form_that_differs_from_torch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "_drift", lambda *_: 0.01)
    with pytest.raises(BundleError, match="other probabilities"):
        export(classifier_bundle(), "onnx", tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_bundle_that_was_there(tmp_path, monkeypatch):
    place = save(classifier_bundle(), tmp_path / "toy")
    before = verify(place).digest

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_settle", full)
    with pytest.raises(BundleError, match="No space left on device"):
        export(place, "onnx", place)
    assert verify(place).digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]


def test_an_onnx_graph_that_points_outside_itself_is_refused(exported, tmp_path):
    """What an attacker could do who fits the checksums too: weights from a file that is none of the bundle's."""
    bundle = load(exported)
    graph = onnx.load_model_from_string(bundle.exported["model.onnx"])
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    bundle.exported["model.onnx"] = graph.SerializeToString()
    place = save(bundle, tmp_path / "toy")
    with pytest.raises(BundleError, match="outside itself"):
        load(place, "onnx")


def test_bytes_that_are_no_graph_are_refused(exported, tmp_path):
    bundle = load(exported)
    for form in files.EXPORTED:
        for name in files.EXPORTED[form]:
            bundle.exported[name] = b"no graph"
    place = save(bundle, tmp_path / "toy")
    for form in files.EXPORTED:
        with pytest.raises(BundleError, match=f"form {form} cannot be opened"):
            load(place, form)


def test_a_bundle_without_forms_is_written_as_before():
    """Keys that came later are left out at their default: the built-in bundles keep their digests."""
    raw = json.loads(json.dumps(classifier_bundle().info.model_dump(mode="json")))
    assert not {"precision", "exports", "half_at"} & (set(raw) | set(raw["calibration"]))


def of(model_name: str, **options: object) -> Bundle:
    """Another model in the place of the toy's."""
    base = classifier_bundle()
    options = {"channels": 1, "size": (64, 64), "dropout": 0.2, **options}
    torch.manual_seed(4)
    model = build(model_name, outputs=3, **options)
    architecture = Architecture(name=model_name, options=options)
    return Bundle(base.info.model_copy(update={"model": architecture}), model)


def two_backbones(name: str, **options: object) -> Bundle:
    return of(name, first="mobilenetv3_small_050", second="lcnet_050", **options)


def fused() -> Bundle:
    made = two_backbones("attention_fusion", first_tap=None, second_tap=None, width=16)
    torch.nn.init.constant_(made.model.attention.gamma, 0.7)  # at its first value, 0, attention does nothing
    return made


def side_by_side() -> Bundle:
    return two_backbones("concat_hybrid", hidden=16)


def joined() -> Bundle:
    return ensemble([classifier_bundle(seed=seed) for seed in (0, 1)], "joined")


def transformer() -> Bundle:
    """It lays its patches on their grid: of one film as of several."""
    return of("timm", name="vit_tiny_patch16_224")


def with_a_discriminator() -> Bundle:
    """Which sees the film at a size of its own."""
    return of("ssgan_vit", backbone="lcnet_050", main="vit_tiny_patch16_224", film=32, film_width=4)


@torch.inference_mode()
@pytest.mark.parametrize("make", [fused, side_by_side, joined, transformer, with_a_discriminator])
def test_models_of_several_parts_answer_as_torch_does_too(make, films, tmp_path):
    bundle = make()
    place = save(bundle if make is joined else lively(bundle, films), tmp_path / "toy")
    for form in ("onnx", "int8"):
        export(place, form, place, films)
    reference = load(place)
    images = torch.cat([reference.prepare(f) for f in films[:3]])
    expected = reference.probabilities(reference(images))
    found = {form: load(place, form, threads=1) for form in ("onnx", "int8")}
    answers = {form: form_of.probabilities(form_of(images)) for form, form_of in found.items()}
    assert (answers["onnx"] - expected).abs().max() < 1e-4
    assert 1e-7 < (answers["int8"] - expected).abs().max() < 0.15


@pytest.mark.parametrize(("module", "step"), [("openvino", "read_model"), ("nncf", "quantize")])
@pytest.mark.parametrize("error", [RuntimeError("odd\ngraph"), ValueError("odd"), KeyError("odd")], ids=repr)
def test_a_graph_that_a_package_trips_over_is_a_bundle_error(
    module, step, error, films, tmp_path, monkeypatch
):
    def trips(*_: object, **__: object) -> None:
        raise error

    if module == "openvino":
        monkeypatch.setattr("openvino.Core.read_model", trips)
    else:
        monkeypatch.setattr("nncf.quantize", trips)
    with pytest.raises(BundleError, match="odd"):
        export(classifier_bundle(), "int8", tmp_path / "toy", films)
    assert list(tmp_path.iterdir()) == []
