import math
from importlib import import_module
from pathlib import Path

import mmdet
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from mmcv.ops import RoIAlign
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from tiny_models import ARCH, build, images

from projects.crate.models import CRATE, SimpleFPN
from projects.crate.models.simple_fpn import LARGEST_IMAGE, LayerNorm2d, StridesError, agree, check_strides

CONFIGS = Path(mmdet.__file__).parent / '.mim' / 'configs'
MASK_RCNN, RETINANET, DINO = (4, 8, 16, 32, 64), (8, 16, 32, 64, 128), (8, 16, 32, 64)


def pyramid(dim=8, out_channels=6, **options):
    """Weights of the norms are not those of the start."""
    neck = SimpleFPN(dim, out_channels, **options).double()
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return neck


def layer_norm(x, weight, bias):
    """detectron2's LayerNorm for maps, by its formula."""
    x = x - x.mean(1, keepdim=True)
    x = x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return weight[:, None, None] * x + bias[:, None, None]


def reference_level(weights, x, scale):
    """A level of detectron2's SimpleFeaturePyramid (its build, ``modeling/backbone/vit.py``), as functions."""
    weights = iter(weights)

    def take(number):
        return [next(weights) for _ in range(number)]

    while scale > 1:
        x = F.conv_transpose2d(x, *take(2), stride=2)
        scale /= 2
        if scale > 1:
            x = F.gelu(layer_norm(x, *take(2)))
    if scale < 1:
        x = F.max_pool2d(x, kernel_size=int(1 / scale), stride=int(1 / scale), ceil_mode=True)
    x = layer_norm(F.conv2d(x, *take(1)), *take(2))
    x = layer_norm(F.conv2d(x, *take(1), padding=1), *take(2))
    assert next(weights, None) is None
    return x


def reference(neck, x, in_stride, out_strides):
    levels = {}
    convolved = [stride for stride in out_strides if stride <= 32]
    for stride, level in zip(convolved, neck.levels, strict=True):
        levels[stride] = reference_level(level.parameters(), x, in_stride / stride)
    last = convolved[-1]
    while last < out_strides[-1]:  # detectron2's LastLevelMaxPool, once more for each doubling
        levels[2 * last] = F.max_pool2d(levels[last], kernel_size=1, stride=2, padding=0)
        last *= 2
    return [levels[stride] for stride in out_strides]


@pytest.mark.parametrize('in_stride', [4, 8, 16, 32])
@pytest.mark.parametrize(
    'out_strides', [(4, 8, 16, 32, 64, 128), MASK_RCNN, RETINANET, DINO, (16,), (8, 64), (32, 128)]
)
def test_levels_are_those_of_the_reference(in_stride, out_strides):
    neck = pyramid(in_stride=in_stride, out_strides=out_strides)
    x = torch.randn(2, 8, 5, 3, dtype=torch.float64)
    outputs = neck([torch.zeros_like(x), x])  # the last map is read
    assert len(outputs) == len(out_strides)
    torch.testing.assert_close(list(outputs), reference(neck, x, in_stride, out_strides), atol=1e-9, rtol=1e-9)


