"""Small networks train faster on one thread, far faster where other work shares the cores."""

import torch

torch.set_num_threads(1)
