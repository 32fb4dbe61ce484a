"""Exported files against the host library's own inference, by the real command."""

import pytest
import torch
import toy_observer as toy
from mmengine.config import Config
from mmengine.registry import MODELS
from toy_runs import load_tool

from projects.crate.checkpoints import fill, read_weights
from projects.crate.models import MaskCutDetector, observe


@pytest.fixture
def export():
    return lambda *arguments: load_tool('export')([str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    head = {'head.fc.weight': torch.randn(2, toy.ARCH['embed_dims'])}
    return toy.config(tmp_path), toy.checkpoint(tmp_path / 'model.pth', **head)


def host_model(config, checkpoint):
    cfg = Config.fromfile(config)
    scope = {'_scope_': 'mmpretrain', 'data_preprocessor': cfg.data_preprocessor}
    model = MODELS.build({**cfg.model, **scope}).eval()
    fill(model, read_weights(str(checkpoint)))
    return model


def photographs(num, height=8, width=12):
    return torch.randint(256, (num, 3, height, width), dtype=torch.uint8)


def host_inputs(model, photos):
    """BGR bytes, as OpenMMLab's transforms load them."""
    return model.data_preprocessor(dict(inputs=photos.flip(1)))['inputs']


@torch.no_grad()
def test_logits_are_those_of_the_library(tmp_path, files, export, capsys):
    out = tmp_path / 'new' / 'model.pt2'
    assert export(*files, out, '--size', 8, 12) == 0
    assert f'{out}: image of 8 x 12; largest difference from the model: ' in capsys.readouterr().out
    model, run = host_model(*files), torch.export.load(out).module()
    for num in (1, 5):
        photos = photographs(num)
        torch.testing.assert_close(run(photos.float())[0], model(host_inputs(model, photos)), rtol=1e-4, atol=1e-4)
    assert [path.name for path in out.parent.iterdir()] == ['model.pt2']


@torch.no_grad()
def test_features_of_maskcut_for_other_sizes(tmp_path, files, export):
    out = tmp_path / 'model.pt2'
    assert export(*files, out, '--size', 16, 20, '--output', 'maskcut', '--dynamic', 'batch,size') == 0
    model, photos = host_model(*files), photographs(3, 10, 17)
    with observe(model.backbone, [-1]) as seen:
        model.backbone(host_inputs(model, photos))
    (features,) = torch.export.load(out).module()(photos.float())
    torch.testing.assert_close(features.mT, seen[-1].patch_features, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_maskcut_features_follow_the_config(tmp_path, export):
    """Another facet, several layers: they are what the detector of the same config cuts."""
    settings = dict(layer=[0, 2], facet='value', centred=True)
    vit = toy.backbone('VisionTransformer')
    vit.eval()  # returns None
    checkpoint, out = toy.checkpoint(tmp_path / 'vit.pth', vit), tmp_path / 'model.pt2'
    config = toy.config(tmp_path, model=dict(type='MaskCutDetector', backbone=toy.VIT, **settings))
    assert export(config, checkpoint, out, '--size', 16, 16) == 0
    photos = photographs(2, 16, 16).float()
    mean, std = (torch.tensor(each)[:, None, None] for each in (toy.MEAN, toy.STD))
    expected = MaskCutDetector(vit, **settings).features((photos - mean) / std)
    torch.testing.assert_close(torch.export.load(out).module()(photos)[0], expected, rtol=1e-4, atol=1e-4)
    assert export(config, checkpoint, out, '--size', 16, 16, '--cfg-options', 'model.layer=x') == 1


@pytest.mark.slow
@torch.no_grad()
def test_onnx_file_of_the_tool(tmp_path, files, export):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    out = tmp_path / 'model.onnx'
    assert export(*files, out, '--size', 8, 12) == 0
    model, photos = host_model(*files), photographs(3)
    (logits,) = onnxruntime.InferenceSession(str(out)).run(None, {'image': photos.float().numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(host_inputs(model, photos)), rtol=1e-4, atol=1e-4)


def test_one_line_for_a_wrong_name_and_for_windows(tmp_path, files, export, capsys):
    assert export(*files, tmp_path / 'model.pt', '--size', 8, 12) == 1
    windows = ['model.backbone.window_size=1', 'model.backbone.global_attn_indexes=[0]']
    out = tmp_path / 'model.pt2'
    assert export(*files, out, '--size', 8, 12, '--dynamic', 'batch,size', '--cfg-options', *windows) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith('model.pt: the name ends in .onnx or .pt2')
    assert 'window_size needs a fixed image size' in second
    assert not out.exists() and not [*tmp_path.glob('.*')]


def test_a_wrong_file_is_not_kept(tmp_path, files, export, capsys, monkeypatch):
    from projects.crate.study import export as module

    monkeypatch.setattr(module, '_runner', lambda *_: lambda image: (torch.zeros(len(image), 2),))
    out = tmp_path / 'model.pt2'
    assert export(*files, out, '--size', 8, 12) == 1
    assert 'not written: outputs differ' in capsys.readouterr().err
    assert not out.exists()


def test_one_result_for_all_images_is_wrong(tmp_path, files, export, capsys, monkeypatch):
    from projects.crate.study import export as module

    runner = module._runner
    monkeypatch.setattr(module, '_runner', lambda *file: lambda image: runner(*file)(image[:1]))
    out = tmp_path / 'model.pt2'
    assert export(*files, out, '--size', 8, 12) == 1
    assert 'not written: outputs differ by inf' in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize('value', [float('nan'), 3e38])
def test_every_output_must_be_finite(tmp_path, files, export, capsys, value):
    """The first of two layers is right."""
    config, checkpoint = files
    content = torch.load(checkpoint)
    content['state_dict']['backbone.layers.2.ffn.weight'].fill_(value)
    torch.save(content, checkpoint)
    out = tmp_path / 'model.pt2'
    options = ['backbone.out_type=featmap', 'backbone.out_indices=[0,2]']
    words = ['--size', 8, 12, '--output', 'backbone', '--cfg-options', *(f'model.{option}' for option in options)]
    assert export(config, checkpoint, out, *words) == 1
    assert 'not written: outputs differ by nan' in capsys.readouterr().err and not out.exists()


def test_help_tells_the_choices_of_dynamic_apart(export, capsys):
    with pytest.raises(SystemExit):
        export('--help')
    assert '--dynamic batch|batch,size' in capsys.readouterr().out
