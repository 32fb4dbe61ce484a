"""A backbone inside the wrappers of others: LoRA, torch.compile, activation checkpointing, parallel wrappers."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from tiny_models import ARCH, build, classifier, images
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from projects.crate.checkpoints import CheckpointError, fill, weights_of
from projects.crate.engine.model_parts import find_module, find_part
from projects.crate.errors import UserError
from projects.crate.models import CRATE
from projects.crate.models.attention_segmentor import AttentionSegmentor
from projects.crate.models.maskcut_detector import MaskCutDetector
from projects.crate.models.observe import check_layers, observe
from projects.crate.models.simple_fpn import SimpleFPN, StridesError, check_strides
from projects.crate.models.unwrap import plain_linear, unwrap
from projects.crate.study.observer import Observer

BACKBONES = {
    'CRATE': dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4),
    'ViT': dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4, attn_cfg=dict(type='MHSA')),
    "mmpretrain's ViT": dict(
        type='VisionTransformer', arch={**ARCH, 'feedforward_channels': 96}, img_size=(8, 12), patch_size=4
    ),
}
RATE, LR = 0.5, 1e-3


def lora_cfg(backbone, *targets):
    return dict(type='LoRAModel', module=backbone, rank=4, alpha=8, targets=[dict(type=name) for name in targets])


def adapted(backbone):
    """LoRA around a backbone, after some training; and a plain backbone with the products merged into its weights."""
    lora = build('mmpretrain', lora_cfg(backbone, 'qkv', 'proj'))
    with torch.no_grad():
        for name, parameter in lora.named_parameters():
            if 'lora_up' in name:
                nn.init.normal_(parameter, std=0.3)
    merged = build('mmpretrain', backbone)
    weights = dict(lora.module.named_parameters())
    with torch.no_grad():
        for name, parameter in merged.named_parameters():
            stem, _, kind = name.rpartition('.')
            original = weights.get(f'{stem}.original_layer.{kind}', weights.get(name))
            parameter.copy_(original)
            if kind == 'weight' and f'{stem}.lora_up.weight' in weights:
                up, down = weights[f'{stem}.lora_up.weight'], weights[f'{stem}.lora_down.weight']
                parameter.add_(up @ down * 2)  # alpha / rank
    lora.eval()
    merged.eval()
    return lora, merged


def compiled(backbone):
    return torch.compile(backbone, backend='aot_eager')


WRAPPERS = {'DDP': nn.DataParallel, 'torch.compile': compiled, 'checkpoint': checkpoint_wrapper}


@pytest.fixture(autouse=True)
def fresh():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize('backbone', BACKBONES.values(), ids=BACKBONES)
def test_what_is_observed_is_what_merged_weights_would_give(backbone):
    lora, merged = adapted(backbone)
    x = images()
    with torch.no_grad(), observe(lora, [1, -1], outputs=True) as seen, observe(merged, [1, -1], outputs=True) as other:
        torch.testing.assert_close(lora(x), merged(x), rtol=1e-4, atol=1e-4)
    for layer in (1, -1):
        for part in ('features', 'patch_features', 'output'):
            torch.testing.assert_close(
                getattr(seen[layer], part),
                getattr(other[layer], part),
                rtol=1e-5,
                atol=1e-5 if part != 'output' else 1e-4,
            )
        torch.testing.assert_close(seen[layer].cls_attention(), other[layer].cls_attention(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('wrapper', [None, *WRAPPERS])
def test_measurements_of_a_wrapped_backbone(wrapper):
    lora, merged = adapted(BACKBONES['CRATE'])
    wrapped = WRAPPERS[wrapper](lora) if wrapper else lora
    x = images()
    assert unwrap(wrapped) is lora.module
    assert unwrap(merged) is merged
    wrapped(x)  # torch.compile does not look for hooks that come after its first call
    assert torch.equal(MaskCutDetector(wrapped)(x), MaskCutDetector(merged)(x))
    maps, expected = (AttentionSegmentor(each, layers='all')(x) for each in (wrapped, merged))
    assert maps.keys() == {0, 1, 2}
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6)
    picture = [(torch.rand(8, 12, 3) * 255).byte().numpy()]
    seen, other = (Observer(each).observe(picture, [1]) for each in (wrapped, merged))
    torch.testing.assert_close(seen[1].features, other[1].features, rtol=1e-4, atol=1e-4)


def test_the_weights_of_a_detector_stay_under_their_names():
    lora, _ = adapted(BACKBONES['CRATE'])
    names = {f'backbone.{name}' for name, _ in lora.named_parameters()}
    assert {name for name, _ in MaskCutDetector(lora).named_parameters()} == names


def test_adapters_without_their_base_are_refused():
    """mmpretrain saves the adapters alone; a measurement with a random base has numbers, too."""
    lora, _ = adapted(BACKBONES['CRATE'])
    model = nn.ModuleDict(dict(backbone=lora))
    saved = weights_of(model.state_dict(), 'a.pth')
    with pytest.raises(CheckpointError, match=r'34 weights \(backbone\.module\.cls_token, .*missing'):
        fill(model, saved)
    kept = fill(model, saved, optional=['backbone.module']).kept  # load_from_except
    assert len(kept) == 34
    lora.module.init_cfg = dict(type='Pretrained', checkpoint='base.pth')
    assert fill(model, saved).tensors.keys() == {name for name in saved.tensors if 'lora_' in name}
    lora.module.init_cfg = None
    whole = {name: value.detach() for name, value in model.named_parameters()}
    assert fill(model, weights_of(whole, 'b.pth')).kept == []


def test_parts_are_found_through_wrappers_and_by_their_names():
    model = classifier(lora_cfg(BACKBONES['CRATE'], 'qkv'), 24)
    lora = model.backbone
    assert find_module(model, 'backbone') is lora.module
    assert find_part(model, 'backbone', 'parts') is lora
    assert find_module(model, 'backbone.module') is lora.module
    assert find_module(nn.DataParallel(model), 'backbone.layers') is lora.module.layers
    assert find_module(compiled(model), 'backbone.layers') is lora.module.layers


def test_an_adapter_that_hides_its_linear_is_refused():
    backbone = build('mmpretrain', BACKBONES['CRATE'])
    backbone.layers[1].attn.qkv = nn.Sequential(nn.Linear(24, 24))
    assert plain_linear(backbone.layers[1].attn.qkv) is None
    with pytest.raises(TypeError, match='the attention MSSA of layer 1 is not what'):
        check_layers(backbone, [0])


def test_strides_are_checked_within_a_wrapper():
    model = nn.ModuleDict(
        dict(backbone=nn.DataParallel(build('mmpretrain', BACKBONES['CRATE'])), neck=SimpleFPN(24, 8))
    )
    with pytest.raises(StridesError, match='in_stride=16'):
        check_strides(model)


def scales(model, constructor='LayerDecayOptimWrapperConstructor', **paramwise):
    cfg = dict(
        constructor=constructor,
        optimizer=dict(type='SGD', lr=LR),
        paramwise_cfg=dict(layer_decay_rate=RATE, **paramwise),
    )
    wrapper = build_optim_wrapper(model, cfg)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(group['params'][0])]: group['lr'] / LR for group in wrapper.optimizer.param_groups}


@pytest.mark.parametrize('backbone', BACKBONES.values(), ids=BACKBONES)
def test_layer_decay_with_lora(backbone):
    found = scales(classifier(lora_cfg(backbone, 'qkv', 'patch_embed.projection'), 24))
    assert len([name for name in found if '.lora_' in name]) >= 6
    for name, scale in found.items():
        depth = int(name.split('.layers.')[1][0]) + 1 if '.layers.' in name else 0 if 'patch_embed' in name else 4
        assert scale == RATE ** (4 - depth), name


def test_layer_decay_with_lora_around_the_whole_model():
    inner = dict(
        type='ImageClassifier',
        backbone=BACKBONES['CRATE'],
        head=dict(type='LinearClsHead', num_classes=5, in_channels=24),
    )
    found = scales(build('mmpretrain', lora_cfg(inner, 'qkv')))
    assert sorted(found.values()) == [0.125, 0.125, 0.25, 0.25, 0.5, 0.5]


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_layer_decay_of_a_wrapped_backbone_is_that_of_the_backbone(wrapper):
    model = classifier(BACKBONES['CRATE'], 24)
    expected = scales(model)
    depths = {id(parameter): name for name, parameter in model.named_parameters()}
    model.backbone = WRAPPERS[wrapper](model.backbone)
    found = scales(model)
    for name, parameter in model.named_parameters():
        assert found[name] == expected[depths[id(parameter)]], name
    assert list(scales(compiled(model)).values()) == list(found.values())


def test_layer_decay_with_the_constructor_of_mmpretrain():
    model = classifier(lora_cfg(BACKBONES['CRATE'], 'qkv'), 24)
    depth, num_depths = model.get_layer_depth('backbone.module.layers.1.attn.qkv.lora_up.weight')
    assert (depth, num_depths) == (2, 5)


def test_layer_decay_that_finds_no_layer_is_refused():
    class Renamed(CRATE):
        def get_layer_depth(self, param_name, prefix=''):
            return super().get_layer_depth(param_name.replace('backbone', 'body'), prefix)

    model = classifier(BACKBONES['CRATE'], 24)
    model.backbone = Renamed(arch=ARCH, img_size=(8, 12), patch_size=4)
    with pytest.raises(UserError, match='Renamed finds none of its layers'):
        scales(model)
