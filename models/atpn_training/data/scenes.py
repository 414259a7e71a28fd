"""Photographs without a face, and of crowds: where negatives and occluders come from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from atpn.geometry import Box
from atpn_training.data.images import STORED, Images, read_rgb

T = TypeVar("T")


@dataclass(frozen=True)
class Scene:
    """A photograph with every face box that a detector found (score at least 0.4)."""

    image: Images  # (H, W, 3) RGB
    boxes: tuple[Box, ...]


def load_scenes(root: Path) -> list[Scene]:
    """Crowd and street scenes: where negatives near real faces come from."""
    listed = json.loads((root / "scenes.json").read_text())
    return [
        Scene(read_rgb(root / name), tuple(Box(*box[:4]) for box in boxes))
        for name, boxes in tqdm(sorted(listed.items()), desc="reading scenes", unit="image")
    ]


def load_backgrounds(root: Path) -> list[Images]:
    """Photographs without a face."""
    paths = sorted((root / "background").glob("*.jpg"))
    return [read_rgb(p) for p in tqdm(paths, desc="reading backgrounds", unit="image")]


def scrambled(images: Images, count: int, seed: int = 0, tiles: int = 4) -> list[Images]:
    """``count`` of the images in shuffled and turned tiles, which show no face any more.

    They stand in for faceless photographs where only certain images may be trained on.
    """
    rng = np.random.default_rng(seed)
    side = STORED // tiles
    made = []
    for i in rng.choice(len(images), count, replace=len(images) < count):
        cut = (
            images[i].reshape(tiles, side, tiles, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        )
        turned = [np.rot90(tile, int(rng.integers(4))) for tile in cut[rng.permutation(tiles**2)]]
        rows = np.stack(turned).reshape(tiles, tiles, side, side, 3).swapaxes(1, 2)
        made.append(np.ascontiguousarray(rows.reshape(STORED, STORED, 3)))
    return made


def split_list(items: list[T], split: str, every: int = 10) -> list[T]:
    """Every tenth item is validation, the others are training."""
    return [x for i, x in enumerate(items) if (i % every == 0) == (split == "val")]
