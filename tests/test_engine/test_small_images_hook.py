"""SmallImagesHook: sizes that a run sees, also after a resume."""

import pytest
import torch
from mmengine.registry import DATASETS
from toy_runs import InterruptionError, ToyDataset, config, train

SIZES = []


@DATASETS.register_module()
class SizedToyDataset(ToyDataset):
    """The toy data, and a note of the size at which each batch was asked for."""

    size = (8, 12)

    def __getitems__(self, indices):
        SIZES.append(self.size)
        return torch.utils.data.default_collate([self[index] for index in indices])


@pytest.fixture
def run(tmp_path, fast_runner):
    """A function that trains for seven iterations, four of them on small images; returns the sizes of the batches."""

    def run_it(resume=None, stop=None):
        SIZES.clear()
        loader = dict(
            batch_size=4,
            num_workers=0,
            dataset=dict(type='SizedToyDataset', log=str(tmp_path / 'seen.txt')),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='torch.utils.data.default_convert'),
        )
        hooks = [dict(type='SmallImagesHook', size=4, until=4)]
        hooks += [dict(type='StopHook', at=stop)] if stop else []
        loop = dict(type='IterBasedTrainLoop', max_iters=7, val_interval=100)
        path = config(tmp_path, loop, train_dataloader=loader, custom_hooks=hooks)
        runner = train(path, resume)
        return runner.train_dataloader.dataset

    return run_it


def test_first_iterations_are_small(run):
    dataset = run()
    assert SIZES == [4, 4, 4, 4, (8, 12), (8, 12), (8, 12)]
    assert dataset.size == (8, 12)


@pytest.mark.parametrize(('stop', 'rest'), [(3, [4, 4, (8, 12), (8, 12), (8, 12)]), (6, [(8, 12)])])
def test_resume_goes_on_at_the_size_of_its_iteration(run, stop, rest):
    with pytest.raises(InterruptionError):
        run(stop=stop)
    run(resume='auto')
    assert rest == SIZES
