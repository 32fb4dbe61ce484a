"""A config's name, header and inheritance, against what is in it."""

import pytest
from config_tree import BACKBONES, CLASSIFICATION, LEAVES, ROOT, Name, bases, build_without_memory, header, load

from projects.crate.study.published import TABLE_3

# word between size and patch -> (attention, feed-forward part)
ABLATIONS = {'': ('MSSA', 'ISTA'), '-mlp': ('MSSA', 'MLP'), '-mhsa': ('MHSA', 'ISTA'), '-mhsa-mlp': ('MHSA', 'MLP')}
# name -> (type, folder under $CRATE_DATA, outputs of the head)
DATA = {
    'in21k': ('ImageNet21k', 'imagenet21k', 21842),
    'in1k': ('ImageNet', 'imagenet', 1000),
    'cifar10': ('CIFAR10', 'cifar10', 10),
    'cifar100': ('CIFAR100', 'cifar100', 100),
    'flowers102': ('Flowers102', 'flowers102', 102),
    'pets': ('OxfordIIITPet', 'pets', 37),
    'tinyimagenet100': ('CustomDataset', 'tiny-imagenet-100', 100),
    'sample': ('CustomDataset', 'sample/imagenet', 8),
}
ALPHA_IN21K = ('CustomDataset', 'imagenet21k-19167', 19167)

every_leaf = pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
every_classifier = pytest.mark.parametrize('path', CLASSIFICATION, ids=lambda path: path.stem)


@every_leaf
def test_header_says_the_command_and_what_was_run(path):
    text = header(path)
    tools = ['train.py', 'dist_train.sh'] if load(path).get('train_cfg') else ['test.py']
    assert any(f'{tool} {path.relative_to(ROOT)} ' in f'{text} ' for tool in tools)
    assert 'ot run here' in text or 'easured' in text


@every_leaf
def test_at_most_two_hops_of_inheritance(path):
    def hops(file):
        return max((1 + hops(base) for base in bases(file)), default=0)

    assert 1 <= hops(path) <= 2


def test_every_base_file_has_two_users():
    shared = list(ROOT.glob('configs/_base_/**/*.py'))
    named = {path: [base.resolve() for base in bases(path)] for path in [*LEAVES, *shared]}

    def users(file):
        """Leaves that are built on ``file``, directly or not."""
        direct = [path for path in named if file in named[path]]
        return {*(path for path in direct if path in LEAVES), *(user for path in direct for user in users(path))}

    strategies = ROOT / 'configs/_base_/strategies'  # their second user is the reader's own config
    files = [path for path in shared if path.parent != strategies]
    assert files
    assert {path.name: len(users(path)) for path in files if len(users(path)) < 2} == {}


@every_leaf
def test_one_import_registers_the_project(path):
    cfg = load(path)
    assert 'projects.crate' in cfg.custom_imports.imports
    assert cfg.default_scope in ('mmpretrain', 'mmdet', 'mmseg')


@every_classifier
def test_name_says_batch_and_gpus(path):
    name, cfg = Name.of(path), load(path)
    assert cfg.train_dataloader.batch_size == name.batch
    assert cfg.auto_scale_lr == dict(base_batch_size=name.gpus * name.batch, enable=True)
    text = header(path)
    if 'dist_train.sh' not in text:
        assert name.gpus == 1
    else:  # one machine has up to eight
        nodes = name.gpus // 8
        assert f'{path.name} {min(name.gpus, 8)} ' in text
        assert (f'NNODES={nodes} ' in text) == (nodes > 1)


@every_classifier
def test_name_says_length_and_schedule(path):
    name, cfg = Name.of(path), load(path)
    length = cfg.train_cfg.max_epochs if name.unit == 'e' else cfg.train_cfg.max_iters
    assert (cfg.train_cfg.by_epoch, length) == (name.unit == 'e', name.length)
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    assert schedulers[-1].type in ('CosineAnnealingLR', 'RampedCosineLR')
    assert all(scheduler.by_epoch == (name.unit == 'e') for scheduler in schedulers)


