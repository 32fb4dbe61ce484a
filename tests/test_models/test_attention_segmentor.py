import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_models import ARCH, build, classifier

from projects.crate.models import AttentionSegmentor

SIZE = (8, 12)
CRATE_CFG = dict(type='CRATE', arch=ARCH, img_size=SIZE, patch_size=4)
VIT_CFG = dict(
    type='mmpretrain.VisionTransformer', arch={**ARCH, 'feedforward_channels': 96}, img_size=SIZE, patch_size=4
)
NORMALISE = dict(type='ImgDataPreprocessor', mean=[120.0, 110, 100], std=[60.0, 50, 40])
BACKBONES = dict(MSSA=CRATE_CFG, MHSA={**CRATE_CFG, 'attn_cfg': dict(type='MHSA')}, ViT=VIT_CFG)


def segmentor(backbone=CRATE_CFG, **options):
    torch.manual_seed(0)
    return AttentionSegmentor(backbone, **options)


def attention_by_hand(backbone, images, layer):
    """softmax(q_cls . k_i / sqrt(p)) over the patches alone, from the tokens that enter the layer; in NumPy."""
    tokens = []
    handle = backbone.layers[layer].ln1.register_forward_hook(lambda *args: tokens.append(args[2]))
    backbone.eval()
    backbone(images)
    handle.remove()
    qkv = backbone.layers[layer].attn.qkv(tokens[0]).detach().double().numpy()
    width, heads = ARCH['embed_dims'], ARCH['num_heads']
    query, key = (qkv, qkv) if qkv.shape[-1] == width else (qkv[..., :width], qkv[..., width : 2 * width])
    found = np.zeros((len(images), heads, qkv.shape[1] - 1))
    for b in range(len(images)):
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            scores = np.exp(key[b, 1:, part] @ query[b, 0, part] / np.sqrt(width / heads))
            found[b, head] = scores / scores.sum()
    return found


@pytest.mark.parametrize('name', BACKBONES)
def test_maps_are_the_attention_of_cls(name):
    model, images = segmentor(BACKBONES[name], layers=[-1, 0]), torch.randn(2, 3, 8, 12)
    maps = model(images)
    assert [*maps] == [2, 0]
    for layer, found in maps.items():
        assert found.shape == (2, ARCH['num_heads'], 2, 3)
        expected = attention_by_hand(model.backbone, images, layer)
        np.testing.assert_allclose(found.flatten(2).numpy(), expected, rtol=1e-4)


@torch.no_grad()
def test_all_layers_come_from_one_pass_that_leaves_nothing_behind():
    model = segmentor(layers='all').train()
    model.backbone.layers[1].eval()
    passes = []
    model.backbone.patch_embed.register_forward_hook(lambda module, *_: passes.append(module.training))
    maps = model(torch.randn(1, 3, 8, 12))
    assert [*maps] == [0, 1, 2] and passes == [False]
    assert [layer.training for layer in model.backbone.layers] == [True, False, True]
    assert not any(layer._forward_hooks or layer.attn.qkv._forward_hooks for layer in model.backbone.layers)


@pytest.mark.parametrize('size', [(8, 12), (6, 10), (13, 9), (16, 24)])
def test_images_of_any_size_are_predicted_with_their_own_tokens(size):
    """A whole test step: channels, normalisation, a grid that may reach beyond the image."""
    model = segmentor(data_preprocessor=NORMALISE, layers='all')
    image = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
    (sample,) = model.test_step(dict(inputs=[image], data_samples=[BaseDataElement(metainfo=dict(img_shape=size))]))
    mean, std = (torch.tensor(NORMALISE[key]).view(3, 1, 1) for key in ('mean', 'std'))
    expected = model(((image - mean) / std)[None])
    assert sample.patch_size == (4, 4)
    for layer, maps in sample.cls_attention.items():
        assert maps.shape == (ARCH['num_heads'], -(-size[0] // 4), -(-size[1] // 4))
        torch.testing.assert_close(maps, expected[layer][0])


def test_the_tokens_of_a_batch_s_padding_are_left_out():
    model, images = segmentor(layers=1), torch.randn(2, 3, 16, 12)
    samples = [BaseDataElement(metainfo=dict(img_shape=shape)) for shape in [(16, 12), (9, 5)]]
    predicted = model(images, samples, mode='predict')
    assert [sample.cls_attention[1].shape[1:] for sample in predicted] == [(4, 3), (3, 2)]
    torch.testing.assert_close(predicted[1].cls_attention[1], model(images)[1][1, :, :3, :2])


def test_weights_of_a_classifier_fit():
    torch.manual_seed(1)
    trained = classifier(CRATE_CFG, ARCH['embed_dims'])
    model = segmentor(layers=0)
    result = model.load_state_dict(trained.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(key.startswith('head.') for key in result.unexpected_keys)


@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet', 'mmseg'])
def test_registered_in(library):
    for name in ('AttentionSegmentor', f'{library}.AttentionSegmentor'):
        assert isinstance(build(library, dict(type=name, backbone=CRATE_CFG)), AttentionSegmentor)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(layers=3), IndexError, 'no layer 3'),
        (dict(layers=[0, -4]), IndexError, 'no layer -4'),
        (dict(layers='all', backbone={**CRATE_CFG, 'out_indices': 1}), IndexError, r'does not run layer 2'),
        (dict(layers='last'), ValueError, "'all'; not 'last'"),
        (dict(layers=[]), ValueError, r'not \[\]'),
        (dict(backbone={**CRATE_CFG, 'with_cls_token': False, 'out_type': 'raw'}), ValueError, 'with_cls_token=False'),
        (dict(backbone=dict(type='mmpretrain.ResNet', depth=18)), TypeError, 'ResNet: its attention cannot be read'),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_built(options, error, message):
    with pytest.raises(error, match=message):
        segmentor(**options)


def test_nan_is_no_map():
    """The rule 'top' would make a mask of it, and a score."""
    model = segmentor(layers=[0, 1])
    torch.nn.init.constant_(model.backbone.layers[1].attn.qkv.weight, torch.nan)
    images = torch.randn(2, 3, 8, 12)
    images[1] = images[0]
    samples = [BaseDataElement(metainfo=dict(img_shape=SIZE, img_path=f'{i}.jpg')) for i in range(2)]
    with pytest.raises(ValueError, match=r'^0.jpg: the attention of layer 1 holds NaN'):
        model(images, samples, mode='predict')


def test_there_is_no_loss():
    with pytest.raises(NotImplementedError, match="not 'loss'"):
        segmentor()(torch.randn(1, 3, 8, 12), mode='loss')
