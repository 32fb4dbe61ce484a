import pytest
from mmengine.registry import MODELS
from torch import nn
from toy_runs import SAMPLES, ToyModel, config, load_tool, seen

from projects.crate.engine import CheckStridesHook, launch
from projects.crate.models import SimpleFPN


@MODELS.register_module()
class ToyPyramidModel(ToyModel):
    """The toy task, beside a pyramid of strides 8 and 16 and a part that was told ``strides``; both are not used."""

    def __init__(self, strides):
        super().__init__()
        self.neck = SimpleFPN(8, 8, out_strides=[8, 16])
        self.extractor = nn.Identity()
        self.extractor.featmap_strides = strides


def toy(folder, strides, **changes):
    return str(config(folder, model=dict(type='ToyPyramidModel', strides=strides), **changes))


def test_training_with_other_strides_ends_in_one_line_before_it_begins(tmp_path, fast_runner, capsys):
    assert load_tool('train')([toy(tmp_path, [4, 8])]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('train: ')]
    assert 'extractor (Identity)' in line
    assert '(4, 8)' in line
    assert '(8, 16)' in line
    assert not seen(tmp_path)


def test_testing_with_other_strides_ends_in_one_line(tmp_path, fast_runner, capsys):
    options = dict(test_cfg=dict(), test_evaluator=dict(type='ToyMetric'))
    options['test_dataloader'] = dict(
        batch_size=4,
        dataset=dict(type='ToyDataset', log=str(tmp_path / 'seen.txt')),
        sampler=dict(type='DefaultSampler'),
    )
    path = toy(tmp_path, [8], **options)
    assert load_tool('train')([path]) == 0
    number, checkpoint = len(seen(tmp_path)), (tmp_path / 'run' / 'last_checkpoint').read_text()
    assert load_tool('test')([path, checkpoint]) == 0
    assert len(seen(tmp_path)) == number + SAMPLES
    assert load_tool('test')([toy(tmp_path, [16], **options), checkpoint]) == 1
    assert 'test: extractor (Identity) has strides (16,)' in capsys.readouterr().err
    assert len(seen(tmp_path)) == number + SAMPLES


@pytest.mark.parametrize('custom_hooks', [None, [dict(type='EMAHook')]])
def test_the_hook_joins_those_of_the_config(tmp_path, fast_runner, custom_hooks):
    cfg = launch.read_config(toy(tmp_path, [8, 16], custom_hooks=custom_hooks))
    launch.prepare_training(cfg)
    hooks = launch.build_runner(cfg).hooks
    assert sum(isinstance(hook, CheckStridesHook) for hook in hooks) == 1
    assert sum(type(hook).__name__ == 'EMAHook' for hook in hooks) == len(custom_hooks or [])


def test_a_part_that_the_config_vouches_for(tmp_path, fast_runner, capsys):
    hook = dict(type='CheckStridesHook', ignore=['extractor'])
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1), strides=hook)
    assert load_tool('train')([toy(tmp_path, [4, 8], default_hooks=hooks)]) == 0
    option = 'default_hooks.strides.ignore=other'
    assert load_tool('train')([toy(tmp_path, [4, 8], default_hooks=hooks), '--cfg-options', option]) == 1
    assert "ignore=['extractor']" in capsys.readouterr().err
