"""Multiply-adds against hand arithmetic, in the notation of the layers: N tokens, width d, K heads."""

import pytest
import torch
from config_tree import ROOT, load
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from torch import nn
from torch.autograd import Function

from projects.crate.engine.launch import read_config
from projects.crate.errors import UserError
from projects.crate.study import complexity
from projects.crate.study.complexity import build, default_size, measure, measure_config

D, CLASSES = 24, 5
DEVICES = ['meta', 'cpu']


def classifier(size=(8, 12), num_layers=2, **options):
    """Patches of 4 x 4: 2 x 3 of them, and [CLS], which is alone in what follows the last projection."""
    arch = dict(embed_dims=D, num_heads=3, num_layers=num_layers)
    backbone = dict(type='CRATE', arch=arch, img_size=size, patch_size=4, **options)
    head = dict(type='LinearClsHead', num_classes=CLASSES, in_channels=D)
    model = dict(type='ImageClassifier', backbone=backbone, head=head)
    return Config(dict(default_scope='mmpretrain', model=model), cfg_text='toy', filename='toy.py')


def stock(name, *options):
    library, _, path = name.partition('::')
    spec = pytest.importorskip(library)
    return read_config(f'{spec.__path__[0]}/.mim/configs/{path}.py', options)


def count(cfg, size, device):
    return measure(build(cfg, device), size, device)


def macs(result):
    return {part.name: part.macs for part in result.parts}


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(
    ('attn', 'projection', 'attended'),
    [
        ('MSSA', D * D, 2 * 7 * D),  # U; scores and their products with W
        ('MHSA', 3 * D * D, 2 * 7 * D),
        ('TSSA', D * D, D),  # a weighted mean of squares per head
    ],
)
def test_attention(attn, projection, attended, device):
    result = macs(count(classifier(attn_cfg=dict(type=attn)), (8, 12), device))
    assert result['backbone.layers.0.attn'] == 7 * (projection + attended + D * D)
    rows = 7 if attn == 'TSSA' else 1  # its mean is over all tokens
    assert result['backbone.layers.1.attn'] == 7 * projection + rows * attended + D * D


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(
    ('ffn', 'expected'),
    [
        ('ISTA', D * D),  # x H
        ('MLP', 2 * D * 4 * D),
        ('ODL', 4 * D * 4 * D),  # D^T x, D a, D^T of the error, D1 a
    ],
)
def test_feed_forward(ffn, expected, device):
    result = macs(count(classifier(ffn_cfg=dict(type=ffn)), (8, 12), device))
    assert result['backbone.layers.0.ffn'] == 7 * expected
    assert result['backbone.layers.1.ffn'] == expected
    assert result['backbone.layers.0'] == result['backbone.layers.0.attn'] + 7 * expected


@pytest.mark.parametrize('device', DEVICES)
def test_windows_cost_the_pairs_that_attend(device):
    """A grid of 5 x 7 in windows of 2 x 3: heights 2, 2, 1 and widths 3, 3, 1; every patch also attends to [CLS]."""
    cfg = classifier((20, 28), window_size=(2, 3), global_attn_indexes=[])
    patches = [height * width for height in (2, 2, 1) for width in (3, 3, 1)]
    assert sum(patches) == 35
    pairs = sum(tokens * (1 + tokens) for tokens in patches) + 36  # [CLS] attends to all 36
    assert pairs == 242
    assert macs(count(cfg, (20, 28), device))['backbone.layers.0.attn'] == 36 * D * D + 2 * pairs * D + 36 * D * D


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('kind', ['linear', 'conv'])
def test_embedding_and_head_of_an_image_that_patches_do_not_divide(kind, device):
    """An image of 7 x 14 has 2 x 4 patches."""
    result = macs(count(classifier(patch_embed=kind), (7, 14), device))
    assert result['backbone.patch_embed'] == 8 * (4 * 4 * 3) * D
    assert result['head'] == D * CLASSES
    assert result[''] == result['backbone'] + result['head']


def test_crate_base_by_closed_formula():
    """N = 197, d = 768, L = 12; the paper's Table 1 says 22.80 M parameters (arXiv 2306.01129)."""
    result = measure_config(load(ROOT / 'configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py'), (224, 224))
    n, d = 197, 768
    last = (n + 2) * d * d + 2 * n * d  # U of all tokens, the rest of [CLS] alone
    assert result.parts[0].macs == 196 * d * d + 11 * (3 * n * d * d + 2 * n * n * d) + last + 1000 * d
    assert round(result.parts[0].parameters / 1e6, 2) == 22.80
    assert result.device == 'meta'
    assert not result.uncounted and not result.idle


def test_vit_base_of_mmpretrain_by_closed_formula():
    """17.6 GMACs and 86.57 M parameters."""
    result = measure_config(stock('mmpretrain::vision_transformer/vit-base-p16_32xb128-mae_in1k'), (224, 224))
    n, d = 197, 768
    assert result.parts[0].macs == 196 * d * d + 12 * (12 * n * d * d + 2 * n * n * d) + 1000 * d
    assert round(result.parts[0].macs / 1e9, 1) == 17.6
    assert result.parts[0].parameters == 86_567_656


def test_frozen_weights_are_not_trainable():
    result = measure_config(classifier(num_layers=3, frozen_stages=1), (8, 12))
    parts = {part.name: part for part in result.parts}
    assert parts['backbone.layers.0'].trainable == 0 < parts['backbone.layers.0'].parameters
    assert parts['backbone.layers.1'].trainable == parts['backbone.layers.1'].parameters
    assert parts[''].trainable == sum(parts[name].trainable for name in ('backbone', 'head'))


