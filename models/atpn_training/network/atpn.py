"""The whole ATPN network: backbone, alignment branch, heatmap, pose and tracking branches.

Source: Xia et al., "An Efficient Multitask Neural Network for Face Alignment, Head Pose
Estimation and Face Tracking" (arXiv 2103.07615), section 3. Shapes are written (B, C, H, W).
"""

from math import pi

import torch
from torch import Tensor, nn

from atpn_training.network.config import NetConfig
from atpn_training.network.parts import (
    AlignmentBranch,
    Backbone,
    Head,
    LastLayerBranch,
    heatmap,
    low_level_features,
)


class ATPN(nn.Module):
    """Crop in; landmarks, pose and face confidence out.

    Input: RGB crops (B, 3, 112, 112) in 0..255, any float type; normalised inside.
    ``mean_shape`` (points, 2) in units of the crop's side is S0 of section 3.2.
    """

    def __init__(self, cfg: NetConfig | None = None, mean_shape: Tensor | None = None) -> None:
        super().__init__()
        self.cfg = cfg = cfg or NetConfig()
        variant = cfg.variant
        self.backbone = Backbone(cfg)
        self.alignment = AlignmentBranch(cfg) if variant.low_level else LastLayerBranch(cfg)
        self.pose = Head(cfg, 3)
        self.tracking = Head(cfg, 2)
        own = [None if variant.sharing else nn.Sequential(*low_level_features(cfg)) for _ in "pt"]
        self.pose_features, self.tracking_features = own
        shape = torch.full((cfg.points, 2), 0.5) if mean_shape is None else mean_shape
        self.register_buffer("mean_shape", shape.float())
        self.mean_shape: Tensor

    def align(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks S1 = S0 + residual (B, points, 2) and F_I (B, C, 28, 28)."""
        f1, f2, f3 = self.backbone(normalised(images))
        return self.mean_shape + self.alignment(f1, f2, f3), f1

    def fuse(self, images: Tensor, landmarks: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """F_O = F_I * H (section 3.3) as the pose and as the tracking branch see it.

        One tensor twice where they share the alignment's features (B, C, 28, 28).
        """
        variant, size = self.cfg.variant, self.cfg.input_size // 4
        heat = heatmap(landmarks, size) if variant.heatmap else None
        seen = [features]
        if self.pose_features is not None and self.tracking_features is not None:
            x = normalised(images)
            seen = [self.pose_features(x), self.tracking_features(x)]
        fused = seen if heat is None else [f * heat for f in seen]
        return fused[0], fused[-1]

    def euler(self, fused: Tensor) -> Tensor:
        """Yaw, pitch, roll in radians, each tanh * pi: (B, 3)."""
        return torch.tanh(self.pose(fused)) * pi

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        landmarks, features = self.align(images)
        for_pose, for_tracking = self.fuse(images, landmarks, features)
        confidence = self.tracking(for_tracking).softmax(1)[:, 1]
        return landmarks, self.euler(for_pose), confidence  # (B, P, 2), (B, 3), (B,)


def normalised(images: Tensor) -> Tensor:
    """0..255 to about -2..2."""
    return (images - 127.5) * (1 / 64.0)
