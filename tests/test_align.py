"""/align and /pose on real photographs: where the points are, and what a request may ask for."""

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image as Pillow

from atpn.faces.encoded_image import EncodedImage
from atpn.faces.face import Face
from atpn.faces.looking import Detect, drive
from atpn.faces.photographs import Photograph, find_faces
from atpn.geometry import Box, Image, roi_from_detection, roi_from_landmarks
from atpn.landmarks import CONTOURS, LEFT_PUPIL, MIRROR, RIGHT_PUPIL
from tests.clips import encoded, two_faces
from tests.conftest import (
    FakeDetector,
    FakeServiceFactory,
    Service,
    SettingsFactory,
    png,
)
from tests.test_images import as_stored, exif, saved

Points = NDArray[np.float64]

# Measured by hand on the enlarged photograph of the astronaut, in pixels.
FACE = [178.0, 63.0, 268.0, 176.0]
LEFT_EYE = Box(189, 92, 217, 109)  # the lids from corner to corner, and 3 pixels around
RIGHT_EYE = Box(232, 95, 263, 111)
LEFT_IRIS, RIGHT_IRIS = (203.4, 101.0), (246.5, 103.4)
NOSE_TIP = (223, 127)
MOUTH = Box(199.5, 134, 250.5, 159)  # the lips, and the tolerance below around
MOUTH_CORNERS = [(204, 140), (246, 139.5)]
NEAR = 4.5  # pixels: a tenth of the distance between the eyes
CAMERAMAN = [195.0, 113.0, 257.0, 195.0]  # he looks to the right of the image


async def faces(
    service: Service, image: bytes, boxes: object = None, path: str = "/align"
) -> list[dict[str, Any]]:
    """The faces of an image, or those in the given boxes."""
    if boxes is None:
        answer = await service.post(path, image)
    else:
        answer = await service.post_boxes(path, image, boxes)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["faces"]
    return found


async def landmarks(service: Service, image: Image, box: list[float]) -> Points:
    """The (98, 2) landmarks of the face in ``box``."""
    (face,) = await faces(service, png(image), [box])
    return np.array(face["landmarks"])


async def pose(service: Service, image: Image, box: list[float]) -> dict[str, Any]:
    """The head pose of the face in ``box``."""
    (face,) = await faces(service, png(image), [box], "/pose")
    angles: dict[str, Any] = face["pose"]
    return angles


@pytest.fixture(scope="module")
async def points(service: Service, astronaut: Image) -> Points:
    """The astronaut's (98, 2) landmarks."""
    return await landmarks(service, astronaut, FACE)


def part(points: Points, name: str) -> Points:
    """The points of one contour."""
    first, end, _ = CONTOURS[name]
    return points[first:end]


def within(points: Points, box: Box) -> bool:
    """Whether all points lie in the box."""
    return bool((points >= (box.x0, box.y0)).all() and (points <= (box.x1, box.y1)).all())


def distance(points: Points, truth: object) -> float:
    """Mean distance in pixels."""
    return float(np.linalg.norm(points - np.asarray(truth), axis=-1).mean())


def mirrored(image: Image) -> Image:
    """Left and right swapped."""
    return np.ascontiguousarray(image[:, ::-1])


def mirrored_box(box: list[float], width: int = 512) -> list[float]:
    """Where the box is in the mirrored picture."""
    return [width - box[2], box[1], width - box[0], box[3]]


def turned(image: Image, degrees: float) -> Image:
    """The picture turned clockwise around the astronaut's face."""
    matrix = cv2.getRotationMatrix2D((223, 120), -degrees, 1)
    return cv2.warpAffine(image, matrix, (512, 512)).astype(np.uint8)


async def test_the_one_face_of_a_photograph_is_found(
    service: Service, astronaut_jpeg: bytes
) -> None:
    (face,) = await faces(service, astronaut_jpeg)
    assert face["confidence"] > 0.7
    x0, y0, x1, y1 = face["box"]
    assert Box(x0, y0, x1, y1).iou(Box(178, 85, 270, 180)) > 0.7


def test_a_detected_face_is_looked_at_as_it_would_be_tracked(points: Points) -> None:
    detected, tracked = (
        roi_from_detection(Box(*FACE)),
        roi_from_landmarks(points.astype(np.float32)),
    )
    assert detected.iou(tracked) > 0.75


async def test_a_found_face_has_the_landmarks_of_the_same_face_given(
    service: Service, astronaut_jpeg: bytes, points: Points
) -> None:
    (face,) = await faces(service, astronaut_jpeg, path="/align?min_confidence=0")
    assert distance(np.array(face["landmarks"]), points) < NEAR


def test_the_eyes_points_are_on_the_eyes(points: Points) -> None:
    assert within(part(points, "left_eye"), LEFT_EYE)
    assert within(part(points, "right_eye"), RIGHT_EYE)


