"""Where heads point: azimuth and elevation, in which people are told where to look.

These are not yaw and pitch. With R = Rx(-pitch) Ry(yaw) Rz(roll) the pitch turns the head about
the camera's horizontal axis after the yaw; people turn aside about the vertical and then nod about
their own ears, R = Ry(azimuth) Rx(-elevation) Rz(tilt of the head). Whoever turns by 75 degrees
and looks up by 30 has a yaw of 57 and a pitch of 66 degrees.
"""

import numpy as np

from atpn_training.data.images import Array


def directions(euler: Array) -> Array:
    """Azimuth and elevation (N, 2) of heads' yaw and pitch (N, 2 or 3), all in radians.

    Signs are those of yaw and pitch. The roll moves neither.
    """
    yaw, pitch = euler[:, 0], euler[:, 1]
    azimuth = np.arctan2(np.sin(yaw), np.cos(yaw) * np.cos(pitch))
    elevation = np.arcsin(np.clip(np.cos(yaw) * np.sin(pitch), -1, 1))
    return np.stack([azimuth, elevation], 1).astype(np.float32)
