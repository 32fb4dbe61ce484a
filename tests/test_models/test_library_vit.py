"""Pretrained ViTs of timm and transformers: local folders, normalisation, names that cannot be loaded."""

import json

import pytest
import torch

from projects.crate.errors import UserError
from projects.crate.models import MaskCutDetector, load_vit

SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=32)


@pytest.fixture
def folder(tmp_path):
    transformers = pytest.importorskip('transformers')
    model = transformers.Dinov2Model(transformers.Dinov2Config(**SIZES, patch_size=8))
    model.save_pretrained(tmp_path / 'vit')
    return tmp_path / 'vit', model.eval()


def test_a_folder_of_transformers(folder):
    path, model = folder
    vit = load_vit(str(path))
    images = torch.randn(2, 3, 24, 32)
    assert torch.equal(MaskCutDetector(vit.module)(images), MaskCutDetector(model)(images))
    assert vit.mean == pytest.approx([123.675, 116.28, 103.53])
    digest = vit.sha256
    assert digest == load_vit(str(path)).sha256
    with torch.no_grad():
        vit.module.layernorm.bias[3] += 1
    assert vit.sha256 != digest
    path.joinpath('preprocessor_config.json').write_text(json.dumps(dict(image_mean=[0.5] * 3, image_std=[0.2] * 3)))
    assert (load_vit(str(path)).mean, load_vit(str(path)).std) == ([127.5] * 3, [51.0] * 3)


def test_a_folder_of_timm(tmp_path):
    timm = pytest.importorskip('timm')
    sizes = dict(embed_dim=24, depth=2, num_heads=3, num_classes=0)
    model = timm.create_model('vit_small_patch14_reg4_dinov2', **sizes)
    timm.models.save_for_hf(model, tmp_path, model_args=sizes)
    vit = load_vit(str(tmp_path))
    assert vit.module.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in vit.module.state_dict().items())
    assert MaskCutDetector(vit.module)(torch.randn(1, 3, 42, 50)).shape == (1, 3, 3, 4)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('nothing', 'no such folder, and not a name of the form timm/NAME, hf/NAME'),
        ('hf/', 'not a name of the form'),
        ('timm/vit_of_nobody', 'cannot be loaded: Unknown model'),
    ],
)
def test_names_that_cannot_be_loaded(name, message):
    if name.startswith('timm'):
        pytest.importorskip('timm')
    with pytest.raises(UserError, match=f'^--backbone {name}: .*{message}') as error:
        load_vit(name)
    assert '\n' not in str(error.value)


def test_a_folder_without_a_config(tmp_path):
    with pytest.raises(UserError, match=r'config\.json cannot be read'):
        load_vit(str(tmp_path))
    tmp_path.joinpath('config.json').write_text('{"model_type": "vit_of_nobody"}')
    with pytest.raises(UserError, match='cannot be loaded|pip install') as error:
        load_vit(str(tmp_path))
    assert '\n' not in str(error.value)