def test_the_pupils_are_on_the_irises(points: Points) -> None:
    assert distance(points[[LEFT_PUPIL, RIGHT_PUPIL]], [LEFT_IRIS, RIGHT_IRIS]) < NEAR


def test_the_nose_and_the_mouth_are_where_they_are(points: Points) -> None:
    assert distance(points[54], NOSE_TIP) < NEAR
    assert within(part(points, "outer_lips"), MOUTH)
    assert distance(points[[76, 82]], MOUTH_CORNERS) < NEAR


def test_a_face_is_ordered_from_the_brows_to_the_chin(points: Points) -> None:
    order = ["left_brow", "left_eye", "nose_base", "outer_lips"]
    heights = [part(points, name)[:, 1].mean() for name in order]
    assert heights == sorted(heights)
    assert part(points, "jaw")[:, 1].max() > part(points, "outer_lips")[:, 1].max()


def test_left_and_right_are_those_of_the_image(points: Points) -> None:
    for left, right in [("left_eye", "right_eye"), ("left_brow", "right_brow")]:
        assert part(points, left)[:, 0].max() < part(points, right)[:, 0].min()
    lips = part(points, "outer_lips")
    assert lips[0, 0] == lips[:, 0].min()
    assert lips[6, 0] == lips[:, 0].max()
    jaw = part(points, "jaw")
    assert jaw[0, 0] < jaw[16, 0] < jaw[32, 0]


async def test_the_box_of_a_face_is_the_rectangle_of_its_landmarks(
    service: Service, astronaut: Image
) -> None:
    (face,) = await faces(service, png(astronaut), [FACE])
    points = np.array(face["landmarks"])
    assert np.allclose(face["box"], [*points.min(0), *points.max(0)], atol=0.011)


async def test_a_mirrored_face_has_mirrored_landmarks(
    service: Service, astronaut: Image, points: Points
) -> None:
    found = await landmarks(service, mirrored(astronaut), mirrored_box(FACE))
    expected = np.stack([512 - points[:, 0], points[:, 1]], 1)[MIRROR]
    assert distance(found, expected) < 3


async def test_a_moved_face_has_moved_landmarks(
    service: Service, astronaut: Image, points: Points
) -> None:
    moved = np.roll(astronaut, (40, 25), (0, 1))
    found = await landmarks(
        service, moved, [FACE[0] + 25, FACE[1] + 40, FACE[2] + 25, FACE[3] + 40]
    )
    assert distance(found - (25, 40), points) < 0.05


async def test_a_larger_picture_has_larger_coordinates(
    service: Service, astronaut: Image, points: Points
) -> None:
    large = cv2.resize(astronaut, (1536, 1536), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    found = await landmarks(service, large, [3 * v for v in FACE])
    assert distance(found / 3, points) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_photograph_that_is_turned_by_its_exif_tag_has_the_same_landmarks(
    orientation: int, service: Service, astronaut: Image, points: Points
) -> None:
    stored = Pillow.fromarray(as_stored(astronaut[:, :400], orientation))
    data = saved(stored, "PNG", exif=exif(orientation), compress_level=1)
    answer = await service.post_boxes("/align", data, [FACE])
    assert answer.json()["image"] == {"width": 400, "height": 512}
    assert np.array_equal(answer.json()["faces"][0]["landmarks"], points)


@pytest.mark.parametrize("count", [98, 68, 5])
async def test_as_many_landmarks_are_answered_as_were_asked_for(
    count: int, service: Service, astronaut_jpeg: bytes
) -> None:
    (face,) = await faces(service, astronaut_jpeg, [FACE], f"/align?points={count}")
    assert np.array(face["landmarks"]).shape == (count, 2)


async def test_the_five_points_are_eyes_nose_and_mouth_corners(
    service: Service, astronaut_jpeg: bytes
) -> None:
    (face,) = await faces(service, astronaut_jpeg, [FACE], "/align?points=5")
    truth = [LEFT_IRIS, RIGHT_IRIS, NOSE_TIP, *MOUTH_CORNERS]
    assert distance(np.array(face["landmarks"]), truth) < NEAR


async def test_the_pose_is_answered_only_where_it_is_asked_for(
    service: Service, astronaut_jpeg: bytes
) -> None:
    (without,) = await faces(service, astronaut_jpeg, [FACE], "/align")
    (both,) = await faces(service, astronaut_jpeg, [FACE], "/align?include=pose")
    (only,) = await faces(service, astronaut_jpeg, [FACE], "/pose")
    assert set(without) == {"box", "confidence", "landmarks"}
    assert set(both) == {"box", "confidence", "landmarks", "pose"}
    assert set(only) == {"box", "confidence", "pose"}
    assert both["pose"] == only["pose"]


async def test_the_rotation_matrix_says_the_same_as_the_angles(
    service: Service, astronaut: Image
) -> None:
    found = await pose(service, astronaut, FACE)
    matrix = np.array(found["rotation"])
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-4)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-4)
    yaw, pitch = np.arcsin(matrix[0, 2]), np.arctan2(matrix[1, 2], matrix[2, 2])
    roll = np.arctan2(-matrix[0, 1], matrix[0, 0])
    assert np.allclose(
        np.degrees([yaw, pitch, roll]), [found[n] for n in ("yaw", "pitch", "roll")], atol=0.02
    )


