"""The batch normalisation in front of a linear head."""

import numpy as np
import torch
from mmengine.model import revert_sync_batchnorm
from tiny_models import build

from projects.crate.models import BatchNormNeck


def test_last_map_normalised_over_the_batch():
    neck = revert_sync_batchnorm(build('mmseg', dict(type='BatchNormNeck', in_channels=5)))
    with torch.no_grad():
        neck.norm.weight.uniform_(0.5, 2)
        neck.norm.bias.uniform_(-1, 1)
    maps = 3 + 2 * torch.randn(2, 5, 4, 6, dtype=torch.float64)
    (result,) = neck.double()((torch.randn(2, 7, 2, 3), maps))
    values = maps.numpy()
    mean, variance = (f(values, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    scale, shift = (part.detach().numpy()[None, :, None, None] for part in (neck.norm.weight, neck.norm.bias))
    np.testing.assert_allclose(result.detach().numpy(), (values - mean) / np.sqrt(variance + 1e-5) * scale + shift)


def test_statistics_are_those_of_all_processes():
    """As the model is built; the runner makes it an ordinary one where there is one process."""
    assert isinstance(BatchNormNeck(3).norm, torch.nn.SyncBatchNorm)
