"""tools/benchmark.py input: which transform costs what, and who waits for whom."""

import json
import time

import pytest
import torch
from config_tree import ROOT
from mmengine.dataset import BaseDataset, RepeatDataset
from toy_runs import config, load_tool

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.errors import UserError
from tools.bench import training_input as module

CONFIG = ROOT / 'configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py'


class Numbers(BaseDataset):
    """0 to 9; the second transform takes ten times as long as the first."""

    def load_data_list(self):
        return [dict(value=value) for value in range(10)]


class Sleep:
    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, results):
        time.sleep(self.seconds)
        return results


class LongSleep(Sleep):
    pass


@pytest.mark.parametrize('wrap', [lambda dataset: dataset, lambda dataset: RepeatDataset(dataset, 2)])
def test_every_transform_is_timed(wrap):
    dataset = Numbers(pipeline=[Sleep(0.002), LongSleep(0.02)])
    (first, short), (second, long) = module.time_transforms(wrap(dataset), number=4)
    assert (first, second) == ('Sleep', 'LongSleep')
    assert short >= 0.002 and long >= 0.02


def test_what_has_no_transforms_is_named():
    with pytest.raises(UserError, match='TensorDataset has no pipeline of transforms'):
        module.time_transforms(torch.utils.data.TensorDataset(torch.zeros(3)), number=1)


@pytest.mark.parametrize(
    ('model', 'workers', 'verdict'),
    [
        (0.05, 0, 'needs 1 workers. The config has 0: the model is the bottleneck'),
        (0.004, 2, 'needs 5 workers. The config has 2: the transforms are the bottleneck'),
        (0.004, 5, 'needs 5 workers. The config has 5: the model is the bottleneck'),
    ],
)
def test_who_waits(model, workers, verdict):
    found = dict(transforms=[('Load', 0.016), ('Flip', 0.004)], model=model, batch_size=8, num_workers=workers)
    text = module.report(found)
    assert verdict in text
    assert 'A worker gives 50 images/s' in text
    assert ['Load', '16.00'] in [line.split() for line in text.splitlines()]


def test_the_command(tmp_path, capsys, monkeypatch):
    make_sample_set(tmp_path / 'sample', 'imagenet', SampleSpec(16, 8), workers=1)
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    output = tmp_path / 'out.json'
    words = [CONFIG, '--images', 3, '--repeats', 1, '--json', output, '--cfg-options', 'train_dataloader.batch_size=2']
    assert load_tool('benchmark')(['input', *map(str, words)]) == 0
    found = json.loads(output.read_text())
    assert [name for name, _ in found['transforms']][0] == 'LoadImageOrSkip'
    assert found['batch_size'] == 2 and found['model'] > 0
    assert f'The config has {found["num_workers"]}' in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
    tool = load_tool('benchmark')
    assert tool(['input', str(config(tmp_path, train_dataloader=None))]) == 1
    assert 'the config has no train_dataloader' in capsys.readouterr().err
    assert tool(['input', str(tmp_path / 'none.py')]) == 1
    assert capsys.readouterr().err == f'benchmark: config not found: {tmp_path}/none.py\n'
