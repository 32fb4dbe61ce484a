"""The frozen ViT of a detector: its map, its weights, and the features that it keeps."""

import pytest
import torch
from mmengine.registry import MODELS

from projects.crate.models import CRATE
from projects.crate.study.discovery import frozen_backbone

SETTINGS = dict(arch=dict(embed_dims=16, num_heads=2, num_layers=2), img_size=32, patch_size=8)


def build(**options):
    return MODELS.build(dict(type='FrozenViT', backbone=dict(type='CRATE', **SETTINGS), **options))


def test_map_is_that_of_the_layers():
    """Against a CRATE that gives maps itself, without its last norm: 24 x 40 pixels are 3 x 5 patches."""
    model, images = build(layers=(0, -1)), torch.randn(2, 3, 24, 40)
    plain = CRATE(**SETTINGS, out_type='featmap', out_indices=(0, 1), final_norm=False)
    plain.load_state_dict(model.backbone.state_dict(), strict=False)
    (found,) = model(images)
    with torch.no_grad():
        parts = plain.eval()(images)
    expected = torch.cat(
        [(part - part.mean(1, True)) / (part.var(1, correction=0, keepdim=True) + 1e-5).sqrt() for part in parts], 1
    )
    assert found.shape == (2, 32, 3, 5)
    torch.testing.assert_close(found, expected)


def test_nothing_is_trained():
    model = build().train()
    assert not any(part.training for part in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model(torch.randn(1, 3, 16, 16, requires_grad=True))[0].requires_grad


def test_kept_features_are_those_computed():
    model, plain, images = build(cache=2), build(), torch.randn(4, 3, 16, 16)
    plain.load_state_dict(model.state_dict())
    calls = []
    model.backbone.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    for batch in ([0, 1], [1, 0], [1, 2], [3, 3], [0]):
        torch.testing.assert_close(model(images[batch])[0], plain(images[batch])[0])
    assert calls == [2, 1, 2, 1]  # of images that were not the last two; one twice in a batch is computed twice


def test_weights_of_another_library_stay(tmp_path):
    timm = pytest.importorskip('timm')
    vit = timm.create_model('vit_small_patch14_dinov2', embed_dim=24, depth=2, num_heads=3, num_classes=0)
    timm.models.save_for_hf(vit, tmp_path, model_args=dict(embed_dim=24, depth=2, num_heads=3, num_classes=0))
    settings = frozen_backbone(str(tmp_path), None, None)
    assert settings['neck'] == dict(in_channels=24, in_stride=14, out_strides=[7, 14, 28, 56, 112])
    backbone = dict(settings['backbone']['backbone'])
    assert backbone.pop('_delete_')
    model = MODELS.build(dict(type='FrozenViT', backbone=backbone))
    model.init_weights()  # which timm's model has, too
    assert all(torch.equal(value, vit.state_dict()[key]) for key, value in model.backbone.state_dict().items())


def test_a_negative_cache():
    with pytest.raises(ValueError, match='cache must be 0'):
        build(cache=-1)
