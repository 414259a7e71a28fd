"""Losses and error measures of the three stages (section 3.5 of the paper)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from atpn.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER

#: Inter-ocular distances below this share of the crop count as this share: a profile's eyes
#: nearly coincide, and would otherwise dominate a batch.
SHORTEST_INTEROCULAR = 0.15


def interocular(points: Tensor) -> Tensor:
    """Distance of the outer eye corners: (B, 98, 2) -> (B,)."""
    between = points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER]
    distance: Tensor = torch.linalg.vector_norm(between, dim=1)
    return distance


def alignment_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Eq. 3: mean point-to-point distance / inter-ocular distance, weighted by sample."""
    distance = torch.linalg.vector_norm(predicted - target, dim=2).mean(1)  # (B,)
    error = distance / interocular(target).clamp_min(SHORTEST_INTEROCULAR)
    loss: Tensor = (error * weight).sum() / weight.sum()
    return loss


def tracking_loss(logits: Tensor, face: Tensor) -> Tensor:
    """Binary cross-entropy of the two-class softmax (eq. 4, with its misprint corrected)."""
    return F.cross_entropy(logits, face)


def rotations(euler: Tensor) -> Tensor:
    """`atpn.geometry.rotation_from_euler` of a batch: (B, 3) radians -> (B, 3, 3)."""
    yaw, pitch, roll = euler.unbind(1)
    sa, ca = torch.sin(-pitch), torch.cos(pitch)
    sb, cb, sc, cc = torch.sin(yaw), torch.cos(yaw), torch.sin(roll), torch.cos(roll)
    rows = [
        torch.stack([cb * cc, -cb * sc, sb], 1),
        torch.stack([sa * sb * cc + ca * sc, ca * cc - sa * sb * sc, -sa * cb], 1),
        torch.stack([sa * sc - ca * sb * cc, ca * sb * sc + sa * cc, ca * cb], 1),
    ]
    return torch.stack(rows, 1)


def rotation_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Eq. 5 with the angle between both rotations in place of ||P - P'||; radians.

    They are the same near a frontal head. Near profile pitch and roll turn about nearly one axis:
    ||P - P'|| of two heads that are 5 degrees apart is 10 degrees at a yaw of 75, 22 at 82.
    """
    between = rotations(predicted) - rotations(target)
    chord = torch.linalg.vector_norm(between, dim=(1, 2)) / 2**0.5  # 2 sin(angle / 2)
    loss: Tensor = chord.clamp_min(1e-4).sqrt().mean() / 3
    return loss


def pose_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Eq. 5: sqrt(||P - P'||) / 3, averaged over the batch; radians."""
    distance = torch.linalg.vector_norm(predicted - target, dim=1)
    loss: Tensor = distance.clamp_min(1e-4).sqrt().mean() / 3
    return loss
