"""configs/detection: recipes against their sources, and a step of training and evaluation of every kind."""

import functools
import json

import pytest
import torch
from config_rows import ROWS, first_rows
from config_tree import BASE, ROOT, build_without_memory, load
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from projects.crate.datasets import METAINFO, SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.models.simple_fpn import LayerNorm2d

STRIDES = {'retinanet': (8, 16, 32, 64, 128), 'dino': (8, 16, 32, 64)}  # the others': 4 to 64
RECIPES = first_rows('detection/')


def recipes(condition):
    """A config of every recipe whose name fulfils a condition, as parameters of a test."""
    chosen = [row for row in RECIPES if condition(row.recipe.file)]
    assert chosen
    return pytest.mark.parametrize('row', chosen, ids=lambda row: row.recipe.file)


every_coco = recipes(lambda name: name.endswith(('100e', '36e', '12e')))
every_lsj = recipes(lambda name: 'lsj' in name)


@functools.cache
def build(path):
    """The model without memory, to look at."""
    return build_without_memory(load(path))


def leaf(stem):
    return ROOT / f'configs/detection/{stem}.py'


@every_coco
def test_schedule_is_the_recipes(row):
    cfg, lsj = load(row.path), 'lsj' in row.recipe.file
    dino = row.recipe.file.startswith('dino')
    *warmup, steps = cfg.param_scheduler
    if lsj:
        assert steps.milestones == [round(0.889 * row.recipe.length), round(0.963 * row.recipe.length)]
    else:
        assert steps.milestones == ([11] if dino else [8, 11])
    lengths = [250] if lsj else [] if dino else [500]
    assert [(scheduler.type, scheduler.by_epoch, scheduler.end) for scheduler in warmup] == [
        ('LinearLR', False, length) for length in lengths
    ]
    assert cfg.optim_wrapper.type == ('OptimWrapper' if dino else 'AmpOptimWrapper')
    assert 'momentum' not in cfg.optim_wrapper.optimizer


@every_coco
def test_backbone_has_windows(row):
    options = load(row.path).model.backbone
    assert (options.out_type, options.window_size, options.drop_path_rate) == ('featmap', 14, 0.1)
    assert 'global_attn_indexes' not in options
    assert build(row.path).backbone.windowed_layers


@every_coco
def test_pyramid_fits_the_heads(row):
    assert load(row.path).model.neck.type == 'SimpleFPN'
    assert build(row.path).neck.out_strides == STRIDES.get(row.recipe.file.split('_')[0], (4, 8, 16, 32, 64))


@recipes(lambda name: 'cutler' not in name)  # which draws the size
def test_images_have_the_size(row):
    cfg = load(row.path)
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    pipelines = [loader.dataset.get('dataset', loader.dataset).pipeline for loader in loaders]
    resizes = [step for pipeline in pipelines for step in pipeline if step.type.endswith('Resize')]
    size = row.recipe.size[::-1] if row.recipe.size else (1333, 800)
    assert [step.scale for step in resizes] == (2 if row.recipe.file.startswith('dino') else 3) * [size]
    split = 'train' if row.recipe.data == 'coco128' else 'val'  # what is to be learnt by heart
    assert cfg.val_dataloader.dataset.ann_file == f'annotations/instances_{split}2017.json'
    assert cfg.val_dataloader.dataset.data_prefix == dict(img=f'{split}2017/')


@recipes(lambda name: name.endswith('-pseudo'))
def test_pseudo_labels_are_all_that_is_learnt_from(row):
    """One class, no weights from elsewhere; and with nothing to start from, every layer is trained."""
    cfg = load(row.path)
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == ('ResNet', 50)
    assert cfg.train_dataloader.dataset.metainfo.classes == ('object',)
    assert cfg.train_dataloader.dataset.ann_file == 'annotations/pseudo_train2017.json'
    assert cfg.val_evaluator.type == 'ClassAgnosticCocoMetric'
    assert cfg.load_from is None and cfg.model.backbone.init_cfg is None
    model = build(row.path)
    assert model.roi_head.mask_head.num_classes == 1
    assert all(parameter.requires_grad for parameter in model.parameters())


@every_lsj
def test_large_scale_jitter(row):
    cfg, size = load(row.path), row.recipe.size
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResize'].ratio_range == (0.1, 2.0) and steps['RandomResize'].keep_ratio
    assert steps['RandomCrop'].crop_size == size
    preprocessor = cfg.model.data_preprocessor
    assert 2 * (preprocessor.pad_size_divisor,) == size and preprocessor.pad_mask
    assert cfg.model.train_cfg.rpn.allowed_border == -1  # no anchor need fit into an image of a tenth


@every_lsj
def test_heads_of_vitdet(row):
    model, cascade = build(row.path), row.recipe.file.startswith('cascade')
    assert len(model.rpn_head.rpn_conv) == 2
    heads = model.roi_head.bbox_head, model.roi_head.mask_head
    heads = heads if cascade else ([heads[0]], [heads[1]])
    assert [len(stages) for stages in heads] == 2 * [3 if cascade else 1]
    for box_head, mask_head in zip(*heads):
        assert [type(conv.norm) for conv in [*box_head.shared_convs, *mask_head.convs]] == 8 * [LayerNorm2d]
        assert len(box_head.shared_fcs) == 1


