"""Looks at every training face many times: what the network and its teacher agree on.

    python -m atpn_training.train.consensus --data DATA --network models/artifacts/atpn/1 --out FILE

Writes FILE (npz, in the order of the training rows of ``faces.csv``, crop pixels): ``points``
(N, 98, 2) the median of the network's looks and ``spread`` (N, 98) their mean distance from it,
as a share of the face's side. `agreed` makes labels of them and the teacher's.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from atpn.geometry import Box, roi_from_landmarks, square, upright_roi
from atpn.landmarks import MIRROR
from atpn_training.data.faces import load_faces
from atpn_training.data.images import Array, Images
from atpn_training.score.served import Model, crops_of, in_images

SCALES = (0.93, 1.08)  # of the region's side
TURNS = (-0.12, 0.12)  # radians
CHUNK = 64  # faces at once


def looked_at(network: Model, images: Images, rois: list[Box]) -> Array:
    """Landmarks by each look (L, N, 98, 2) in image pixels, from regions around the faces.

    The first look only finds the upright region that the others, and their mirror images, see.
    """
    upright = [upright_roi(p) for p in network.landmarks(images, rois)]
    looks = []
    for scale in SCALES:
        for turn in TURNS:
            seen = [_changed(roi, scale, turn) for roi in upright]
            crops = crops_of(images, seen)
            flipped = network.run(np.ascontiguousarray(crops[:, :, ::-1]))
            looks += [
                in_images(network.run(crops), seen),
                in_images(replace(flipped, landmarks=unmirrored(flipped.landmarks)), seen),
            ]
    return np.stack(looks)


def _changed(roi: Box, scale: float, turn: float) -> Box:
    cx, cy = (float(c) for c in roi.centre)
    return replace(square(cx, cy, roi.width * scale), angle=roi.angle + turn)


def unmirrored(points: Array) -> Array:
    """Landmarks (N, 98, 2) of mirrored crops as those of the crops, in units of their side."""
    back = points[:, MIRROR].copy()
    back[..., 0] = 1 - back[..., 0]
    return back


def sides(points: Array) -> Array:
    """The larger side of the rectangle around (N, 98, 2) points: (N,)."""
    return np.asarray(np.ptp(points, axis=1).max(1))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--network", type=Path, required=True, help="version folder or weights")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    return parser.parse_args(arguments)


def main() -> None:
    """Look at the training faces and write the file."""
    args = parse()
    cv2.setNumThreads(1)
    network, faces = Model.load(args.network), load_faces(args.data, args.split)
    points, spread = [], []
    for i in tqdm(range(0, len(faces), CHUNK), desc="looking"):
        rois = [roi_from_landmarks(p) for p in faces.points[i : i + CHUNK]]
        looks = looked_at(network, faces.images[i : i + CHUNK], rois)
        middle = np.median(looks, axis=0)
        off = np.linalg.norm(looks - middle, axis=-1).mean(0)
        points.append(middle)
        spread.append(off / sides(middle)[:, None])
    np.savez(
        args.out,
        points=np.concatenate(points).astype(np.float32),
        spread=np.concatenate(spread).astype(np.float32),
    )


if __name__ == "__main__":
    main()
