"""What the experiments run on, and what they answer."""

from dataclasses import dataclass
from pathlib import Path

from atpn.faces.detection import Detector
from atpn_training.score.measures import (
    Figures,
)
from atpn_training.score.served import Model


@dataclass(frozen=True)
class Outcome:
    """What an experiment found: figures for JSON, and text for people."""

    figures: Figures
    text: str


@dataclass(frozen=True)
class Bench:
    """What experiments run on and where their curves go."""

    model: Model
    detector: Detector
    out: Path