@given(
    in_stride=st.sampled_from([4, 8, 16, 32]),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    first=st.integers(0, 3),
    number=st.integers(1, 6),
)
@torch.no_grad()
def test_sizes_are_those_of_the_strides(in_stride, grid, first, number):
    """ceil(H / stride) for images that the patch divides: what heads expect of the padded image."""
    out_strides = tuple(4 * 2 ** (first + index) for index in range(number))
    outputs = pyramid(in_stride=in_stride, out_strides=out_strides)([torch.randn(1, 8, *grid, dtype=torch.float64)])
    expected = [tuple(-(-side * in_stride // stride) for side in grid) for stride in out_strides]
    assert [tuple(output.shape) for output in outputs] == [(1, 6, *size) for size in expected]


def test_defaults_are_those_of_mask_rcnn_on_patches_of_16():
    neck = SimpleFPN(16)
    assert neck.out_strides == MASK_RCNN
    outputs = neck(CRATE(arch={**ARCH, 'embed_dims': 16, 'num_heads': 2}, out_type='featmap')(images(48, 80)))
    assert [output.shape[1:] for output in outputs] == [
        (256, 12, 20), (256, 6, 10), (256, 3, 5), (256, 2, 3), (256, 1, 2)
    ]  # fmt: skip


def test_every_weight_learns():
    neck = SimpleFPN(8, 6, in_stride=16, out_strides=[4, 8, 16, 32, 64])
    outputs = neck([torch.randn(2, 8, 3, 5)])
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
        # no weight stays where it started: a bias in front of a norm would
        assert not (name.endswith('bias') and isinstance(neck.get_submodule(name.rsplit('.', 1)[0]), torch.nn.Conv2d))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(out_strides=(8, 4)), r'out_strides=\(8, 4\) must ascend'),
        (dict(out_strides=(4, 4, 8)), r'out_strides=\(4, 4, 8\) must ascend'),
        (dict(out_strides=(4, 12)), r'out_strides=\(4, 12\) .*in_stride=16 times a power of 2'),
        (dict(in_stride=14), r'out_strides=\(4, 8, 16, 32, 64\) .*in_stride=14 times a power of 2'),
        (dict(out_strides=()), r'out_strides=\(\) must begin at 32 or less'),
        (dict(out_strides=(64, 128)), r'out_strides=\(64, 128\) must begin at 32 or less'),
    ],
)
def test_strides_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=f'^SimpleFPN: {message}'):
        SimpleFPN(8, **options)


def test_patches_of_14():
    neck = pyramid(in_stride=14, out_strides=(7, 14, 28, 56))
    outputs = neck([torch.randn(1, 8, 4, 6, dtype=torch.float64)])
    assert [output.shape[2:] for output in outputs] == [(8, 12), (4, 6), (2, 3), (1, 2)]


@pytest.mark.parametrize('library', ['mmengine', 'mmdet', 'mmseg', 'mmpretrain'])
def test_every_registry_builds_it(library):
    registry = MODELS if library == 'mmengine' else import_module(f'{library}.registry').MODELS
    names = ['SimpleFPN'] if library == 'mmengine' else ['SimpleFPN', f'{library}.SimpleFPN']
    for name in names:
        init_cfg = dict(type='Constant', layer='Conv2d', val=0.5)
        neck = registry.build(dict(type=name, in_channels=8, out_channels=6, out_strides=[8, 16], init_cfg=init_cfg))
        assert type(neck) is SimpleFPN
        neck.init_weights()
        assert (neck.levels[0][1].weight == 0.5).all()


def test_layer_norm_over_channels():
    norm, x = LayerNorm2d(6), torch.randn(2, 6, 3, 5)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = F.layer_norm(x.movedim(1, -1), (6,), norm.weight, norm.bias).movedim(-1, 1)
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x), layer_norm(x, norm.weight, norm.bias))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_heads_find_the_norm_by_its_name_and_mmpretrain_its_own(library):
    with DefaultScope.overwrite_default_scope(library):
        block = ConvModule(3, 6, 1, norm_cfg=dict(type='LN2d', requires_grad=True))
    assert type(block.norm).__module__.split('.')[0] == ('mmpretrain' if library == 'mmpretrain' else 'projects')
    assert block.norm.eps == 1e-5
    assert block.conv.bias is None  # it is a norm to mmcv
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(block(x), layer_norm(block.conv(x), block.norm.weight, block.norm.bias).relu())


