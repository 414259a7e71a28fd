"""Made-up faces, batches and data folders, so that training is tested without real data."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from atpn.engine.inference import FaceNetwork, find_model, shipped_models
from atpn.geometry import Box, Image, crop, crop_to_image, square
from atpn.landmarks import to_68
from atpn_training.data.batches import Batch, Sampler
from atpn_training.data.faces import Faces
from atpn_training.data.images import STORED
from atpn_training.data.labels import HAND_68, HAND_98
from atpn_training.data.scenes import Scene
from atpn_training.network.atpn import ATPN
from atpn_training.network.config import NetConfig

Array = NDArray[np.float32]


def tiny_net(seed: int = 0) -> ATPN:
    """The whole architecture with few channels."""
    torch.manual_seed(seed)
    cfg = NetConfig(stem=8, channels=(8, 12, 16), fpn=(8, 8, 16), vector=16, head=(8, 12))
    return ATPN(cfg)


def noise_batch(rng: np.random.Generator) -> Batch:
    """A batch that serves every stage."""
    return {
        "image": torch.from_numpy(rng.uniform(0, 255, (4, 3, 112, 112)).astype(np.float32)),
        "points": torch.from_numpy(rng.uniform(0.2, 0.8, (4, 98, 2)).astype(np.float32)),
        "weight": torch.ones(4),
        "euler": torch.from_numpy(rng.normal(0, 0.3, (4, 3)).astype(np.float32)),
        "face": torch.tensor([1, 0, 0, 0]),
    }


def shake_batch_norm(net: torch.nn.Module, seed: int = 1) -> None:
    """Give batch norms statistics and gains that a trained network could have."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)


def face_points(rng: np.random.Generator) -> Array:
    """98 points (98, 2) inside the stored crop's landmark rectangle, eyes apart."""
    points = rng.uniform(STORED / 4, 3 * STORED / 4, (98, 2))
    points[60], points[72] = (STORED * 0.35, STORED * 0.4), (STORED * 0.65, STORED * 0.4)
    return points.astype(np.float32)


def made_up_faces(count: int = 4, seed: int = 0) -> Faces:
    """Labelled noise pictures."""
    rng = np.random.default_rng(seed)
    points = np.stack([face_points(rng) for _ in range(count)])
    euler = rng.normal(0, 0.3, (count, 3)).astype(np.float32)
    return Faces(
        images=rng.integers(0, 256, (count, STORED, STORED, 3)).astype(np.uint8),
        points=points,
        teacher=points,
        hand68=np.full((count, 68, 2), np.nan, np.float32),
        mesh=euler,
        euler=euler,
        looked=np.full((count, 2), np.nan, np.float32),
        spread=np.full(count, 0.01, np.float32),
        face_px=np.full(count, 100, np.float32),
        weight=np.ones(count, np.float32),
        source=np.array(["made_up"] * count),
        person=np.array([""] * count),
    )


def made_up_sampler() -> Sampler:
    """A sampler of made-up faces, one background and one scene with a face box."""
    rng = np.random.default_rng(7)
    background, scene = (rng.integers(0, 256, (240, 320, 3)).astype(np.uint8) for _ in range(2))
    return Sampler(made_up_faces(), [background], [Scene(scene, (Box(100, 80, 160, 150),))])


ASTRONAUT = square(222, 128, 190)  # the ROI of the face in scikit-image's photograph


def astronaut_points(image: Image, roi: Box = ASTRONAUT) -> Array:
    """What the shipped network finds in the photograph: (98, 2) pixels."""
    network = FaceNetwork(find_model(shipped_models(), "atpn"))
    return crop_to_image(network.run(crop(image, roi)[None]).landmarks[0], roi)


def write_image(path: Path, image: Image) -> None:
    """An RGB image in the format of the name's ending; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def write_video(path: Path, frames: list[Image]) -> None:
    """An AVI of JPEG frames, 25 a second; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), code, 25, (width, height))
    assert video.isOpened()
    for frame in frames:
        video.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    video.release()


def write_data(root: Path) -> None:
    """A data folder of one real face in several guises, labelled by the shipped network.

    The last one's label is upside down, and said to be doubtful.
    """
    photo: Image = skimage.data.astronaut()
    rows, points = [], []
    listed = [("lfpw", ""), ("lfpw", ""), ("infanface", ""), ("infanface", "")]
    listed += [("pointing04", "-30"), ("pointing04", "15"), ("wflw30", ""), ("web", "")]
    for i, (source, pan) in enumerate(listed):
        view = square(222 + i, 135 - i, STORED * 1.4)
        shown = crop(photo, view, STORED)
        name = f"faces/{source}/{i}.jpg"
        write_image(root / name, shown)
        scale = STORED / view.width
        roi = square((222 - view.x0) * scale, (128 - view.y0) * scale, 190 * scale)
        points.append(astronaut_points(shown, roi))
        rows.append(
            {"file": name, "source": source, "split": "val", "face_px": "120", "spread": "0.01"}
            | {"open": "False", "tilt": pan and "0", "pan": pan, "person": ""}
        )
    rows[-1]["spread"] = "0.05"
    with (root / "faces.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    teacher = np.stack([*points[:-1], STORED - points[-1]])
    hand, hand98 = (np.array([r["source"] in s for r in rows]) for s in (HAND_68, HAND_98))
    np.savez(
        root / "labels.npz",
        teacher98=teacher,
        hand98=np.where(hand98[:, None, None], teacher + 0.5, np.nan).astype(np.float32),
        hand68=np.where(hand[:, None, None], to_68(teacher) + 0.5, np.nan).astype(np.float32),
        rotation=np.tile(np.eye(3, dtype=np.float32), (len(rows), 1, 1)),
    )
    for i in range(2):
        write_image(root / "background" / f"{i}.jpg", skimage.data.coffee()[:, i * 100 :])
        write_image(root / "scenes" / f"{i}.jpg", skimage.data.chelsea())
    scenes = {f"scenes/{i}.jpg": [[100, 80, 160, 150, 0.9]] for i in range(2)}
    (root / "scenes.json").write_text(json.dumps(scenes))
