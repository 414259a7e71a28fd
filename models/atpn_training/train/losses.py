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


def pose_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Eq. 5: sqrt(||P - P'||) / 3, averaged over the batch; radians."""
    distance = torch.linalg.vector_norm(predicted - target, dim=1)
    loss: Tensor = distance.clamp_min(1e-4).sqrt().mean() / 3
    return loss