async def test_an_astronaut_who_looks_into_the_camera_is_hardly_turned(
    service: Service, astronaut: Image
) -> None:
    found = await pose(service, astronaut, FACE)
    assert abs(found["yaw"]) < 15
    assert abs(found["pitch"]) < 25
    assert abs(found["roll"]) < 10


@pytest.mark.parametrize("degrees", [-25, 25])
async def test_a_head_that_is_turned_clockwise_has_a_positive_roll(
    degrees: float, service: Service, astronaut: Image
) -> None:
    upright = await pose(service, astronaut, FACE)
    tilted = await pose(service, turned(astronaut, degrees), FACE)
    assert tilted["roll"] - upright["roll"] == pytest.approx(degrees, abs=8)


async def test_a_head_that_looks_to_the_left_of_the_image_has_a_positive_yaw(
    service: Service,
) -> None:
    grey: Image = skimage.data.camera()
    camera: Image = np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
    looks_right = await pose(service, camera, CAMERAMAN)
    looks_left = await pose(service, mirrored(camera), mirrored_box(CAMERAMAN))
    assert looks_right["yaw"] < -20
    assert looks_left["yaw"] > 20


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket"])
@pytest.mark.parametrize("path", ["/align", "/pose"])
async def test_a_photograph_without_a_face_is_answered_with_an_empty_list(
    path: str, name: str, service: Service
) -> None:
    assert await faces(service, encoded(getattr(skimage.data, name)()), path=path) == []


async def test_both_faces_of_a_picture_are_found_and_max_faces_leaves_the_best(
    service: Service,
) -> None:
    both = await faces(service, two_faces(), path="/align?min_confidence=0")
    one = await faces(service, two_faces(), path="/align?min_confidence=0&max_faces=1")
    assert len(both) == 2
    assert one == both[:1]


