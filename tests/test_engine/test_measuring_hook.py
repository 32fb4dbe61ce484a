"""The curve of a measurement in a checkpoint, which may come from anywhere."""

import pytest
import torch

from projects.crate.engine.measuring_hook import _alike

NEW = dict(step=3, compression=[0.5, 0.25], AP=0.5)
OLD = dict(step=1, compression=[1, 2.0], AP=-1)


@pytest.mark.parametrize(
    'forged',
    [5, None, 'text', {}, dict(OLD, step='1'), dict(OLD, AP=torch.ones(1)), dict(OLD, compression=[1]), dict(step=1)],
    ids=str,
)
def test_records_of_another_form_are_forgotten(forged):
    assert _alike([OLD, forged, OLD], NEW) == [OLD, OLD]
    assert _alike(forged, NEW) == []
