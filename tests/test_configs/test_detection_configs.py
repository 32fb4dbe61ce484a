"""configs/detection: names against contents, and a step of training and evaluation of every kind."""

import functools
from itertools import pairwise

import pytest
import torch
from config_tree import BACKBONES, DETECTION, DETECTION_NAME, ORIGINS, ROOT, build_without_memory, header, load, parse
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from projects.crate.datasets import METAINFO, SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.models.simple_fpn import LayerNorm2d, check_strides

# name -> folder under $CRATE_DATA
FOLDERS = {'coco': 'coco', 'coco128': 'coco128', 'sample': 'sample/coco'}
DETECTORS = {
    'mask-rcnn': 'MaskRCNN',
    'cascade-mask-rcnn': 'CascadeRCNN',
    'retinanet': 'RetinaNet',
    'dino': 'DINO',
}
STRIDES = {'retinanet': (8, 16, 32, 64, 128), 'dino': (8, 16, 32, 64)}  # the others': 4 to 64
IN_21K = ('crate-emergence-small', 'crate-alpha-base', 'vit-small')
NAMES = {path: parse(DETECTION_NAME, path) for path in DETECTION}
COCO = [path for path, name in NAMES.items() if name['data'] == 'coco']


def paths(condition):
    """The configs whose parsed names fulfil a condition, as parameters of a test."""
    chosen = [path for path, name in NAMES.items() if condition(name)]
    assert chosen
    return pytest.mark.parametrize('path', chosen, ids=lambda path: path.stem)


every_config = paths(lambda name: True)
every_transformer = paths(lambda name: name['backbone'] != 'r50')
every_coco = paths(lambda name: name['data'] == 'coco')
every_lsj = paths(lambda name: name['lsj'])


@functools.cache
def build(path):
    """The model without memory, to look at."""
    return build_without_memory(load(path))


def leaf(stem):
    return ROOT / f'configs/detection/{stem}.py'


def test_every_backbone_in_every_recipe():
    recipes = {(name['detector'], name['lsj'], name['epochs']) for path, name in NAMES.items() if path in COCO}
    two_stage = ('mask-rcnn', 'cascade-mask-rcnn')
    long = [(detector, 'lsj-', epochs) for detector in two_stage for epochs in (100, 36)]
    assert recipes == {*long, *((detector, None, 12) for detector in (*two_stage, 'retinanet', 'dino'))}
    assert len(COCO) == len(recipes) * len(ORIGINS)


@every_config
def test_name_says_model_and_schedule(path):
    name, cfg = NAMES[path], load(path)
    assert cfg.model.type == DETECTORS[name['detector']]
    assert cfg.train_dataloader.batch_size == name['batch']
    assert cfg.auto_scale_lr == dict(base_batch_size=name['gpus'] * name['batch'], enable=True)
    assert cfg.train_cfg.type == 'EpochBasedTrainLoop' and cfg.train_cfg.max_epochs == name['epochs']
    steps = cfg.param_scheduler[-1]
    assert (steps.type, steps.by_epoch, steps.end) == ('MultiStepLR', True, name['epochs'])
    assert all(a < b for a, b in pairwise([0, *steps.milestones, name['epochs']]))


@every_coco
def test_schedule_is_the_recipes(path):
    name, cfg = NAMES[path], load(path)
    *warmup, steps = cfg.param_scheduler
    if name['lsj']:
        assert steps.milestones == [round(0.889 * name['epochs']), round(0.963 * name['epochs'])]
    else:
        assert steps.milestones == ([11] if name['detector'] == 'dino' else [8, 11])
    lengths = [250] if name['lsj'] else [] if name['detector'] == 'dino' else [500]
    assert [(scheduler.type, scheduler.by_epoch, scheduler.end) for scheduler in warmup] == [
        ('LinearLR', False, length) for length in lengths
    ]
    assert cfg.optim_wrapper.type == ('OptimWrapper' if name['detector'] == 'dino' else 'AmpOptimWrapper')
    decay = {'lsj-': 0.1, None: 0.05}[name['lsj']] if name['detector'] != 'dino' else 1e-4
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, decay)
    assert 'momentum' not in optimizer


@every_coco
def test_header_says_machines_and_where_the_weights_come_from(path):
    name, text = NAMES[path], header(path)
    assert f'{path.name} {min(name["gpus"], 8)} ' in text
    assert (f'NNODES={name["gpus"] // 8} ' in text) == (name['gpus'] > 8)
    origin = ORIGINS[name['backbone']]
    assert origin in text
    assert not origin.startswith('configs/') or (ROOT / origin).is_file()


