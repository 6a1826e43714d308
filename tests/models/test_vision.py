"""Networks for images have the size of those whose names they bear, and boxes and masks are counted rightly."""

import pytest
import torch

from evergreen.models.metrics.boxes import average_precision, match_boxes
from evergreen.models.registry import build
from evergreen.stages.checking.sample_inputs import INPUTS, TARGETS, Field

IMAGE = {"image": Field("image", (3, 224, 224))}
CLASSES = Field("category", (), (1000,), {"values": [list(range(1000))]})


@pytest.mark.parametrize(
    ("architecture", "size", "count"),
    [
        ("cnn", 8, 61_100_840),  # AlexNet
        ("cnn", 16, 132_863_336),  # VGG-11
        ("cnn", 24, 138_357_544),  # VGG-16
        ("resnet", 4, 11_689_512),
        ("resnet", 8, 25_557_032),
        ("resnet", 12, 44_549_160),
        ("inception", 4, 13_004_888),
        ("efficientnet", 4, 5_288_548),
        ("efficientnet", 8, 9_109_994),
        ("vit", 12, 86_567_656),
    ],
)
def test_a_named_network_has_its_count_of_parameters(architecture, size, count):
    with torch.device("meta"):
        made = build(architecture, "classification", IMAGE, CLASSES, size=size)
    assert sum(parameter.numel() for parameter in made.parameters()) == count


@pytest.mark.parametrize(("architecture", "size"), [("cnn", 8), ("resnet", 4), ("inception", 4), ("efficientnet", 4)])
def test_a_named_network_reads_a_small_image_too(architecture, size):
    with torch.device("meta"):
        made = build(architecture, "classification", {"image": Field("image", (1, 8, 8))}, CLASSES, size=size)
        assert made({"image": torch.zeros(2, 1, 8, 8)}).shape == (2, 1000)


def test_super_resolution_works_on_images_of_any_size():
    target = Field("image", (1, 16, 16), (), TARGETS["image"].state)
    made = build("deconvolution", "reconstruction", {"image": INPUTS["image"]}, target, size=0.5)
    assert made.compute_outputs({"image": torch.zeros(2, 1, 8, 8)}).shape == (2, 1, 16, 16)
    assert made.architecture({"image": torch.zeros(2, 1, 11, 7)}).shape[2:] == (22, 14)


def test_boxes_that_find_one():
    true = torch.tensor([[[0, 0.0, 0.0, 0.5, 0.5], [1, 0.5, 0.5, 1.0, 1.0], [-1, 0, 0, 0, 0]]])
    said = torch.tensor([[[0, 0.0, 0.0, 0.5, 0.4, 0.9], [0, 0.0, 0.0, 0.5, 0.5, 0.8], [0, 0.5, 0.5, 1, 1, 0.7]]])
    found = match_boxes(said, true, 0.5)
    assert found.tolist() == [[True, False, False]]  # a box finds once, and of its own class
    boxes = torch.stack([said[..., 0], said[..., 5], found.float()], -1)
    assert average_precision(boxes, torch.tensor([[1, 1]])) == pytest.approx(0.5)
    assert average_precision(boxes.flip(1), torch.tensor([[1, 0]])) == pytest.approx(1.0)


def test_boxes_come_back_as_they_were():
    task = build("unet", "detection", {"image": INPUTS["image"]}, TARGETS["boxes"], {"stride": 1}, size=0.5).task
    target = torch.tensor([[[1, 0.25, 0.25, 0.75, 0.5], [-1, 0, 0, 0, 0]]])
    output = torch.full((1, 6, 8, 8), -9.0)
    output[0, 1, 3, 4] = 9.0  # its centre is (4.0, 3.0) pixels, half a pixel left of and above the middle of that one
    output[0, 4:] = torch.tensor([0.5, 0.25]).logit()[:, None, None]
    assert task.decode_boxes(output)[0, 0].tolist() == pytest.approx([1, 0.25, 0.25, 0.75, 0.5, 1.0], abs=2e-3)
    assert task.metrics(*task.metric_inputs(output, target))["map"] == 1.0
    assert task.decode(output)[0]["prediction"][0]["class"] == "dog"


def test_unlabelled_pixels_count_nowhere():
    task = build("unet", "segmentation", {"image": INPUTS["image"]}, TARGETS["mask"], size=0.5).task
    target = torch.zeros(2, 8, 8, dtype=torch.long)
    target[:, 4:] = -100
    right, wrong = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    right[:, 0, :4], right[:, 1, 4:], wrong[:, 1] = 9, 9, 9
    assert task.metrics(*task.metric_inputs(right, target)) == {"miou": 1.0, "dice": 1.0, "accuracy": 1.0}
    assert task.metrics(*task.metric_inputs(wrong, target))["miou"] == 0.0
    assert task.loss(right, target) < 0.01
