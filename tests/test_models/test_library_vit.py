"""Pretrained ViTs of timm and transformers: local folders, normalisation, names that cannot be loaded."""

import json

import pytest
import torch

from projects.crate.errors import UserError
from projects.crate.models import MaskCutDetector, load_vit, observe
from projects.crate.models.features import choose_facet
from projects.crate.models.library_vit import NAMES

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
        ('nothing', 'no such folder, and none of dino-small, .* timm/NAME, hf/NAME'),
        ('hf/', 'none of dino-small, '),
        ('torchhub/dinov2', 'cannot be loaded: torchhub/OWNER/REPO/NAME'),
        ('timm/vit_of_nobody', 'cannot be loaded: Unknown model'),
    ],
)
def test_names_that_cannot_be_loaded(name, message):
    if name.startswith('timm'):
        pytest.importorskip('timm')
    with pytest.raises(UserError, match=f'^backbone {name}: .*{message}') as error:
        load_vit(name)
    assert '\n' not in str(error.value)


def test_a_folder_without_a_config(tmp_path):
    with pytest.raises(UserError, match=r'config\.json cannot be read'):
        load_vit(str(tmp_path))
    tmp_path.joinpath('config.json').write_text('{"model_type": "vit_of_nobody"}')
    with pytest.raises(UserError, match='cannot be loaded|pip install') as error:
        load_vit(str(tmp_path))
    assert '\n' not in str(error.value)


def test_short_names_are_pretrained_models_of_timm():
    timm = pytest.importorskip('timm')
    for name in NAMES.values():
        library, _, model = name.partition('/')
        assert library == 'timm' and timm.models.get_pretrained_cfg(model) is not None, name


# What facebookresearch/dinov2 has, as far as it is read: modules of these names, registers after [CLS]
HUB = """
import sys, types
import torch
from torch import nn

dependencies = ['torch']

class LayerScale(nn.Module):
    def forward(self, x):
        return 0.5 * x

class MemEffAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_heads, self.scale = 3, 8**-0.5
        self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

    def forward(self, x, attn_bias=None):
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 3, 8).permute(2, 0, 3, 1, 4)
        self.map = (q @ k.mT * self.scale).softmax(-1)
        return self.proj((self.map @ v).transpose(1, 2).reshape(b, n, 24))

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn, self.ls1 = MemEffAttention(), LayerScale()

    def forward(self, x):
        return x + self.ls1(self.attn(x))

class PatchEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch_size, self.proj = (8, 8), nn.Conv2d(3, 24, 8, 8)

    def forward(self, x):
        return self.proj(x).flatten(2).mT

class DinoVisionTransformer(nn.Module):
    __module__ = 'dinov2.models.vision_transformer'

    def __init__(self):
        super().__init__()
        self.patch_embed, self.num_register_tokens = PatchEmbed(), 4
        self.cls_token = nn.Parameter(torch.randn(1, 1, 24))
        self.register_tokens = nn.Parameter(torch.randn(1, 4, 24))
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, x):
        x = torch.cat([self.cls_token, self.register_tokens, self.patch_embed(x)], 1)
        for block in self.blocks:
            x = block(x)
        return x[:, 0]

def toy(pretrained=True):
    return DinoVisionTransformer()
"""


def test_a_repository_that_torch_hub_has_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    (tmp_path / 'owner_repo_main').mkdir()
    (tmp_path / 'owner_repo_main' / 'hubconf.py').write_text(HUB)
    vit = load_vit('torchhub/owner/repo:main/toy').module
    assert choose_facet(vit, None) == 'value'
    with torch.no_grad(), observe(vit, [-1]) as seen:
        vit(torch.randn(1, 3, 24, 32))
    torch.testing.assert_close(seen[-1].attention(), vit.blocks[-1].attn.map)
    assert seen[-1].cls_attention().shape == (1, 3, 12)
    assert MaskCutDetector(vit)(torch.randn(1, 3, 20, 30)).shape == (1, 3, 3, 4)
    with pytest.raises(UserError, match='backbone torchhub/owner/repo:main/other: it cannot be loaded: Cannot find'):
        load_vit('torchhub/owner/repo:main/other')
