"""What a run of mmpretrain has saved, in detectors and segmentors; and what is said where it does not fit."""

import pytest
import torch
from toy_dense import ARCH, classifier, detector, make_data, segmentor, write
from toy_runs import forget_runs, load, load_tool

pytestmark = pytest.mark.usefixtures('fast_runner')

WEIGHTS = 42  # 4 layers of 8, patch embedding 6, [CLS], positions, final norm 2


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def checkpoint(data):
    """Saved by a Runner with a classifier of mmpretrain."""
    assert train(write(data, classifier(data))) == 0
    return (data / 'run/last_checkpoint').read_text()


def train(path):
    forget_runs()
    return load_tool('train')([str(path)])


def from_checkpoint(build, data, checkpoint, prefix='backbone.', **changes):
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix=prefix)
    return build(data, init_cfg=init_cfg, **changes)


MISFIT = "{checkpoint} does not fit the model CRATE under prefix 'backbone.': "


@pytest.mark.parametrize('build', [detector, segmentor])
def test_a_classifier_starts_a_dense_model(tmp_path, data, checkpoint, build, capfd):
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.0))  # what it starts from is what it ends with
    path = write(tmp_path, from_checkpoint(build, data, checkpoint), optim_wrapper=optim_wrapper)
    assert train(path) == 0
    line = f"CRATE: all {WEIGHTS} weights loaded from {checkpoint}, prefix 'backbone.'; 2 others of the file"
    assert capfd.readouterr().out.count(line) == 1
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert log.read_text().count(line) == 1
    wanted, found = (load(file)['state_dict'] for file in (checkpoint, tmp_path / 'run/iter_1.pth'))
    names = [name for name in wanted if name.startswith('backbone.')]
    assert len(names) == WEIGHTS
    assert all(torch.equal(found[name], wanted[name]) for name in names)


@pytest.mark.parametrize('build', [detector, segmentor])
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch={**ARCH, 'embed_dims': 32}), MISFIT + '40 weights of other shapes: cls_token'),
        (dict(arch={**ARCH, 'num_layers': 5}, global_attn_indexes=[4]), '8 weights (layers.4.'),
        (dict(patch_size=4), MISFIT + '3 weights of other shapes: patch_embed.'),
        (dict(prefix=None), "prefix='backbone.' is where the file has such names"),
        (dict(prefix='student.backbone.'), "prefix='backbone.' is where the file has such names"),
        (dict(checkpoint='nowhere/crate.pth'), 'nowhere/crate.pth'),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, data, checkpoint, build, changes, message, capfd):
    cfg = from_checkpoint(build, data, **{'checkpoint': checkpoint, **changes})
    path = write(tmp_path, cfg)
    capfd.readouterr()
    assert train(path) == 1
    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith('train: '))
    assert message.format(checkpoint=checkpoint) in line
    assert not list((tmp_path / 'run').glob('*.pth'))