def test_a_detector_of_two_stages_runs_on_the_cpu_and_names_what_has_no_formula():
    options = ['model.backbone.depth=18', 'model.test_cfg.rpn.max_per_img=5']
    cfg = stock('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco', *options)
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    result = measure_config(cfg, (40, 64))
    assert result.size == (64, 64)  # padded to a multiple of 32
    assert result.device == 'cpu'
    assert result.uncounted == ['NMSop', 'RoIAlignFunction']
    boxes, masked = result.regions
    assert 0 < boxes <= 5 and masked == boxes
    counted = macs(result)
    assert counted['roi_head.bbox_head'] == boxes * (256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * (81 + 320))
    convs, upsample, logits = 4 * 14 * 14 * 256 * 9 * 256, 14 * 14 * 256 * 4 * 256, 28 * 28 * 256 * 80
    assert counted['roi_head.mask_head'] == masked * (convs + upsample + logits)
    assert counted[''] == sum(counted[name] for name in ('backbone', 'neck', 'rpn_head', 'roi_head'))
    assert result == measure_config(cfg, (40, 64))


def test_a_segmentor_and_its_head_that_only_trains():
    cfg = stock('mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512')
    assert default_size(cfg) == ((512, 512), 'data_preprocessor.size')
    result = measure_config(cfg, (32, 64))
    assert result.device == 'meta' and result.idle == ['auxiliary_head']
    model = build(cfg, 'cpu').eval()
    oracle = FlopAnalyzer(model.backbone, torch.zeros(1, 3, 32, 64))
    oracle.tracer_warnings('none').unsupported_ops_warnings(False)
    assert macs(result)['backbone'] == oracle.by_operator()['conv']


def test_heads_that_are_run_by_forward_have_their_cost():
    """As mmdet's single-stage detectors do: ``self.bbox_head.forward(x)``."""
    model = stock('mmdet::retinanet/retinanet_r50_fpn_1x_coco', 'model.backbone.depth=18').model
    model.neck.in_channels = [64, 128, 256, 512]
    result = macs(measure_config(Config(dict(model=model, default_scope='mmdet')), (128, 128)))
    positions = 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1
    assert result['bbox_head'] == positions * 9 * 256 * (8 * 256 + 9 * 80 + 9 * 4)
    assert result[''] == result['backbone'] + result['neck'] + result['bbox_head']


def test_a_module_that_is_called_within_another_counts_once():
    """As DINO's decoder calls branches of its head."""
    model = build(classifier(), 'meta')
    backbone, fc = model.backbone.forward, model.head.fc
    model.backbone.forward = lambda images: (fc(backbone(images)[0]) @ fc.weight,)
    result, before = macs(measure(model, (8, 12), 'meta')), macs(measure_config(classifier(), (8, 12)))
    assert result['head'] == 2 * D * CLASSES
    assert result['backbone'] == before['backbone'] + CLASSES * D
    assert result[''] == result['backbone'] + result['head']


class Twice(Function):
    """An operator that torch does not see into."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x


class Opaque(nn.Module):
    def forward(self, x):
        grid = torch.zeros(1, 2, 2, 2, device=x.device)
        return nn.functional.grid_sample(Twice.apply(x), grid, align_corners=False)


@pytest.mark.parametrize('device', DEVICES)
def test_operators_without_a_formula_are_named(device):
    model = build(classifier(), device)
    model.backbone.patch_embed = nn.Sequential(Opaque(), Opaque())
    model.backbone.forward = lambda images: (model.backbone.patch_embed(images).flatten(1)[:, :1].expand(-1, D),)
    result = measure(model, (8, 12), device)
    assert result.uncounted == ['Twice', 'aten::grid_sampler_2d']
    assert 'NOT COUNTED, no formula: Twice, aten::grid_sampler_2d.' in complexity.notes(result)


def test_no_hook_stays():
    hooks = nn.modules.module._global_forward_pre_hooks, nn.modules.module._global_forward_hooks
    before = [len(group) for group in hooks]
    measure_config(classifier(), (8, 12))
    assert [len(group) for group in hooks] == before


@pytest.mark.parametrize(
    ('cfg', 'expected'),
    [
        (dict(model=dict(test_cfg=dict(mode='slide', crop_size=(3, 4)))), ((3, 4), 'model.test_cfg.crop_size')),
        (dict(data_preprocessor=dict(size=(3, 4)), test_dataloader={}), ((3, 4), 'data_preprocessor.size')),
        (
            dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='mmdet.Resize', scale=(1333, 800))]))),
            ((800, 1333), 'Resize.scale of test_dataloader'),
        ),
        (
            dict(
                val_dataloader=dict(
                    dataset=dict(
                        dataset=dict(
                            pipeline=[
                                dict(type='ResizeEdge', scale=256),
                                dict(type='CenterCrop', crop_size=224),
                                dict(type='Resize', scale_factor=2),
                            ]
                        )
                    )
                )
            ),
            ((224, 224), 'CenterCrop.crop_size of val_dataloader'),
        ),
    ],
)
def test_the_size_that_a_config_is_made_for(cfg, expected):
    assert default_size(Config(cfg)) == expected


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r'toy.py: the config fixes no size of images; give one with --size H W'):
        default_size(classifier())
    with pytest.raises(UserError, match=r'toy.py: the config has no model'):
        measure_config(Config({}, cfg_text='toy', filename='toy.py'), (8, 12))
    with pytest.raises(UserError, match=r'toy.py: an image of 8 x 12: .*out_type'):
        measure_config(classifier(out_type='nonsense'), (8, 12))