@every_transformer
def test_name_says_backbone_and_what_it_starts_from(path):
    name, cfg = NAMES[path], load(path)
    options, backbone = cfg.model.backbone, build(path).backbone
    assert (backbone.embed_dims, backbone.num_heads, backbone.num_layers) == BACKBONES[name['backbone']]
    assert (options.patch_size, options.out_type) == (name['patch'], 'featmap')
    assert backbone.windowed_layers
    kind, ffn = (type(part).__name__ for part in (backbone.layers[0].attn, backbone.layers[0].ffn))
    family = next(key for key in ('vit', 'crate-alpha', 'crate') if name['backbone'].startswith(key))
    parts = {'vit': ('MHSA', 'MLP'), 'crate-alpha': ('MSSA', 'ODL'), 'crate': ('MSSA', 'ISTA')}
    assert (kind, ffn) == parts[family]
    checkpoint = f'checkpoints/{name["backbone"]}-p{name["patch"]}_{name["pretraining"]}.pth'
    assert options.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')


@every_coco
def test_backbone_has_windows_and_positions_of_the_pretraining(path):
    name, options = NAMES[path], load(path).model.backbone
    assert (options.img_size, options.window_size, options.drop_path_rate) == (224, 14, 0.1)
    assert 'global_attn_indexes' not in options
    assert name['pretraining'] == ('in21k' if name['backbone'] in IN_21K else 'in1k')


@every_transformer
def test_pyramid_fits_backbone_and_heads(path):
    name, cfg = NAMES[path], load(path)
    model = build(path)
    assert cfg.model.neck.type == 'SimpleFPN'
    assert (cfg.model.neck.in_channels, cfg.model.neck.get('in_stride', 16)) == (
        model.backbone.embed_dims,
        name['patch'],
    )
    assert model.neck.out_strides == STRIDES.get(name['detector'], (4, 8, 16, 32, 64))
    check_strides(model)


@every_config
def test_name_says_data_and_size(path):
    name, cfg = NAMES[path], load(path)
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    assert {loader.dataset.data_root for loader in loaders} == {f'data/{FOLDERS[name["data"]]}'}
    resizes = [step for loader in loaders for step in loader.dataset.pipeline if step.type.endswith('Resize')]
    size = (name['width'] or 1333, name['height'] or 800)
    assert [step.scale for step in resizes] == (2 if name['detector'] == 'dino' else 3) * [size]
    labels = 'pseudo' if name['labels'] else 'instances'
    assert cfg.train_dataloader.dataset.ann_file == f'annotations/{labels}_train2017.json'
    assert cfg.val_dataloader == cfg.test_dataloader
    split = 'train' if name['data'] == 'coco128' else 'val'  # what is to be learnt by heart
    assert cfg.val_dataloader.dataset.ann_file == f'annotations/instances_{split}2017.json'
    assert cfg.val_dataloader.dataset.data_prefix == dict(img=f'{split}2017/')
    truth = f'{cfg.val_dataloader.dataset.data_root}/{cfg.val_dataloader.dataset.ann_file}'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == truth


@pytest.mark.parametrize('path', [path for path in DETECTION if '-pseudo' in path.stem], ids=lambda path: path.stem)
def test_pseudo_labels_are_all_that_is_learnt_from(path):
    """One class, no weights from elsewhere; and with nothing to start from, every layer is trained."""
    cfg = load(path)
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == ('ResNet', 50)
    assert cfg.train_dataloader.dataset.metainfo.classes == ('object',)
    assert cfg.val_evaluator.type == 'ClassAgnosticCocoMetric'
    assert cfg.load_from is None and cfg.model.backbone.init_cfg is None
    model = build(path)
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 1
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert f'data/{cfg.train_dataloader.dataset.data_root.removeprefix("data/")}/annotations/pseudo' in header(path)


@every_lsj
def test_large_scale_jitter(path):
    name, cfg = NAMES[path], load(path)
    size = (name['height'], name['width'])
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResize'].ratio_range == (0.1, 2.0) and steps['RandomResize'].keep_ratio
    assert steps['RandomCrop'].crop_size == size
    preprocessor = cfg.model.data_preprocessor
    assert 2 * (preprocessor.pad_size_divisor,) == size and preprocessor.pad_mask
    assert cfg.model.train_cfg.rpn.allowed_border == -1  # no anchor need fit into an image of a tenth