async def test_max_faces_cannot_lift_the_limit_of_the_service(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service([Box(i, 0, i + 20, 20) for i in range(9)], max_faces=3)
    assert len(await faces(fake, small_png, path="/align?max_faces=8")) == 3


@pytest.mark.parametrize("most", [1, 2, None])
def test_where_the_network_sees_no_face_the_others_found_are_looked_at(
    most: int | None, settings: SettingsFactory
) -> None:
    rois = [Box(i, 0, i + 20, 20) for i in (0, 40, 80)]
    looked: list[Box] = []

    def see(asked: list[Box]) -> list[Face]:
        looked.extend(asked)
        points, pose = np.zeros((98, 2), np.float32), np.zeros(3, np.float32)
        return [Face(roi, points, 0.1 if roi == rois[0] else 0.9, pose) for roi in asked]

    steps = find_faces(Photograph(b"", max_faces=most), 100, 100, settings(second_look=False))
    faces = drive(steps, see, lambda _: list(rois))
    assert [face.roi for face in faces] == rois[1:][:most]
    assert looked == rois


async def test_max_faces_does_not_cut_the_given_boxes(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    boxes = [[i, 0, i + 20, 20] for i in range(5)]
    assert len(await faces(fake, small_png, boxes, "/align?max_faces=2")) == 5


@pytest.mark.parametrize(
    ("query", "boxes", "answered"),
    [
        ("", None, False),
        ("?min_confidence=0.3", None, True),
        ("?min_confidence=0.5", None, False),
        ("", [[8, 8, 40, 40]], True),
        ("?min_confidence=0.5", [[8, 8, 40, 40]], False),
    ],
)
async def test_unsure_faces_are_left_out_unless_their_boxes_were_given(
    query: str,
    boxes: object,
    answered: bool,
    fake_service: FakeServiceFactory,
    small_png: bytes,
) -> None:
    """The model says 0.4, the setting asks for 0.5."""
    fake = await fake_service(min_confidence=0.5)
    fake.network.confidence = 0.4
    assert bool(await faces(fake, small_png, boxes, "/align" + query)) is answered


async def test_the_answer_tells_the_image_the_model_and_the_time(
    service: Service, astronaut_jpeg: bytes
) -> None:
    answer = (await service.post("/align", astronaut_jpeg)).json()
    assert answer["image"] == {"width": 512, "height": 512}
    assert answer["model"] == {"name": "atpn", "version": service.core.model.version}
    assert set(answer["ms"]) == {"decode", "detect", "queue", "inference"}
    assert answer["ms"]["decode"] > 0
    assert answer["ms"]["detect"] > 0


async def test_a_face_of_one_box_at_the_edge_still_has_landmarks(
    service: Service, astronaut_jpeg: bytes
) -> None:
    (face,) = await faces(service, astronaut_jpeg, [[500, 500, 560, 560]])
    assert np.isfinite(np.array(face["landmarks"])).all()


@pytest.mark.parametrize("boxes", [None, [[4 * v for v in FACE]]])
async def test_a_large_photograph_has_its_faces_where_they_are_in_it(
    service: Service, astronaut: Image, points: Points, boxes: list[list[float]] | None
) -> None:
    large = cv2.resize(astronaut, (2048, 2048), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    (face,) = await faces(service, encoded(large, 95), boxes)
    assert distance(np.array(face["landmarks"]) / 4, points) < 0.02 * np.ptp(points[:, 0])


def test_only_what_network_and_detector_need_is_decoded(astronaut: Image) -> None:
    data = encoded(cv2.resize(astronaut, (2600, 1950)).astype(np.uint8), 80)
    face, small = Box(400, 300, 800, 700), Box(10, 10, 60, 60)  # as the detector sees the half

    def searched(*boxes: Box, whole: bool = False) -> int:
        image = EncodedImage(data, 10_000_000, FakeDetector(*boxes), whole)
        image.crops(image.search(Detect()) or [Box(0, 0, 2000, 1950)])
        return image.reduction

    def known(*rois: Box, whole: bool = False) -> int:
        image = EncodedImage(data, 10_000_000, FakeDetector(), whole)
        image.crops(list(rois))
        return image.reduction

    assert searched(face) == searched() == 2
    assert searched(face, small) == 1
    assert searched(face, whole=True) == 1
    large = Box(200, 200, 1100, 1100)
    assert known(large) == 4
    assert known(large, Box(500, 500, 800, 800)) == 2
    assert known(large, whole=True) == 1


async def test_a_large_photograph_is_drawn_on_at_its_own_size(
    service: Service, astronaut: Image
) -> None:
    large = cv2.resize(astronaut, (2048, 2048)).astype(np.uint8)
    answer = await service.post("/align", encoded(large, 90), accept="image/png")
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == (2048, 2048, 3)


@pytest.mark.parametrize("path", ["/align", "/pose"])
async def test_the_best_quality_is_four_looks_at_each_face(
    path: str, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service([Box(4, 4, 30, 30), Box(20, 20, 44, 44)])
    answer = await fake.post(f"{path}?quality=best", small_png)
    assert len(answer.json()["faces"]) == 2
    assert sum(len(batch) for batch in fake.network.batches) == 2 * 4


async def test_a_face_that_the_detector_is_unsure_of_is_told_where_the_network_is_sure(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service([])
    fake.detector.unsure = [Box(8, 8, 40, 40)]
    fake.network.confidence = 0.98
    assert len((await fake.post("/align", small_png)).json()["faces"]) == 1
    fake.network.confidence = 0.96
    assert (await fake.post("/align?min_confidence=0", small_png)).json()["faces"] == []
    fake.detector.boxes = [Box(20, 20, 44, 44)]
    (face,) = (await fake.post("/align", small_png)).json()["faces"]
    assert face["confidence"] == 0.96


@pytest.mark.parametrize(
    ("path", "accept", "posed"),
    [
        ("/align", "application/json", False),
        ("/align?include=pose", "application/json", True),
        ("/align?include=signals", "application/json", True),
        ("/align", "image/png", True),
        ("/pose", "application/json", True),
    ],
)
async def test_head_poses_are_computed_for_who_asks_for_them(
    path: str, accept: str, posed: bool, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(on_cpu=True)
    assert (await fake.post(path, small_png, accept=accept)).status_code == 200
    assert set(fake.network.posed) == {posed}


@pytest.mark.parametrize("quality", ["normal", "best"])
async def test_landmarks_are_the_same_with_and_without_pose(
    quality: str, service: Service, astronaut_jpeg: bytes
) -> None:
    answers = [
        (await service.post(f"/align?quality={quality}{more}", astronaut_jpeg)).json()["faces"]
        for more in ("", "&include=pose")
    ]
    (bare,), (posed,) = answers
    assert posed.pop("pose")["rotation"]
    assert np.abs(np.array(bare["landmarks"]) - posed["landmarks"]).max() <= 0.011
    assert bare["box"] == pytest.approx(posed["box"], abs=0.011)