def test_heads_of_mask_rcnn_take_the_norm():
    """ViTDet's: four convolutions, each with this norm."""
    norm = dict(type='LN2d')
    box = build('mmdet', dict(type='Shared4Conv1FCBBoxHead', in_channels=8, conv_out_channels=8, num_classes=2,
                              fc_out_channels=8, roi_feat_size=7, norm_cfg=norm))  # fmt: skip
    mask = build('mmdet', dict(type='FCNMaskHead', in_channels=8, conv_out_channels=8, num_classes=2, norm_cfg=norm))
    for head in (box, mask):
        assert sum(isinstance(module, LayerNorm2d) for module in head.modules()) == 4
    scores, boxes = box(torch.randn(3, 8, 7, 7))
    assert (scores.shape, boxes.shape) == ((3, 3), (3, 8))
    assert mask(torch.randn(3, 8, 14, 14)).shape == (3, 2, 28, 28)


# stock configs of mmdet, with the strides that their heads are told
STOCK = {
    'retinanet/retinanet_r50_fpn_1x_coco.py': RETINANET,
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': RETINANET,
    'atss/atss_r50_fpn_1x_coco.py': RETINANET,
    'tood/tood_r50_fpn_1x_coco.py': RETINANET,
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py': RETINANET,
    'yolact/yolact_r50_1xb8-55e_coco.py': RETINANET,
    'rpn/rpn_r50_fpn_1x_coco.py': MASK_RCNN,
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': MASK_RCNN,
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': MASK_RCNN,
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py': MASK_RCNN,
    'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py': MASK_RCNN,
    'htc/htc_r50_fpn_1x_coco.py': MASK_RCNN,
    'dyhead/atss_r50_fpn_dyhead_1x_coco.py': RETINANET,
    'dino/dino-4scale_r50_8xb2-12e_coco.py': DINO,
}
YOLACT = (7.97, 15.71, 30.56, 61.11, 110.0)  # 550 / ceil(550 / stride)
# heads that are told no strides
FREE = ('dino/dino-4scale_r50_8xb2-12e_coco.py',)


def stock_config(config):
    cfg = Config.fromfile(CONFIGS / config).model
    cfg.pop('init_cfg', None)
    cfg.backbone.pop('init_cfg', None)
    return cfg


def without_memory(cfg):
    """On the meta device: strides are all that counts."""
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
        return build('mmdet', cfg)


def stock_model(config, out_strides, patch_size=16):
    """A stock model with another backbone and neck."""
    cfg = stock_config(config)
    cfg.backbone = dict(type='CRATE', arch=ARCH, img_size=32, patch_size=patch_size, out_type='featmap')
    neck = dict(type='SimpleFPN', in_channels=24, out_strides=out_strides)
    cfg.neck = [neck, *cfg.neck[1:]] if isinstance(cfg.neck, list) else neck
    return without_memory(cfg)


@given(size=st.integers(128, LARGEST_IMAGE), levels=st.integers(1, 5), shift=st.sampled_from([-2, -1, 1, 2]))
def test_strides_of_one_image_size_agree_with_their_levels_alone(size, levels, shift):
    have = RETINANET[:levels]
    wanted = [size / math.ceil(size / stride) for stride in have]
    assert agree(wanted, have)
    assert not agree(wanted, [stride * 2.0**shift for stride in have])
    assert not agree(wanted, (*have, 256))


def test_strides_that_no_image_size_has():
    """Patches of 14 pixels in place of 16, 20 in place of 16; and two levels of different sizes."""
    assert not agree((4, 8, 16, 32), (3.5, 7, 14, 28))
    assert not agree((4, 8, 16, 32), (5, 10, 20, 40))
    assert not agree((7.97, 15.0), (8, 16))


def test_parts_that_the_user_vouches_for():
    detector = stock_model('retinanet/retinanet_r50_fpn_1x_coco.py', MASK_RCNN)
    check_strides(detector, ignore=['bbox_head'])
    for other in ('bbox', 'bbox_head.prior_generator', 'neck'):
        with pytest.raises(StridesError, match=r"ignore=\['bbox_head'\]"):
            check_strides(detector, ignore=[other])