@every_lsj
def test_heads_of_vitdet(path):
    model = build(path)
    assert len(model.rpn_head.rpn_conv) == 2
    heads = model.roi_head.bbox_head, model.roi_head.mask_head
    if NAMES[path]['detector'] == 'mask-rcnn':
        heads = [heads[0]], [heads[1]]
    assert [len(stages) for stages in heads] == 2 * [1 if NAMES[path]['detector'] == 'mask-rcnn' else 3]
    for box_head, mask_head in zip(*heads):
        assert [type(conv.norm) for conv in [*box_head.shared_convs, *mask_head.convs]] == 8 * [LayerNorm2d]
        assert len(box_head.shared_fcs) == 1


@every_coco
def test_learning_rates_and_weight_decays(path):
    """By the depth of a layer, and none on norms, biases and tables; DINO's is mmdet's."""
    name, cfg = NAMES[path], load(path)
    cfg.optim_wrapper.type = 'OptimWrapper'  # mmengine's mixed precision asks for a GPU
    model = build(path)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {names[id(group['params'][0])]: group for group in wrapper.optimizer.param_groups}
    if name['detector'] == 'dino':
        assert {(key.startswith('backbone'), group['lr']) for key, group in groups.items()} == {
            (True, 1e-5),
            (False, 1e-4),
        }
        return
    layers = {key: group['lr'] for key, group in groups.items() if key.startswith('backbone.layers.')}
    assert layers == {key: pytest.approx(1e-4 * 0.7 ** (12 - int(key.split('.')[2]))) for key in layers}
    tables = {'backbone.pos_embed', 'backbone.cls_token'}
    assert all(groups[key]['lr'] == pytest.approx(1e-4 * 0.7**13) for key in tables)
    assert {group['lr'] for key, group in groups.items() if not key.startswith('backbone.')} == {1e-4}
    undecayed = {key for key, group in groups.items() if not group['weight_decay']}
    vectors = {key for key, parameter in model.named_parameters() if parameter.ndim == 1}
    assert undecayed == tables | vectors


def conv(inputs, outputs, size, bias=True):
    return inputs * outputs * size**2 + bias * outputs


def linear(inputs, outputs):
    return conv(inputs, outputs, 1)


def normalised_convs(number):
    """3 x 3 convolutions of 256 channels without bias, a LayerNorm after each."""
    return number * (conv(256, 256, 3, bias=False) + 2 * 256)


def pyramid(width, octaves):
    """SimpleFPN: to the finer by transposed convolutions, each half as wide; then 1 x 1 and 3 x 3, normalised."""
    total = 0
    for octave in octaves:
        up = [conv(width >> step, width >> (step + 1), 2) for step in range(octave)]
        norms = sum(2 * (width >> step) for step in range(1, octave))
        total += sum(up) + norms + conv(width >> max(octave, 0), 256, 1, bias=False) + 2 * 256 + normalised_convs(1)
    return total


VIT_BASE = 85_798_656  # timm's vit_base_patch16_224 without its head
RPN = linear(256, 3) + linear(256, 12)
MASK = conv(256, 256, 2) + linear(256, 80)
BOX = linear(49 * 256, 1024) + linear(1024, 81)
RETINA = 8 * conv(256, 256, 3) + conv(256, 9 * 80, 3) + conv(256, 9 * 4, 3)
VITDET = VIT_BASE + pyramid(768, (2, 1, 0, -1)) + RPN + 2 * conv(256, 256, 3) + normalised_convs(4) + MASK


@pytest.mark.parametrize(
    ('stem', 'expected'),
    {
        'mask-rcnn_vit-base-p16_in1k-pre-16xb4-lsj-step-100e_coco-1024x1024px': (
            VITDET + normalised_convs(4) + BOX + linear(1024, 320)
        ),
        'cascade-mask-rcnn_vit-base-p16_in1k-pre-16xb4-lsj-step-36e_coco-1024x1024px': (
            VITDET + 3 * (normalised_convs(4) + BOX + linear(1024, 4)) + 2 * (normalised_convs(4) + MASK)
        ),
        'mask-rcnn_vit-base-p16_in1k-pre-8xb2-step-12e_coco': (
            VIT_BASE
            + pyramid(768, (2, 1, 0, -1))
            + RPN
            + conv(256, 256, 3)
            + BOX
            + linear(1024, 1024)
            + linear(1024, 320)
            + 4 * conv(256, 256, 3)
            + MASK
        ),
        'retinanet_vit-base-p16_in1k-pre-8xb2-step-12e_coco': VIT_BASE + pyramid(768, (1, 0, -1)) + RETINA,
    }.items(),
)
def test_parameters(stem, expected):
    assert sum(parameter.numel() for parameter in build(leaf(stem)).parameters()) == expected


