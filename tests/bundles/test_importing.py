"""Others' weights give as a bundle what they give at home; the originals have random weights."""

from __future__ import annotations

import copy
import functools
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

from hilum.bundles import load, save, verify
from hilum.bundles.importing import import_weights, variants
from hilum.cli import app
from hilum.errors import BundleError
from hilum.findings import NIH14
from hilum.images.preparation import Preparation
from hilum.images.radiograph import Radiograph
from tests.phantom import phantom

ALL = "densenet121-res224-all"


@functools.cache
def xrv():
    import hilum.models  # noqa: F401  before torchxrayvision, which imports torchvision

    return pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed")


class Layer(nn.Sequential):
    """A layer of a DenseNet as torchvision has it (Huang 2017), written here anew; `old` names as before 2018."""

    def __init__(self, features: int, old: bool) -> None:
        dot = "." if old else ""
        super().__init__(
            OrderedDict(
                [
                    (f"norm{dot}1".replace(".", "_"), nn.BatchNorm2d(features)),
                    ("relu1", nn.ReLU()),
                    (f"conv{dot}1".replace(".", "_"), nn.Conv2d(features, 128, 1, bias=False)),
                    (f"norm{dot}2".replace(".", "_"), nn.BatchNorm2d(128)),
                    ("relu2", nn.ReLU()),
                    (f"conv{dot}2".replace(".", "_"), nn.Conv2d(128, 32, 3, padding=1, bias=False)),
                ]
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


class DenseNet121(nn.Module):
    """features and classifier as CheXNet's checkpoint has them, inside `densenet121`, with a sigmoid at the end."""

    def __init__(self, outputs: int = 14, old: bool = False) -> None:
        super().__init__()
        stem: list[tuple[str, nn.Module]] = [
            ("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False)),
            ("norm0", nn.BatchNorm2d(64)),
            ("relu0", nn.ReLU()),
            ("pool0", nn.MaxPool2d(3, 2, 1)),
        ]
        width = 64
        for block, count in enumerate((6, 12, 24, 16), 1):
            layers = [(f"denselayer{i + 1}", Layer(width + 32 * i, old)) for i in range(count)]
            stem.append((f"denseblock{block}", nn.Sequential(OrderedDict(layers))))
            width += 32 * count
            if block < 4:
                change = [
                    ("norm", nn.BatchNorm2d(width)),
                    ("relu", nn.ReLU()),
                    ("conv", nn.Conv2d(width, width // 2, 1, bias=False)),
                    ("pool", nn.AvgPool2d(2, 2)),
                ]
                stem.append((f"transition{block}", nn.Sequential(OrderedDict(change))))
                width //= 2
        stem.append(("norm5", nn.BatchNorm2d(width)))
        self.densenet121 = nn.Module()
        self.densenet121.features = nn.Sequential(OrderedDict(stem))
        self.densenet121.classifier = nn.Sequential(nn.Linear(width, outputs), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.densenet121.features(x))
        return self.densenet121.classifier(F.adaptive_avg_pool2d(features, 1).flatten(1))


def stirred(model: nn.Module, images: Tensor) -> nn.Module:
    """Random weights that tell these images apart: drawn scales, statistics of the images, logits of some units."""
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.1, generator=generator)
            norm.momentum = 1.0
        for linear in (module for module in model.modules() if isinstance(module, nn.Linear)):
            linear.weight.normal_(0, linear.in_features**-0.5, generator=generator)
            linear.bias.normal_(0, 1, generator=generator)
        model.train()(images)
    return model.eval()


FILM = Radiograph(phantom(0, 300, 260).pixels)


def inputs(preparation: Preparation, size: int = 96) -> Tensor:
    """Four films prepared so, but smaller, with some noise."""
    small = preparation.model_copy(update={"size": (size, size)})
    films = np.stack([small.pixels(phantom(seed, 300, 260).pixels) for seed in range(4)])
    prepared = small.tensor(films)
    noise = torch.randn(prepared.shape, generator=torch.Generator().manual_seed(0))
    return prepared + 0.1 * prepared.std() * noise


OURS = Preparation(size=(256, 256), aspect="crop")
THEIRS = Preparation(size=(224, 224), aspect="crop", bits=16, channels=1, mean=(0.5,), std=(1 / 2048,))


@pytest.fixture(scope="module")
def chexnet() -> nn.Module:
    torch.manual_seed(0)
    return stirred(DenseNet121(), inputs(OURS))


def as_published(model: nn.Module) -> dict:
    """CheXNet's checkpoint: names of torchvision before 2018, inside DataParallel, without batch counters, and more."""
    state = OrderedDict(
        ("module." + re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name), tensor)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    )
    assert "module.densenet121.features.denseblock1.denselayer1.norm.1.weight" in state
    return {"epoch": 5, "best_loss": np.float64(0.1), "state_dict": state, "optimizer": {"state": {}}}


@torch.inference_mode()
@pytest.mark.parametrize("stream", [False, True])
def test_chexnet_gives_what_a_plain_densenet121_gives(tmp_path, chexnet, stream):
    path = tmp_path / "model.pth.tar"
    torch.save(as_published(chexnet), path, _use_new_zipfile_serialization=not stream)
    bundle = load(import_weights(path, "chexnet", tmp_path / "chexnet", licence="unknown"))
    image = bundle.prepare(FILM)
    assert image.shape == (1, 3, 256, 256)
    found, expected = bundle.probabilities(bundle(image)), chexnet(image)
    assert expected.std() > 0.1
    assert ((expected > 0.01) & (expected < 0.99)).sum() > 7
    assert (found - expected).abs().max() < 1e-5
    assert bundle.labels == list(NIH14)
    assert bundle.info.provenance.licence == "unknown"


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(1)
    return stirred(xrv().models.DenseNet(num_classes=18), inputs(THEIRS))


def with_points(model: nn.Module, variant: str) -> nn.Module:
    model = copy.deepcopy(model)
    points = torch.tensor(xrv().models.model_urls[variant]["op_threshs"])
    model.op_threshs = points
    return model


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["module", "stream", "state", "safetensors"])
def test_torchxrayvision_gives_what_it_gives_at_home(tmp_path, theirs, kind):
    """As their files are (a whole module, pickled), or as a state dict, with or without the operating points inside."""
    model = with_points(theirs, ALL)
    path = tmp_path / "weights.pt"
    match kind:
        case "module" | "stream":
            torch.save(model, path, _use_new_zipfile_serialization=kind == "module")
        case "state":
            torch.save(model.state_dict(), path)
        case "safetensors":
            path = tmp_path / "weights.safetensors"
            save_file({k: v for k, v in model.state_dict().items() if k != "op_threshs"}, path)
    place = import_weights(path, "torchxrayvision", tmp_path / "xrv", licence="Apache-2.0", variant=ALL)
    bundle = load(place)
    image = bundle.prepare(FILM)
    assert image.shape == (1, 1, 224, 224)
    assert -1024 <= image.min() < -900
    assert 800 < image.max() <= 1024
    found, expected = bundle.probabilities(bundle(image)), model(image)
    assert expected.std() > 0.05
    assert ((expected > 0.01) & (expected < 0.99)).sum() > 9
    assert (found - expected).abs().max() < 1e-5
    assert [label.threshold.value for label in bundle.info.labels] == [0.5] * 18


@torch.inference_mode()
def test_outputs_that_were_never_trained_are_left_out(tmp_path, theirs):
    variant = "densenet121-res224-nih"
    model = with_points(theirs, variant)
    torch.save(model.state_dict(), tmp_path / "nih.pt")
    place = import_weights(tmp_path / "nih.pt", "torchxrayvision", tmp_path / "xrv", "x", variant)
    bundle = load(place)
    assert len(bundle.labels) == 14
    assert set(bundle.labels) == set(NIH14)
    image = torch.rand(2, 1, 224, 224) * 2048 - 1024
    assert (bundle.probabilities(bundle(image)) - model(image)[:, :14]).abs().max() < 1e-5


@torch.inference_mode()
def test_their_resnet50_too(tmp_path):
    from torchvision.models import resnet50

    variant = "resnet50-res512-all"
    known = xrv().models.model_urls[variant]
    torch.manual_seed(2)
    model = resnet50(num_classes=18, weights=None)
    model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    stirred(model, inputs(THEIRS))
    torch.save(model.state_dict(), tmp_path / Path(known["weights_url"]).name)
    place = import_weights(tmp_path / Path(known["weights_url"]).name, "torchxrayvision", tmp_path / "x", "x")
    bundle = load(place)
    image = torch.rand(1, 1, 512, 512) * 2048 - 1024
    points = torch.tensor(known["op_threshs"])
    expected = xrv().models.op_norm(model(image).sigmoid(), points)[:, ~points.isnan()]
    assert (bundle.probabilities(bundle(image)) - expected).abs().max() < 1e-5
    assert "Lung Lesion" not in bundle.labels
    assert any("Lung Lesion" in line for line in bundle.info.limits)


def test_what_is_known_of_their_weights_is_what_they_publish():
    from hilum.bundles.importing import _published

    theirs = {k: v for k, v in xrv().models.model_urls.items() if "res" in k}
    assert variants() == sorted(theirs)
    for name, known in _published().items():
        assert known["labels"] == theirs[name]["labels"]
        assert theirs[name]["weights_url"].endswith("/" + known["file"])
        ours = [np.nan if v is None else v for v in known["op_threshs"]]
        np.testing.assert_array_equal(ours, theirs[name]["op_threshs"])


def test_the_card_says_whose_it_is(tmp_path, chexnet):
    torch.save(chexnet.state_dict(), tmp_path / "weights.pt")
    place = import_weights(
        tmp_path / "weights.pt", "chexnet", tmp_path / "c", licence="MIT, see X", name="mine"
    )
    info, card = verify(place), (place / "card.md").read_text()
    assert info.name == "mine"
    for words in (
        "Not trained by Hilum",
        "weights.pt",
        "MIT, see X",
        "neither trained nor measured",
        "nih14",
    ):
        assert words in card
    assert "Split" not in card
    assert info.precision == "float32"
    assert verify(save(load(place), tmp_path / "again")).digest == info.digest


def test_the_command_asks_for_the_licence(tmp_path, chexnet):
    torch.save(chexnet.state_dict(), tmp_path / "weights.pt")
    words = [
        "bundle",
        "import",
        str(tmp_path / "weights.pt"),
        "--as",
        "chexnet",
        "--out",
        str(tmp_path / "c"),
    ]
    assert CliRunner().invoke(app, words, input="").exit_code == 1
    assert not (tmp_path / "c").exists()
    result = CliRunner().invoke(app, words, input="CC0\n")
    assert result.exit_code == 0, result.output
    assert "14 outputs (Atelectasis, " in result.output
    assert verify(tmp_path / "c").provenance.licence == "CC0"
    assert CliRunner().invoke(app, [*words[:4], "monai", *words[5:]]).exit_code == 2


def test_names_are_mapped_and_strangers_kept(tmp_path, theirs):
    torch.save(with_points(theirs, ALL).state_dict(), tmp_path / "a.pt")
    bundle = load(import_weights(tmp_path / "a.pt", "torchxrayvision", tmp_path / "x", "x", ALL))
    labels = {label.name: label for label in bundle.info.labels}
    assert "Pleural Thickening" in labels
    assert labels["Effusion"].code.value == "60046008"
    assert labels["Cardiomegaly"].outside_lungs
    assert {"Lung Lesion", "Fracture", "Enlarged Cardiomediastinum"} <= set(labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("densenet121.features.conv0.weight"), r"has no tensor 'features.conv0.weight'"),
        (lambda s: s.update({"densenet121.features.conv0.weight": torch.zeros(64, 1, 7, 7)}),
         r"'features.conv0.weight' has the shape \(64, 1, 7, 7\), not \(64, 3, 7, 7\)"),
        (lambda s: s.update({"densenet121.classifier.0.bias": torch.zeros(15)}),
         r"'classifier.0.bias' has the shape \(15,\), not \(14,\)"),
        (lambda s: s.update({"densenet121.extra.weight": torch.zeros(1)}), r"'extra.weight' too many"),
    ],
)  # fmt: skip
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path, chexnet, change, words):
    state = dict(chexnet.state_dict())
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(BundleError, match=words):
        import_weights(tmp_path / "weights.pt", "chexnet", tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_the_weights_of_something_else_are_refused(tmp_path):
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "weights.pt")
    for kind in ("chexnet", "torchxrayvision"):
        with pytest.raises(BundleError, match=r"has no tensor|too many"):
            import_weights(tmp_path / "weights.pt", kind, tmp_path / "out", "x", variant=ALL)


def test_unnamed_weights_are_asked_about(tmp_path):
    torch.save({"features.conv0.weight": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(BundleError, match=f"--variant: .*{ALL}"):
        import_weights(tmp_path / "weights.pt", "torchxrayvision", tmp_path / "out", "x")
    with pytest.raises(BundleError, match="licence"):
        import_weights(tmp_path / "weights.pt", "torchxrayvision", tmp_path / "out", " ", ALL)
    with pytest.raises(BundleError, match="no import 'monai'"):
        import_weights(tmp_path / "weights.pt", "monai", tmp_path / "out", "x")
