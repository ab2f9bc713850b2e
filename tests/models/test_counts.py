"""The studies' architectures have the sizes that their papers print, to the last parameter.

`roy-fusion` counts batch-norm statistics as non-trainable parameters and adds 7 values of an input normalisation layer that
PyTorch has no need of (mean and variance of three channels and a counter). `nandi-hybrid` counts 26,560 biases of ResNet50's
convolutions, which batch norm makes idle and timm leaves out.
"""

from __future__ import annotations

import pytest

from hilum.models import Classifier, build
from hilum.models.contract import parameter_counts

RESNET50_BIASES = 26_560
NORMALISATION_VALUES = 7


def test_simple_cnn():
    counts = parameter_counts(build("simple_cnn", outputs=14))
    assert counts == {"trainable": 129_870, "frozen": 0, "buffers": 0}


@pytest.mark.parametrize(
    ("name", "head", "backbone"),
    [("densenet121", 531_982, 7_037_504), ("efficientnet_b0", 663_054, 4_049_571 - NORMALISATION_VALUES)],
)
def test_single_arms_of_roy_fusion(name: str, head: int, backbone: int):
    """`backbone` is printed with its batch-norm statistics."""
    model = build("backbone_head", outputs=14, name=name)
    assert isinstance(model, Classifier)
    for parameter in model.encoder_parameters():
        parameter.requires_grad_(False)
    counts = parameter_counts(model)
    assert counts["trainable"] == head
    assert counts["frozen"] + counts["buffers"] == backbone


@pytest.fixture(scope="module")
def fusion():
    return build("attention_fusion", outputs=14)


def test_fusion(fusion):
    counts = parameter_counts(fusion)
    assert counts == {"trainable": 10_521_273, "frozen": 0, "buffers": 117_248}
    assert counts["buffers"] + NORMALISATION_VALUES == 117_255


def test_what_learns_with_the_fusions_head_is_all_but_the_backbones(fusion):
    """Two projections, query, key, value, gamma and the last layer: they start from random weights."""
    backbones = {id(p) for p in fusion.encoder_parameters()}
    rest = sum(p.numel() for p in fusion.parameters() if id(p) not in backbones)
    projections = (1024 * 256 + 256) + (816 * 256 + 256)
    assert rest == projections + 3 * (512 * 512 + 512) + 1 + (512 * 14 + 14)


ARMS = {
    "ResNet50": ("backbone_head", {"name": "resnet50"}, 23_739_896 - RESNET50_BIASES, 53_120),
    "MobileNet": ("backbone_head", {"name": "mobilenetv1_100"}, 3_309_880, 21_888),
    "hybrid": ("concat_hybrid", {}, 27_049_272 - RESNET50_BIASES, 75_008),
}


@pytest.mark.parametrize("arm", ARMS)
def test_arms_of_nandi_hybrid(arm: str):
    name, options, trainable, statistics = ARMS[arm]
    model = build(name, outputs=4, hidden=100, dropout=0.0, **options)
    assert parameter_counts(model) == {"trainable": trainable, "frozen": 0, "buffers": statistics}


def test_covidaid_is_chexnets_densenet121_with_one_linear_layer():
    """torchvision's DenseNet121 has 7,978,856 parameters, of which 1,025,000 are its classifier of 1,000 classes."""
    model = build("timm", outputs=4, name="densenet121", dropout=0.0)
    counts = parameter_counts(model)
    assert counts["trainable"] == 7_978_856 - 1_025_000 + (1024 * 4 + 4)
    assert counts["buffers"] == 83_648