@pytest.mark.parametrize('config', STOCK)
def test_stock_heads_with_the_strides_they_were_told(config):
    check_strides(stock_model(config, STOCK[config]))


@pytest.mark.parametrize('config', [config for config in STOCK if config not in FREE])
def test_stock_heads_with_other_strides(config):
    told = STOCK[config]
    gives = {RETINANET: MASK_RCNN, MASK_RCNN: RETINANET}[told]
    with pytest.raises(StridesError) as caught:
        check_strides(stock_model(config, gives))
    message = str(caught.value)
    assert message.startswith(('bbox_head (', 'rpn_head ('))
    assert str(YOLACT if config.startswith('yolact') else told) in message
    assert str(gives) in message
    assert 'out_strides' in message
    assert '\n' not in message


def test_a_level_too_few_or_too_many():
    for config, gives in [
        ('retinanet/retinanet_r50_fpn_1x_coco.py', (*RETINANET, 256)),
        ('retinanet/retinanet_r50_fpn_1x_coco.py', RETINANET[:-1]),
        ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', MASK_RCNN[:-1]),
    ]:
        with pytest.raises(StridesError, match=r'_head \('):
            check_strides(stock_model(config, gives))


def test_roi_extractors_are_checked_without_a_dense_head():
    """Fast R-CNN has none; an extractor reads the first levels."""
    config = 'fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py'
    check_strides(stock_model(config, MASK_RCNN))
    check_strides(stock_model(config, MASK_RCNN[:-1]))
    for gives in (RETINANET, MASK_RCNN[:-2]):
        with pytest.raises(StridesError, match=r'^roi_head.bbox_roi_extractor .*\(4, 8, 16, 32\)'):
            check_strides(stock_model(config, gives))


def test_necks_of_others_are_not_judged():
    cfg = stock_config('retinanet/retinanet_r50_fpn_1x_coco.py')
    cfg.bbox_head.anchor_generator.strides = [4, 8, 16, 32, 64]
    check_strides(without_memory(cfg))
    check_strides(CRATE(arch=ARCH))


def test_a_detector_within_another_model_is_checked():
    """A teacher and its student, a wrapper for test-time augmentation."""
    detector = stock_model('retinanet/retinanet_r50_fpn_1x_coco.py', MASK_RCNN)
    with pytest.raises(StridesError, match=r'^student.bbox_head \(RetinaHead\)'):
        check_strides(torch.nn.ModuleDict(dict(student=detector)))


@pytest.mark.parametrize('patch_size', [8, (16, 8)])
def test_the_patches_are_those_the_pyramid_was_told(patch_size):
    """in_stride is 16 by default: with patches of 8 every level would have half the stride it says."""
    with pytest.raises(StridesError, match=r'in_stride=16.*patch_size'):
        check_strides(stock_model('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', MASK_RCNN, patch_size))


def test_roi_align_reads_what_the_maps_say():
    """mmcv's RoIAlign ignores strides: maps in another memory format are read scrambled, and nothing fails."""
    torch.manual_seed(0)
    backbone = CRATE(arch=ARCH, img_size=(16, 24), patch_size=8, out_type='featmap')
    (featmap,) = backbone(torch.randn(2, 3, 32, 48))
    pyramid = SimpleFPN(24, 8, in_stride=8)((featmap,))
    assert all(level.is_contiguous() for level in (featmap, *pyramid))
    rois = torch.tensor([[0, 3.0, 5, 40, 30], [1, 0, 0, 20, 28]])
    ours = RoIAlign(7, 1 / 4)(pyramid[0], rois)
    theirs = torchvision.ops.roi_align(pyramid[0], rois, 7, 1 / 4, sampling_ratio=-1, aligned=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_layer_norm_keeps_the_memory_format(memory_format):
    x = torch.randn(2, 6, 3, 5).contiguous(memory_format=memory_format)
    assert LayerNorm2d(6)(x).is_contiguous(memory_format=memory_format)
