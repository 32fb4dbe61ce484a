"""tools/train.py and tools/test.py with configs of the three libraries, and what they say of mistakes."""

import json
import pickle
import shutil
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, DefaultScope
from toy_runs import config, forget_runs, last_checkpoint, load_tool, seen

from projects.crate.engine import launch
from projects.crate.errors import UserError

pytestmark = pytest.mark.usefixtures('fast_runner')

SIZE = (32, 48)  # h, w


def run(tool, *arguments):
    forget_runs()
    return load_tool(tool)([str(argument) for argument in arguments])


def write_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8))


def installed(library, name):
    return Path(import_module(library).__file__).parent / '.mim' / 'configs' / name


def classifier(root):
    for i in range(8):
        write_image(root / 'train' / f'{i}.png', i)
    (root / 'list.txt').write_text(''.join(f'{i}.png {i % 3}\n' for i in range(8)))
    options = ['optim_wrapper.optimizer.lr=0.001']
    for part in ('train', 'val', 'test'):
        prefix = f'{part}_dataloader'
        options += [
            f'{prefix}.dataset.{key}' for key in (f'data_root={root}', 'ann_file=list.txt', 'data_prefix=train')
        ]
        options += [f'{prefix}.dataset.split=', f'{prefix}.batch_size=4', f'{prefix}.num_workers=0']
    options += ['train_dataloader.dataset.pipeline.1.scale=32', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    return installed('mmpretrain', 'resnet/resnet18_8xb32_in1k.py'), options, 'train_cfg.max_epochs=2', 4


def detector(root):
    boxes = [[4, 4, 20, 12], [10, 8, 30, 20]]
    for i in range(4):
        write_image(root / 'images' / f'{i}.png', i)
    images = [dict(id=i, file_name=f'{i}.png', height=SIZE[0], width=SIZE[1]) for i in range(4)]
    annotations = [
        dict(id=i, image_id=i, category_id=1, bbox=boxes[i % 2], area=240, iscrowd=0, segmentation=[]) for i in range(4)
    ]
    categories = [dict(id=1, name='person')]
    (root / 'boxes.json').write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    options = ['model.backbone.init_cfg=None', f'val_evaluator.ann_file={root}/boxes.json']
    options += [f'test_evaluator.ann_file={root}/boxes.json', 'train_cfg.max_epochs=1', 'model.test_cfg.max_per_img=5']
    for part in ('train', 'val', 'test'):
        prefix = f'{part}_dataloader'
        options += [
            f'{prefix}.dataset.{key}' for key in (f'data_root={root}', 'ann_file=boxes.json', 'data_prefix.img=images')
        ]
        options += [f'{prefix}.num_workers=0', f'{prefix}.persistent_workers=False']
        options += [f'{prefix}.dataset.pipeline.{2 if part == "train" else 1}.scale=(48,32)']
    return installed('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco.py'), options, 'train_cfg.max_epochs=2', 4


def segmentor(root):
    for part in ('train', 'val'):
        for i in range(4):
            write_image(root / 'leftImg8bit' / part / f'{i}_leftImg8bit.png', i)
            labels = root / 'gtFine' / part / f'{i}_gtFine_labelTrainIds.png'
            labels.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(labels), np.full(SIZE, i % 2, np.uint8))
    options = ['model.pretrained=None', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    options += [
        'train_dataloader.dataset.pipeline.2.scale=(48,32)',
        'train_dataloader.dataset.pipeline.3.crop_size=(32,48)',
    ]
    options += ['model.data_preprocessor.size=(32,48)', 'default_hooks.checkpoint.interval=2']
    for part in ('train', 'val', 'test'):
        prefix = f'{part}_dataloader'
        options += [
            f'{prefix}.dataset.data_root={root}',
            f'{prefix}.num_workers=0',
            f'{prefix}.persistent_workers=False',
        ]
        options += [] if part == 'train' else [f'{prefix}.dataset.pipeline.1.scale=(48,32)']
    return (
        installed('mmseg', 'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
        options,
        'train_cfg.max_iters=4',
        4,
    )


@pytest.mark.parametrize('library', [classifier, detector, segmentor])
def test_train_resume_test(tmp_path, library):
    torch.set_num_threads(1)
    path, options, longer, iterations = library(tmp_path / 'data')
    work = ['--work-dir', tmp_path / 'run', '--cfg-options', *options]
    assert run('train', path, '--amp', *work) == 0
    first = last_checkpoint(tmp_path)
    assert run('train', path, '--amp', '--resume', *work, longer) == 0
    second = last_checkpoint(tmp_path)
    assert (first['meta']['iter'], second['meta']['iter']) == (iterations // 2, iterations)
    assert second['meta']['seed'] == first['meta']['seed'] is not None
    weights = (tmp_path / 'run' / 'last_checkpoint').read_text()
    out, pictures = tmp_path / 'out.pkl', tmp_path / 'pictures'
    show = ['--out', out, '--show-dir', pictures]
    shutil.rmtree(tmp_path / 'data/leftImg8bit/train', ignore_errors=True)  # a test needs no training data
    assert run('test', path, weights, '--work-dir', tmp_path / 'test', *show, '--cfg-options', *options) == 0
    number = 8 if library is classifier else 4
    assert len(pickle.loads(out.read_bytes())) == number
    assert len([file for file in pictures.rglob('*') if file.suffix in ('.png', '.jpg')]) == number


def test_images_that_cannot_be_stacked_are_named(tmp_path, capsys):
    """Images of a classifier, and of a segmentor in a test. The libraries only say that they expect equal sizes."""
    path, options, *_ = classifier(tmp_path)
    cv2.imwrite(str(tmp_path / 'train' / '2.png'), np.zeros((20, 30, 3), np.uint8))
    for part in ('train', 'val'):
        cfg = launch.read_config(path, [*options, f'{part}_dataloader.num_workers={int(part == "val")}'])
        cfg[f'{part}_dataloader'].dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
        cfg.work_dir = str(tmp_path / part)
        cfg.dump(tmp_path / 'config.json')
        capsys.readouterr()
        assert run('train', tmp_path / 'config.json') == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert (
            'train: images of one batch differ in their shape' in line and f'{tmp_path}/train/2.png (3, 20, 30)' in line
        )


def test_a_label_map_of_another_size_than_the_prediction_is_named(tmp_path, capsys):
    """Before: the shape of the mask does not match the shape of the indexed tensor."""
    path, options, *_ = segmentor(tmp_path)
    steps = [
        ('LoadImageFromFile', {}),
        ('LoadAnnotations', {}),
        ('Resize', dict(scale=(24, 16))),
        ('PackSegInputs', {}),
    ]
    pipeline = [dict(type=kind, **settings) for kind, settings in steps]
    (tmp_path / 'config.py').write_text(
        f'_base_ = {str(path)!r}\nval_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
    )
    options = [option for option in options if not option.startswith('val_dataloader.dataset.pipeline')]
    assert run('train', tmp_path / 'config.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'train: {tmp_path}/gtFine/val/0_gtFine_labelTrainIds.png: the label map has (height, width) ' in line
    assert 'move LoadAnnotations behind' in line


def test_work_folder_is_named_after_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = json.loads(config(tmp_path).read_text())
    del cfg['work_dir']
    (tmp_path / 'name.json').write_text(json.dumps(cfg))
    assert run('train', 'name.json', '--no-validate') == 0
    assert (tmp_path / 'work_dirs' / 'name' / 'last_checkpoint').is_file()


def mistakes(root):
    path = config(root)
    weights = root / 'weights.pth'
    torch.save(dict(state_dict={}), weights)
    broken = root / 'broken.pth'
    broken.write_bytes(b'PK\x03\x04 and no more')
    picture = dict(type='mmpretrain.CustomDataset', data_root=str(root / 'nowhere'), data_prefix='x', pipeline=[])
    loader = dict(batch_size=1, num_workers=0, dataset=picture, sampler=dict(type='DefaultSampler'))
    return {
        'config': ('train', [root / 'no.py'], f'config not found: {root}/no.py'),
        'option': (
            'train',
            [path, '--cfg-options', 'train_cfg.max_epochs'],
            'KEY=VALUE pairs, not train_cfg.max_epochs',
        ),
        'resume': ('train', [path, '--resume', root / 'no.pth'], f'checkpoint not found: {root}/no.pth'),
        'weights': ('train', [path, '--resume', weights], f'{weights} holds weights only'),
        'broken': ('train', [path, '--resume', broken], f'cannot read the checkpoint {broken}'),
        'load_from': (
            'train',
            [path, '--cfg-options', f'load_from={root}/no.pth'],
            f'checkpoint not found: {root}/no.pth',
        ),
        'scale': ('train', [path, '--auto-scale-lr'], 'auto_scale_lr.base_batch_size'),
        'data': ('train', [config(root / 'data', train_dataloader=loader)], f'not found: {root}/nowhere'),
        'seed': ('train', [path, '--cfg-options', 'randomness.seed=x'], 'randomness.seed must be an integer'),
        'large seed': ('train', [path, '--cfg-options', f'randomness.seed={2**32}'], f'2**32 - 1, not {2**32}'),
        'clip': (
            'train',
            [path, '--cfg-options', 'optim_wrapper.clip_grad.foo=1'],
            "optim_wrapper.clip_grad: missing a required argument: 'max_norm'",
        ),
        'clip norm': (
            'train',
            [path, '--cfg-options', 'optim_wrapper.clip_grad.max_norm=x'],
            "optim_wrapper.clip_grad.max_norm must be a number, not 'x'",
        ),
        'clip value': (
            'train',
            [path, '--cfg-options', 'optim_wrapper.clip_grad.type=value', 'optim_wrapper.clip_grad.max_norm=1'],
            'optim_wrapper.clip_grad: ',
        ),
        'launcher': ('train', [path, '--launcher', 'slurm'], 'SLURM_PROCID is not set'),
        'checkpoint': ('test', [path, root / 'no.pth'], 'no test_dataloader'),
    }


@pytest.mark.parametrize(
    'name',
    [
        *('config', 'option', 'resume', 'weights', 'broken', 'load_from', 'scale', 'data', 'launcher', 'checkpoint'),
        *('seed', 'large seed', 'clip', 'clip norm', 'clip value'),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch, name):
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    tool, arguments, message = mistakes(tmp_path)[name]
    capsys.readouterr()
    assert run(tool, *arguments) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f'{tool}: ')]
    assert len(lines) == 1
    assert message in lines[0]
    assert not seen(tmp_path)


@pytest.mark.parametrize(
    ('kind', 'key', 'value', 'message'),
    [
        ('annotations', 'area', None, 'annotation 2: area must be'),
        ('annotations', 'bbox', [1, 2], 'annotation 2: bbox must be'),
        ('annotations', 'category_id', 7, 'annotation 2: category_id 7 is not'),
        ('annotations', 'image_id', 77, 'annotation 2: image_id 77 is not'),
        ('images', 'height', None, 'image 2: height and width must be'),
        ('images', 'file_name', None, 'file_name is missing from 2 of its images'),
        ('categories', 'name', None, 'name is missing from 1 of its categories'),
        ('annotations', 'iscrowd', None, None),
    ],
)
def test_annotations_are_checked_before_a_training(tmp_path, kind, key, value, message):
    """mmdet's data set would end in a KeyError, after the model was built and other files were read."""
    pytest.importorskip('mmdet')
    path, options, *_ = detector(tmp_path)
    content = json.loads((tmp_path / 'boxes.json').read_text())
    entry = content[kind][min(2, len(content[kind]) - 1)]
    entry.pop(key) if value is None else entry.update({key: value})
    (tmp_path / 'broken.json').write_text(json.dumps(content))
    for field in ('train_dataloader', 'val_dataloader'):
        cfg = launch.read_config(str(path), [*options, f'{field}.dataset.ann_file=broken.json'], str(tmp_path / 'run'))
        dataset = dict(type='RepeatDataset', times=2, dataset=cfg[field].dataset)
        cfg[field].dataset = Config(dict(dataset=dataset)).dataset
        if message is None:
            launch.prepare_training(cfg)
            continue
        with pytest.raises(UserError, match=rf'^{tmp_path}/broken\.json: {message}'):
            launch.prepare_training(cfg)


def test_a_file_without_iscrowd_has_the_ap_of_one_with_zeros(tmp_path):
    """LVIS has no such key; pycocotools ends in a KeyError after the last image."""
    pytest.importorskip('mmdet')
    path, options, *_ = detector(tmp_path)
    content = json.loads((tmp_path / 'boxes.json').read_text())
    (tmp_path / 'zeros.json').write_text(json.dumps(content))
    for annotation in content['annotations']:
        del annotation['iscrowd']
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    torch.set_num_threads(1)
    assert run('train', path, '--work-dir', tmp_path / 'run', '--cfg-options', *options) == 0
    cfg = launch.read_config(str(path), options)
    found = []
    for file in ('zeros.json', 'boxes.json'):
        cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / file), metric='bbox')
        launch.prepare_training(cfg)
        with DefaultScope.overwrite_default_scope('mmdet'):
            metric = METRICS.build(cfg.val_evaluator)
        metric.dataset_meta = dict(classes=('person',))
        for number in range(4):
            box = torch.tensor([[4.0, 4, 24, 16]])
            pred = dict(bboxes=box, scores=torch.tensor([0.5 + number / 10]), labels=torch.tensor([0]))
            metric.process({}, [dict(img_id=number, ori_shape=SIZE, pred_instances=pred)])
        found.append(metric.evaluate(4))
    assert found[0] == found[1] and 0 < found[0]['coco/bbox_mAP'] < 1
