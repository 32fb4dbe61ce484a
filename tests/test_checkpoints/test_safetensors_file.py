"""Weights as safetensors: what comes back, and who reads them."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, load_checkpoint
from tiny_models import ARCH, crate, images
from toy_runs import load_tool

from projects.crate.checkpoints import read_checkpoint, save_safetensors
from projects.crate.errors import UserError
from projects.crate.models import CRATE


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as mmengine writes it: (path, its content)."""
    weights = {f'backbone.{name}': value for name, value in crate().state_dict().items()}
    weights['count'] = torch.tensor(7)
    folder = repr(str(tmp_path))
    cfg = f"model = dict(init_cfg=[dict(checkpoint={folder})], type='CRATE')\nwork_dir = {folder}\n"
    meta = dict(cfg=cfg, experiment_name='crate_20260102_030405', epoch=0, iter=1750, seed=3)
    content = dict(meta=dict(meta, time='now'), state_dict=weights, optimizer=dict(state={}), message_hub={})
    torch.save(content, tmp_path / 'iter_1750.pth')
    return tmp_path / 'iter_1750.pth', content


def publish(trained, *arguments):
    path = trained[0].with_suffix('.safetensors')
    assert load_tool('model_converters/publish_model')([str(trained[0]), str(path), *arguments]) == 0
    return path


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32'])
def test_weights_come_back_in_the_type_that_was_asked_for(trained, dtype):
    found = read_checkpoint(str(publish(trained, '--dtype', dtype)))
    assert found['state_dict'].keys() == trained[1]['state_dict'].keys()
    for name, value in trained[1]['state_dict'].items():
        expected = value.to(getattr(torch, dtype)) if value.is_floating_point() else value
        assert found['state_dict'][name].dtype == expected.dtype
        assert torch.equal(found['state_dict'][name], expected)


def test_the_config_of_the_model_is_kept_and_optimiser_and_folders_are_not(trained, tmp_path):
    path = publish(trained)
    found = read_checkpoint(str(path))
    assert found.keys() == {'meta', 'state_dict'}
    meta = {key: value for key, value in trained[1]['meta'].items() if key != 'time'}
    assert found['meta'] == dict(meta, cfg="model = dict(type='CRATE')\n")
    assert str(tmp_path).encode() not in path.read_bytes()


def test_the_classes_are_kept_for_the_libraries(trained):
    path, content = trained
    content['meta']['dataset_meta'] = dict(classes=('cat', 'dog'), palette=[(1, 2, 3), (4, 5, 6)], from_file='a')
    torch.save(content, path)
    meta = CheckpointLoader.load_checkpoint(str(publish(trained)))['meta']
    assert meta['dataset_meta'] == dict(classes=['cat', 'dog'], palette=[[1, 2, 3], [4, 5, 6]])


def test_unknown_classes_are_not_guessed_by_the_libraries(trained):
    """mmdet takes COCO's where the key is missing, and mmseg fails."""
    assert CheckpointLoader.load_checkpoint(str(publish(trained)))['meta']['dataset_meta'] == {}


def test_a_config_that_would_have_to_be_executed_is_left_out(trained, capsys):
    path, content = trained
    content['meta']['cfg'] = 'model = __import__("os").getcwd()'
    torch.save(content, path)
    assert 'cfg' not in read_checkpoint(str(publish(trained)))['meta']
    assert 'more than plain values, so it is left out' in capsys.readouterr().err


def test_half_precision_is_half_as_large(trained):
    sizes = [publish(trained, '--dtype', dtype).stat().st_size for dtype in ('float16', 'float32')]
    numbers = sum(value.numel() for value in trained[1]['state_dict'].values())
    assert sizes[1] - sizes[0] == pytest.approx(2 * numbers, rel=0.01)


def test_others_may_read_it_as_any_file(trained, tmp_path):
    (tmp_path / 'plain').touch()
    assert publish(trained).stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_mmengine_reads_it(trained):
    path = str(publish(trained, '--dtype', 'float32'))

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = crate()

        def forward(self, inputs):
            return self.backbone(inputs)

    model = Model()
    load_checkpoint(model, path, map_location='cpu')
    backbone = CRATE(
        arch=ARCH,
        img_size=(8, 12),
        patch_size=4,
        init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'),
    )
    backbone.init_weights()
    for filled in (model.backbone, backbone):
        for name, value in filled.state_dict().items():
            assert torch.equal(value, trained[1]['state_dict'][f'backbone.{name}'])
    pictures = images()
    assert torch.equal(model.backbone(pictures)[0], backbone(pictures)[0])


