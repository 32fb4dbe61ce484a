"""What a run of mmpretrain has saved, in detectors and segmentors; and what is said where it does not fit."""

import pytest
import torch
from mmengine.registry import MODELS
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


# A stock backbone, the width of its last map, and the weight that stands for a layer that the file lacks.
STOCK = {
    'mmdet.ResNet': (dict(depth=18, base_channels=4), 32, 'layer4.1.conv2.weight'),
    'mmpretrain.VisionTransformer': (
        dict(
            arch=dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8),
            img_size=(48, 64),
            patch_size=8,
            out_type='featmap',
        ),
        8,
        'layers.0.attn.qkv.weight',
    ),
    'mmdet.SwinTransformer': (  # it reads the file itself, the weights under 'backbone.'
        dict(embed_dims=4, depths=(1, 1), num_heads=(1, 1), strides=(4, 2), out_indices=(1,), window_size=3),
        8,
        'stages.1.blocks.0.ffn.layers.1.weight',
    ),
}


@pytest.fixture(params=STOCK)
def stock(request, tmp_path, data):
    """A segmentor with a stock backbone, from a file; the weights of that backbone; its layer."""
    arguments, width, layer = STOCK[request.param]
    cfg = dict(type=request.param, **arguments)
    prefix = 'backbone.' * ('Swin' in request.param)
    weights = {f'{prefix}{name}': value for name, value in MODELS.build(cfg).state_dict().items()}

    def train_from(content):
        torch.save(content, tmp_path / 'weights.pth')
        init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
        model = segmentor(data)
        model['model']['backbone'] = dict(cfg, init_cfg=init_cfg)
        model['model']['decode_head'].update(in_channels=width, in_index=-1)
        return train(write(tmp_path, model, optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0))))

    return train_from, weights, f'{prefix}{layer}'


def in_model(name):
    return f'backbone.{name.removeprefix("backbone.")}'


@pytest.mark.parametrize('misfit', ['other names', 'other shapes'])
def test_a_stock_backbone_that_takes_nothing_from_its_file_is_one_line(stock, tmp_path, misfit, capfd):
    train_from, weights, _ = stock
    content = {
        'other names': lambda: {f'student.{name}': value for name, value in weights.items()},
        'other shapes': lambda: {name: torch.cat([value, value]) for name, value in weights.items() if value.ndim},
    }[misfit]()
    assert train_from(content) == 1
    error = capfd.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith('train: ')]
    assert str(tmp_path / 'weights.pth') in line
    assert 'Traceback' not in error
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_stock_backbone_starts_from_a_file_that_fits_in_part(stock, tmp_path, capfd):
    train_from, weights, layer = stock
    content = {name: value for name, value in weights.items() if name != layer}
    assert train_from({**content, 'head.fc.weight': torch.ones(2, 3)}) == 0
    assert f'1 weights ({layer.removeprefix("backbone.")}) of ' in capfd.readouterr().out
    found = load(tmp_path / 'run/iter_1.pth')['state_dict']
    learnt = [name for name in content if 'weight' in name and content[name].ndim > 1]
    assert all(torch.equal(found[in_model(name)], content[name]) for name in learnt)


def test_a_stock_backbone_starts_from_known_wrappers(stock, tmp_path, capfd):
    train_from, weights, layer = stock
    assert train_from(dict(teacher={f'_orig_mod.{name}': value for name, value in weights.items()})) == 0
    assert "names without '_orig_mod.'" in capfd.readouterr().out
    assert torch.equal(load(tmp_path / 'run/iter_1.pth')['state_dict'][in_model(layer)], weights[layer])