@every_classifier
def test_name_says_data(path):
    name, cfg = Name.of(path), load(path)
    alpha = name.data == 'in21k' and 'alpha' in name.backbone
    dataset, folder, classes = ALPHA_IN21K if alpha else DATA[name.data]
    assert cfg.model.head.num_classes == classes
    assert cfg.data_preprocessor.get('num_classes', classes) == classes
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if loader != 'train_dataloader' and name.data == 'in21k':
            assert loader not in cfg  # no labelled images beside the training set
            continue
        assert cfg[loader].dataset.type in (dataset, 'ImagesInMemory')
        assert cfg[loader].dataset.data_root == f'data/{folder}'


@every_classifier
def test_evaluation_does_not_see_training_images(path):
    cfg = load(path)
    if 'val_dataloader' in cfg:
        train, val = (
            {**dict(split=None, data_prefix=None), **cfg[f'{x}_dataloader'].dataset} for x in ('train', 'val')
        )
        assert (train['split'], train['data_prefix']) != (val['split'], val['data_prefix'])
        assert cfg.val_dataloader == cfg.test_dataloader
        assert cfg.val_dataloader.sampler.shuffle is False and cfg.train_dataloader.sampler.shuffle is True


@every_classifier
def test_name_says_backbone(path):
    name, cfg = Name.of(path), load(path)
    size = max((key for key in BACKBONES if name.backbone.startswith(key)), key=len)
    backbone = build_without_memory(cfg).backbone
    kind = cfg.model.backbone.type
    heads = backbone.num_heads if kind == 'CRATE' else backbone.layers[0].attn.num_heads
    assert (backbone.embed_dims, heads, len(backbone.layers)) == BACKBONES[size]
    assert cfg.model.head.in_channels == backbone.embed_dims
    px = next((hook.size for hook in cfg.get('custom_hooks', []) if hook.type == 'SmallImagesHook'), name.px)
    assert (cfg.model.backbone.patch_size, cfg.model.backbone.img_size) == (name.patch, px)
    if kind == 'VisionTransformer':
        assert name.backbone == size
        return
    parts = type(backbone.layers[0].attn).__name__, type(backbone.layers[0].ffn).__name__
    rest = name.backbone.removeprefix(size)
    if name.backbone.startswith('vit'):
        assert (rest, parts) == ('', ('MHSA', 'MLP'))
    elif 'alpha' in size:
        assert (rest, parts) == ('', ('MSSA', 'ODL'))
    elif rest == '-sth':
        assert parts == ('MSSA', 'ISTA') and backbone.layers[0].ffn.threshold == 'soft'
    else:
        assert parts == ABLATIONS[rest]


@every_classifier
def test_name_says_what_it_starts_from(path):
    name, cfg = Name.of(path), load(path)
    init_cfg = cfg.model.backbone.get('init_cfg')
    if name.pretraining is None:
        assert init_cfg is None and cfg.load_from is None
    else:
        checkpoint = f'checkpoints/{name.backbone}-p{name.patch}_{name.pretraining}.pth'
        assert init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')


@every_classifier
def test_tags(path):
    name, cfg = Name.of(path), load(path)
    strategy = cfg.get('strategy', {}).get('type', '')
    assert ('fsdp' in name.tags) == ('FSDP' in strategy)
    assert ('deepspeed' in name.tags) == ('DeepSpeed' in strategy)
    assert ('mixup' in name.tags) == ('train_cfg' in cfg.model)
    assert ('linear' in name.tags) == (cfg.model.backbone.get('frozen_stages', -1) == 12)


@every_classifier
def test_published_accuracy(path):
    name = Name.of(path)
    if name.pretraining and 'emergence' in name.backbone and 'linear' not in name.tags:
        published = TABLE_3[name.data][name.backbone.rpartition('-')[2]]
        assert f'Published: top-1 {published}. Not run here.' in header(path)