def test_the_report_finds_its_config(trained):
    from projects.crate.study.checkpoint_model import read_model

    backbone = dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4)
    text = Config(dict(model=dict(type='ImageClassifier', backbone=backbone))).pretty_text
    trained[1]['meta']['cfg'] = text
    path = trained[0].with_suffix('.safetensors')
    save_safetensors(trained[1]['state_dict'], trained[1]['meta'], path)
    model = read_model(path, 'ours')
    assert model.config.model.backbone.arch == ARCH
    assert (model.config_name, model.training) == ('crate', '1,750 iterations')


def test_a_damaged_file_is_named_in_one_line(trained, capsys):
    path = publish(trained)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r'cannot read the checkpoint .*iter_1750\.safetensors') as caught:
        read_checkpoint(str(path))
    assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match='not found'):
        read_checkpoint(str(path.with_name('gone.safetensors')))


VALUES = {
    'cannot hold: take --dtype bfloat16 or float32': 70000.0,
    'holds NaN or infinity': torch.nan,
    'NaN or infinity': -torch.inf,
    'numbers up to 1e-12, which float16 cannot hold': 1e-12,  # all of them would become 0
}


@pytest.mark.parametrize('message', VALUES)
def test_values_that_cannot_be_published_are_named(trained, message, capsys):
    path, content = trained
    bias = content['state_dict']['backbone.ln1.bias'].zero_()
    bias[3] = VALUES[message]
    torch.save(content, path)
    published = path.with_suffix('.safetensors')
    tool = load_tool('model_converters/publish_model')
    assert tool([str(path), str(published)]) == 1
    assert re.fullmatch(f'publish_model: .*backbone.ln1.bias .*{message}.*\n', capsys.readouterr().err)
    assert not published.exists()
    if VALUES[message] == 70000:
        assert publish(trained, '--dtype', 'bfloat16').exists()


WITHOUT = [{}, dict(epoch=3), dict(steps=torch.arange(3), mask=torch.ones(2, dtype=torch.bool)), dict(a=torch.ones(0))]


@pytest.mark.parametrize('weights', WITHOUT, ids=str)
def test_a_file_without_weights_is_not_published(tmp_path, weights, capsys):
    torch.save(dict(meta={}, state_dict=weights), tmp_path / 'empty.pth')
    tool = load_tool('model_converters/publish_model')
    assert tool([str(tmp_path / 'empty.pth'), str(tmp_path / 'empty.safetensors')]) == 1
    assert re.search('empty.pth holds no weights by name|there are no weights, which', capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ['empty.pth']


def test_weights_that_share_memory_and_weights_alone_are_published(tmp_path):
    shared = torch.arange(6.0)
    torch.save(dict(a=shared, b=shared[::2]), tmp_path / 'a.pth')
    tool = load_tool('model_converters/publish_model')
    assert tool([str(tmp_path / 'a.pth'), str(tmp_path / 'a.safetensors'), '--dtype', 'float32']) == 0
    found = read_checkpoint(str(tmp_path / 'a.safetensors'))['state_dict']
    assert torch.equal(found['a'], shared) and torch.equal(found['b'], shared[::2])


def test_what_cannot_be_published_is_named(tmp_path, capsys):
    """Numbers of 8 bits become larger ones; complex numbers and what is no tensor are left out."""
    small = torch.tensor([0.5, 2.0]).to(torch.float8_e4m3fn)
    torch.save(dict(a=small, b=torch.ones(2, dtype=torch.complex64), c=5), tmp_path / 'weights.pth')
    publish((tmp_path / 'weights.pth',))
    assert 'left out, no tensors of real numbers: b, c' in capsys.readouterr().err
    found = read_checkpoint(str(tmp_path / 'weights.safetensors'))['state_dict']
    assert found.keys() == {'a'} and found['a'].tolist() == [0.5, 2.0]


ODD = [dict(dataset_meta=each) for each in (5, torch.zeros(2), dict(classes=5, palette=5), dict(palette=[5, ['a']]))]
ODD += [dict(cfg=torch.zeros(2)), dict(cfg=5), dict(experiment_name=torch.zeros(2))]


@pytest.mark.parametrize('meta', ['text', [1], *ODD, dict(seed=torch.tensor(1), epoch=dict(a=1), iter=5)])
def test_what_is_no_plain_value_of_the_training_is_left_out(tmp_path, meta):
    source, target = tmp_path / 'weights.pth', tmp_path / 'weights.safetensors'
    torch.save(dict(meta=meta, state_dict=dict(a=torch.ones(2))), source)
    publish((source,))
    assert read_checkpoint(str(target))['meta'] == (dict(iter=5) if 'iter' in meta else {})


def test_the_suffix_must_be_that_of_safetensors(trained, tmp_path, capsys):
    with pytest.raises(SystemExit):
        load_tool('model_converters/publish_model')([str(trained[0]), str(tmp_path / 'model.pth')])
    assert 'must end in .safetensors' in capsys.readouterr().err
