"""The rebuilt detector is YuNet, and finds faces where they are."""

import numpy as np
import onnx
import pytest
from skimage import data

from atpn.engine.inference import find_model, shipped_models
from atpn.faces.detection import OUTPUTS, Detector, decode, pad, shrink, suppress
from atpn.geometry import Box, Image
from atpn_training.artefacts import detector as rebuilding


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The shipped detector."""
    return Detector(find_model(shipped_models(), "yunet"))


@pytest.fixture(scope="module")
def photograph() -> Image:
    """A portrait, (512, 512, 3) RGB, that travels with scikit-image."""
    return np.asarray(data.astronaut(), np.uint8)


def test_the_rebuilt_graph_is_the_original() -> None:
    original = rebuilding.find_original().read_bytes()
    rebuilt = rebuilding.rebuild(onnx.load_from_string(original))
    assert rebuilding.check(original, rebuilt.SerializeToString()) < 1e-4


def test_a_changed_graph_is_refused() -> None:
    original = rebuilding.find_original().read_bytes()
    model = rebuilding.rebuild(onnx.load_from_string(original))
    first = model.graph.node[2]
    rebuilding.swap_channels(next(i for i in model.graph.initializer if i.name == first.input[1]))
    with pytest.raises(rebuilding.RebuildError, match="differ"):
        rebuilding.check(original, model.SerializeToString())


def test_the_face_in_a_photograph_is_found(detector: Detector, photograph: Image) -> None:
    found = detector.detect(photograph)
    assert len(found) == 1
    assert found[0].score > 0.8
    assert found[0].box.iou(Box(173, 62, 271, 198)) > 0.7


def test_a_box_is_in_pixels_of_the_whole_image(detector: Detector, photograph: Image) -> None:
    """The same face in a picture that has to be shrunk, at an offset."""
    large = np.zeros((1100, 1900, 3), np.uint8)
    large[500:1012, 1200:1712] = photograph
    (one,), (other,) = detector.detect(photograph), detector.detect(large)
    moved = Box(one.box.x0 + 1200, one.box.y0 + 500, one.box.x1 + 1200, one.box.y1 + 500)
    assert moved.iou(other.box) > 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (5000, 1), (31, 33), (32, 32), (641, 480)])
def test_a_picture_of_any_size_is_searched(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []


def test_shrinking_keeps_the_proportions() -> None:
    assert shrink(np.zeros((300, 1200, 3), np.uint8), 600).shape == (150, 600, 3)
    assert shrink(np.zeros((30, 40, 3), np.uint8), 600).shape == (30, 40, 3)


def test_padding_is_black_at_the_right_and_below() -> None:
    found = pad(np.full((33, 64, 3), 9, np.uint8))
    assert found.shape == (64, 64, 3)
    assert (found[:33] == 9).all()
    assert (found[33:] == 0).all()


def test_a_cell_decodes_to_its_box() -> None:
    """Cell (row 1, column 2) of stride 16 in a 64 x 32 input."""
    outputs = [
        np.zeros((1, 64 * 32 // s**2, k), np.float32) for s in (8, 16, 32) for k in (1, 1, 4)
    ]
    named = dict(zip(OUTPUTS, outputs, strict=True))
    named["cls_16"][0, 6], named["obj_16"][0, 6] = 0.81, 1.0
    named["bbox_16"][0, 6] = 0.5, 0.25, np.log(2), np.log(3)
    boxes, scores = decode(outputs, 64, 0.7)
    np.testing.assert_allclose(boxes, [[40 - 16, 20 - 24, 40 + 16, 20 + 24]], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.9], rtol=1e-5)


def test_of_two_boxes_on_one_face_the_better_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    kept, scores = suppress(boxes, np.array([0.8, 0.9, 0.7], np.float32))
    np.testing.assert_array_equal(kept, boxes[[1, 2]])
    np.testing.assert_array_equal(scores, np.array([0.9, 0.7], np.float32))