@paths(lambda name: name['backbone'].startswith('vit-'))
def test_weights_of_the_vit_are_those_of_mmpretrain(path):
    """Names and shapes, so that its checkpoints load; mmpretrain's names for these sizes are DeiT's."""
    arch = NAMES[path]['backbone'].replace('vit', 'deit')
    cfg = dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=224, patch_size=NAMES[path]['patch'])
    with torch.device('meta'):
        theirs = MODELS.build(cfg)
    ours = build(path).backbone
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.layers[0].ln1.eps == theirs.layers[0].ln1.eps  # which weights do not show


# a number of a config -> its stand-in; sizes of images become a sixteenth
SMALL = {
    80: len(METAINFO['classes']),
    256: 16,  # width
    512: 16,  # RoIs
    1000: 16,  # proposals
    1024: 64,  # width, and side of an image
    2000: 16,
    0.05: 0.0,  # scores below it are not looked at
}


def shrink(value, small):
    """The same config with small numbers; lists of numbers (strides, milestones) stay."""
    if isinstance(value, dict):
        return {key: shrink(entry, small) for key, entry in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and min(value) >= 384:
        return tuple(side // 16 for side in value)
    if isinstance(value, list | tuple):
        return [shrink(entry, small) if isinstance(entry, dict | list | tuple) else entry for entry in value]
    return small.get(value, value) if isinstance(value, int | float) else value


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    """A folder with scenes of 48 x 64 in the layout of COCO."""
    folder = tmp_path_factory.mktemp('data')
    make_sample_set(folder, 'coco', SampleSpec(train=8, val=8, size=(48, 64), max_objects=3))
    return folder


@pytest.mark.parametrize(
    'stem',
    [
        'mask-rcnn_crate-emergence-small-p8_in21k-pre-32xb2-lsj-step-100e_coco-1024x1024px',
        'cascade-mask-rcnn_vit-base-p16_in1k-pre-16xb4-lsj-step-36e_coco-1024x1024px',
        'mask-rcnn_crate-alpha-base-p16_in21k-pre-8xb2-step-12e_coco',
        'retinanet_vit-small-p8_in21k-pre-8xb2-step-12e_coco',
        'dino_crate-base-p16_in1k-pre-8xb2-step-12e_coco',
    ],
)
def test_trains_and_is_evaluated(stem, scenes, tmp_path, monkeypatch, fast_runner):
    """Through tools/train.py's own functions, everything smaller; no weight is left without a gradient."""
    monkeypatch.setenv('CRATE_DATA', str(scenes))
    cfg = launch.read_config(str(leaf(stem)), work_dir=str(tmp_path))
    small = SMALL if 'dino' not in stem else {**SMALL, 256: 256}  # of which mmdet's decoder is sure
    for part in ('model', 'train_dataloader', 'val_dataloader'):
        cfg[part] = shrink(cfg[part].to_dict(), small)
    cfg.model.backbone.update(
        arch=dict(embed_dims=16, num_heads=2, num_layers=4), window_size=2, global_attn_indexes=[3], init_cfg=None
    )
    cfg.model.neck.update(in_channels=16, out_channels=small[256])
    if 'dino' in stem:
        cfg.model.num_queries = 40
        cfg.model.encoder.num_layers = cfg.model.decoder.num_layers = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset.metainfo = METAINFO
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.randomness = dict(seed=0)
    launch.prepare_training(cfg)
    runner = launch.build_runner(cfg)
    runner.train()
    logged = runner.message_hub.log_scalars
    assert runner.iter == 2
    assert torch.isfinite(torch.tensor(logged['train/loss'].data[0])).all()
    boxes, masks = (f'val/coco/{kind}_mAP' in logged for kind in ('bbox', 'segm'))
    assert (boxes, masks) == (True, 'mask-rcnn' in stem)
    stepped = runner.optim_wrapper.optimizer.state
    assert [name for name, parameter in runner.model.named_parameters() if parameter not in stepped] == []