@every_coco
def test_learning_rates_and_weight_decays(row):
    """By the depth of a layer, and none on norms, biases and tables; DINO's is mmdet's."""
    cfg = load(row.path)
    cfg.optim_wrapper.type = 'OptimWrapper'  # mmengine's mixed precision asks for a GPU
    model = build(row.path)
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = {names[id(group['params'][0])]: group for group in wrapper.optimizer.param_groups}
    if row.recipe.file.startswith('dino'):
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


@pytest.mark.parametrize(('name', 'arch'), [('vit-small-p8', 'deit-small'), ('vit-base-p16', 'deit-base')])
def test_weights_of_the_vit_are_those_of_mmpretrain(name, arch):
    """Names and shapes, so that its checkpoints load; mmpretrain's names for these sizes are DeiT's."""
    options = Config.fromfile(BASE / f'backbones/{name}.py').pretrained
    theirs = dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=224, patch_size=options.patch_size)
    with torch.device('meta'):
        ours, theirs = MODELS.build(options), MODELS.build(theirs)
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
    4000: 16,
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


def small_copy(stem, folder, small):
    """A config with small numbers and four layers; its images are loaded without workers."""
    cfg = launch.read_config(str(leaf(stem)), work_dir=str(folder))
    for part in ('model', 'train_dataloader', 'val_dataloader'):
        cfg[part] = shrink(cfg[part].to_dict(), small)
    cfg.model.backbone.update(
        arch=dict(embed_dims=16, num_heads=2, num_layers=4), window_size=2, global_attn_indexes=[3], init_cfg=None
    )
    cfg.model.neck.update(in_channels=16, out_channels=small[256])
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    return cfg


def train_once(cfg):
    """Train through tools/train.py's own functions; return the runner."""
    launch.prepare_training(cfg)
    runner = launch.build_runner(cfg)
    runner.train()
    return runner


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
    """Everything smaller; no weight is left without a gradient."""
    monkeypatch.setenv('CRATE_DATA', str(scenes))
    cfg = small_copy(stem, tmp_path, SMALL if 'dino' not in stem else {**SMALL, 256: 256})  # mmdet's decoder wants it
    if 'dino' in stem:
        cfg.model.num_queries = 40
        cfg.model.encoder.num_layers = cfg.model.decoder.num_layers = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = METAINFO
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.randomness = dict(seed=0)
    runner = train_once(cfg)
    logged = runner.message_hub.log_scalars
    assert runner.iter == 2
    assert torch.isfinite(torch.tensor(logged['train/loss'].data[0])).all()
    boxes, masks = (f'val/coco/{kind}_mAP' in logged for kind in ('bbox', 'segm'))
    assert (boxes, masks) == (True, 'mask-rcnn' in stem)
    stepped = runner.optim_wrapper.optimizer.state
    assert [name for name, parameter in runner.model.named_parameters() if parameter not in stepped] == []


@pytest.mark.parametrize('row', [row for row in ROWS if row.recipe.start == 'cutler'], ids=lambda row: row.path.stem)
def test_fine_tuning_takes_all_but_the_classes(row):
    """From the detector of the last round: weights of other shapes are those that the config names, and no others."""
    detector = row.recipe.prefix.removeprefix('detection/')
    (last,) = ROOT.glob(f'configs/detection/{detector}{row.backbone}_*-pre-8xb2-step-80k_in1k-pseudo.py')
    old, new = ({key: value.shape for key, value in build(path).state_dict().items()} for path in (last, row.path))
    assert old.keys() == new.keys()
    cfg = load(row.path)
    named = tuple(cfg.load_from_except)
    assert {key for key in new if old[key] != new[key]} == {key for key in new if key.startswith(named)}
    assert cfg.load_from and not cfg.model.backbone.get('init_cfg')  # all that is there comes from that detector


@pytest.mark.parametrize('detector', ['mask-rcnn', 'cascade-mask-rcnn'])
def test_learns_without_classes_and_then_with_them(detector, scenes, tmp_path, monkeypatch, fast_runner):
    """The two configs of a ViT one after the other: the second starts from the checkpoint of the first."""
    monkeypatch.setenv('CRATE_DATA', str(scenes))
    cfg = small_copy(f'{detector}_crate-base-p16_in1k-pre-8xb2-step-160k_in1k-pseudo', tmp_path / 'first', SMALL)
    content = json.loads((scenes / 'coco/annotations/instances_train2017.json').read_text())
    content['annotations'] = [dict(one, category_id=1) for one in content['annotations']]
    (tmp_path / 'pseudo.json').write_text(json.dumps(dict(content, categories=[dict(id=1, name='object')])))
    images = dict(data_root=str(scenes / 'coco'), data_prefix=dict(img='train2017/'))
    cfg.train_dataloader.dataset.dataset.update(images, ann_file=str(tmp_path / 'pseudo.json'))
    cfg.train_dataloader.dataset.dataset.pipeline[2].scale = [(83, 56), (83, 64)]
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.param_scheduler = []
    first = train_once(cfg)
    assert 'val/coco/segm_AR@100' in first.message_hub.log_scalars

    cfg = small_copy(f'{detector}_crate-base-p16_cutler-pre-8xb2-step-48e_coco-1pct', tmp_path / 'second', SMALL)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = METAINFO
    cfg.train_dataloader.dataset.ann_file = 'annotations/instances_train2017.json'
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.load_from = (tmp_path / 'first/last_checkpoint').read_text()
    second = train_once(cfg)
    old, new = (runner.model.state_dict() for runner in (first, second))
    changed = {key for key in new if old[key].shape != new[key].shape or not torch.equal(old[key], new[key])}
    assert changed == {key for key in new if key.startswith(tuple(cfg.load_from_except))}
