"""MaskCutHook in real trainings of tiny models, on a generated COCO-format set."""

import json
import re
import shutil
import time

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import FUNCTIONS, METRICS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from toy_hooks import EPOCHS, ITERATIONS, TRAININGS, assert_unnoticed, classification, train_tiny
from toy_runs import InterruptionError, config, last_checkpoint, load_tool, run_tool, same, seen, train

from projects.crate.datasets import METAINFO, SampleSpec, make_sample_set
from projects.crate.engine import maskcut_hook
from projects.crate.study.curves import read_scalars

IMAGES = 9  # of two processes with batches of two, one has to see an image twice

pytestmark = pytest.mark.usefixtures('fast_runner')
pytest.importorskip('mmdet')


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp('sample')
    make_sample_set(root, 'imagenet', SampleSpec(train=16, val=8, size=(24, 24), seed=1))
    make_sample_set(root, 'coco', SampleSpec(train=8, val=IMAGES, size=(24, 32), max_objects=2, seed=1))
    return root


@METRICS.register_module()
class Constant(BaseMetric):
    """A metric that needs no annotation."""

    def process(self, data_batch, data_samples):
        self.results += [0.0 for _ in data_samples]

    def compute_metrics(self, results):
        return dict(images=float(len(results)))


def coco(root, batch_size=2, transforms=(), **changes):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(32, 32), keep_ratio=False),
        *transforms,
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ]
    dataset = dict(
        type='CocoDataset',
        data_root=str(root / 'coco'),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        metainfo=METAINFO,
        test_mode=True,
        pipeline=pipeline,
    )
    return dict(batch_size=batch_size, num_workers=0, dataset=dataset, **changes)


def lenient(root):
    """A metric that gives untrained toys something: an overlap of a tenth counts."""
    ann_file = str(root / 'coco' / 'annotations' / 'instances_val2017.json')
    kinds = ['bbox', 'segm']
    return dict(
        type='ClassAgnosticCocoMetric', metric=kinds, metric_items=['mAP'], iou_thrs=[0.1, 0.3], ann_file=ann_file
    )


def hook(root, **options):
    return {**dict(type='MaskCutHook', dataloader=coco(root), num_pictures=3), **options}


def toy(folder, root, others=(), loop=EPOCHS, optim_wrapper=None, **options):
    """A CRATE that is trained on numbers; its backbone is 'net.backbone'."""
    hooks = [hook(root, **{'backbone': 'net.backbone', **options}), *others]
    changes = dict(optim_wrapper=optim_wrapper) if optim_wrapper else {}
    return config(folder, loop=loop, model=dict(type='ToyCRATE'), custom_hooks=hooks, **changes)


@pytest.mark.parametrize(('loop', 'workers', 'by_epoch', 'use_ema'), TRAININGS)
def test_training_does_not_notice(tmp_path, samples, loop, workers, by_epoch, use_ema):
    loader = coco(samples, transforms=[dict(type='Jitter')]) | dict(num_workers=workers)
    watcher = hook(samples, dataloader=loader, by_epoch=by_epoch, use_ema=use_ema, initial=True)
    assert_unnoticed(tmp_path, samples, loop, workers, dict(watcher, interval=1 if by_epoch else 3))
    assert (tmp_path / 'with' / 'run' / 'maskcut' / 'curve.json').is_file()


def steps(folder, name='maskcut'):
    return [record['step'] for record in curve(folder, name)]


def curve(folder, name='maskcut'):
    return json.loads((folder / 'run' / name / 'curve.json').read_text())


def test_what_a_run_leaves(tmp_path, samples):
    train(toy(tmp_path, samples, interval=2, initial=True))
    work = tmp_path / 'run'
    drawn = {'epoch_0.png', 'epoch_2.png', 'epoch_3.png'}
    assert {path.name for path in (work / 'maskcut').iterdir()} == {*drawn, 'curve.png', 'curve.json'}
    picture = cv2.imread(str(work / 'maskcut' / 'epoch_0.png'))
    image = mmcv.imrescale(cv2.imread(str(samples / 'coco' / 'val2017' / '000000000002.jpg')), (160, 160))
    assert image.shape == (120, 160, 3) and picture.shape == (164, 3 * 164, 3)
    assert 0.1 < (picture[:120, 164:324] == image).all(-1).mean() < 1  # the rest is under masks
    records = curve(tmp_path)
    assert steps(tmp_path) == [0, 2, 3]  # the last epoch, though 2 does not divide it
    for key in ('coco/bbox_mAP', 'coco/segm_mAP_50'):
        logged = read_scalars(work, f'maskcut/{key}')
        assert logged[0].tolist() == [0, 2, 3]
        assert logged[1].tolist() == [record[key] for record in records]
    assert last_checkpoint(tmp_path)['message_hub']['runtime_info']['maskcut_curve'] == records[:2]
    for path in work.glob('*/vis_data/vis_image/maskcut_*.png'):
        assert np.array_equal(cv2.imread(str(path)), cv2.imread(str(work / 'maskcut' / f'epoch_{path.stem[-1]}.png')))
        drawn.remove(f'epoch_{path.stem[-1]}.png')
    assert not drawn
    text = next(work.glob('*/*.log')).read_text()
    assert text.count(' - INFO - maskcut [epoch ') == 3
    assert f'maskcut [epoch 3]  coco/bbox_mAP: {records[2]["coco/bbox_mAP"]:.4f}  ' in text
    assert f'({IMAGES} images in ' in text


def test_two_hooks_by_iterations_without_pictures(tmp_path, samples):
    others = [hook(samples, backbone='net.backbone', by_epoch=False, interval=2, layer=0, name='first', num_pictures=0)]
    evaluator = dict(type='Constant')
    train(toy(tmp_path, samples, others, loop=ITERATIONS, by_epoch=False, interval=3, evaluator=evaluator))
    assert curve(tmp_path) == [dict(step=step, images=IMAGES) for step in (3, 5)]
    assert {path.name for path in (tmp_path / 'run' / 'maskcut').glob('*.png')} == {
        'iter_3.png',
        'iter_5.png',
        'curve.png',
    }
    assert steps(tmp_path, 'first') == [2, 4, 5]
    assert {path.name for path in (tmp_path / 'run' / 'first').iterdir()} == {'curve.png', 'curve.json'}


def test_a_drawing_function_of_ones_own_and_none(tmp_path, samples):
    given = []

    def draw(images, masks):
        given.extend(zip(images, masks))
        return images[0]

    FUNCTIONS.register_module(name='toy_draw', module=draw, force=True)
    others = [hook(samples, backbone='net.backbone', by_epoch=False, name='silent', draw=None)]
    train(toy(tmp_path, samples, others, loop=dict(ITERATIONS, max_iters=1), by_epoch=False, draw='toy_draw'))
    assert len(given) == 3 and all(masks.shape[1:] == image.shape[:2] for image, masks in given)
    drawn = cv2.imread(str(tmp_path / 'run' / 'maskcut' / 'iter_1.png'))
    assert np.array_equal(drawn[..., ::-1], given[0][0])
    assert [path.name for path in (tmp_path / 'run' / 'silent').iterdir()] == ['curve.json']


@pytest.mark.parametrize('use_ema', [False, True])
def test_equals_a_test_of_the_checkpoint(tmp_path, samples, monkeypatch, use_ema):
    """AP of the last iteration, in training and by mmengine's test loop; and of which weights it is."""
    weights = []
    step = maskcut_hook.MaskCutDetector.test_step

    def watched(detector, batch):
        weights.append({name: value.clone() for name, value in detector.backbone.state_dict().items()})
        return step(detector, batch)

    monkeypatch.setattr(maskcut_hook.MaskCutDetector, 'test_step', watched)
    cut = dict(tau=0.3, num_masks='auto', min_gap=0.1, score='gap', layer=0)
    watcher = hook(samples, by_epoch=False, use_ema=use_ema, **cut)
    watcher.update(interval=2, evaluator=lenient(samples))
    checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=4)
    path = classification(tmp_path, samples, dict(ITERATIONS, max_iters=4), 0, [watcher], checkpoint=checkpoint)
    runner = train(path)
    saved = last_checkpoint(tmp_path)['state_dict']  # mmengine puts the averaged weights here
    live = runner.model.state_dict()
    expected = {name.removeprefix('backbone.'): value for name, value in (saved if use_ema else live).items()}
    assert same(weights[-1], {name: expected[name] for name in weights[-1]})
    assert not same({name: saved[name] for name in live}, dict(live))

    cfg = Config.fromfile(path)
    tester = Runner(
        dict(type='MaskCutDetector', backbone=cfg.model.backbone, **cut),
        str(tmp_path / 'test'),
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor', mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], bgr_to_rgb=True
        ),
        test_dataloader=coco(samples) | dict(sampler=dict(type='DefaultSampler', shuffle=False)),
        test_evaluator=lenient(samples),
        test_cfg=dict(),
        default_scope='mmdet',
        experiment_name='test',
    )
    tester.model.backbone.load_state_dict(expected, strict=False)
    metrics = tester.test()
    assert metrics == {key: value for key, value in curve(tmp_path)[-1].items() if key != 'step'}
    assert 0 < metrics['coco/segm_mAP'] < 1


def test_curve_after_resume(tmp_path, samples):
    """What was evaluated after the last checkpoint is evaluated again, and nothing is there twice."""

    def run(folder, *stops):
        hooks = [dict(type='StopHook', at=at) for at in stops]
        loop = dict(ITERATIONS, max_iters=4)
        return toy(
            folder, samples, hooks, loop, by_epoch=False, initial=True, num_pictures=0, evaluator=lenient(samples)
        )

    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    train(run(whole))
    with pytest.raises(InterruptionError):
        train(run(parted, 3), 'auto')
    assert (parted / 'run' / 'last_checkpoint').read_text().endswith('iter_2.pth')
    assert steps(parted) == [0, 1, 2, 3]
    train(run(parted), 'auto')
    assert curve(parted) == curve(whole)
    with pytest.raises(InterruptionError):
        train(run(parted, 1))  # a new run in the same folder
    assert steps(parted) == [0, 1]


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        (dict(interval=0), ValueError, 'interval must be at least 1, not 0'),
        (dict(backbone='net.bone'), ValueError, "backbone='net.bone': CRATENet has no 'bone', it has backbone, head"),
        (dict(backbone='net.head'), TypeError, 'Linear: its attention'),
        (dict(layer=2), IndexError, 'CRATE has no layer 2'),
        (dict(use_ema=True), ValueError, 'use_ema=True needs an EMAHook'),
        (dict(loop=ITERATIONS), ValueError, 'set by_epoch=False'),
        (dict(draw='crate_draw_nothing'), KeyError, 'crate_draw_nothing: no function of this name is registered'),
    ],
)
def test_mistakes_are_named_before_training(tmp_path, samples, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        train(toy(tmp_path, samples, **changes))
    assert '\n' not in str(caught.value)
    assert not seen(tmp_path)


def test_missing_annotations_are_named_by_the_tool(tmp_path, samples, capsys):
    loader = coco(samples)
    loader['dataset']['ann_file'] = 'annotations/no.json'
    assert load_tool('train')([str(toy(tmp_path, samples, dataloader=loader))]) == 1
    assert f'train: MaskCutHook: not found: {samples}/coco/annotations/no.json' in capsys.readouterr().err
    assert not seen(tmp_path)


def altered(root, folder, change):
    """The validation set with another annotation file, which ``change`` has changed in place."""
    content = json.loads((root / 'coco/annotations/instances_val2017.json').read_text())
    change(content)
    folder.mkdir(exist_ok=True)
    (folder / 'changed.json').write_text(json.dumps(content))
    loader = coco(root)
    loader['dataset']['ann_file'] = str(folder / 'changed.json')
    return loader


def turn(content):
    image = content['images'][2]
    image.update(height=image['width'], width=image['height'])
    for annotation in content['annotations']:
        if annotation['image_id'] == image['id']:
            x, y, width, height = annotation['bbox']
            annotation.update(bbox=[y, x, height, width], segmentation=[[1, 1, 9, 1, 9, 9]])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: content['annotations'][3].pop('segmentation'), r'changed\.json: annotation 4: has no segment'),
        (lambda content: content['annotations'][3].pop('area'), r'changed\.json: annotation 4: area must be'),
        (lambda content: content['images'][3].pop('height'), r'changed\.json: image 4: height and width must be'),
        (turn, r'000000000003\.jpg: the image has 32 x 24 pixels, and the annotation file has 24 x 32'),
    ],
)
def test_annotations_are_checked_before_training(tmp_path, samples, capsys, change, message):
    loader = altered(samples, tmp_path, change)
    assert load_tool('train')([str(toy(tmp_path, samples, dataloader=loader))]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('train: ')]
    assert re.search(message, line)
    assert not seen(tmp_path)


def test_annotations_without_iscrowd(tmp_path, samples):
    loader = altered(samples, tmp_path, lambda content: [one.pop('iscrowd') for one in content['annotations']])
    train(toy(tmp_path, samples, dataloader=loader, num_pictures=0))
    assert steps(tmp_path) == [1, 2, 3]


def test_photos_that_exif_turns(tmp_path, samples, capsys):
    """Annotations of the stored pixels: refused, unless photos are loaded as they are stored; the picture too."""
    shutil.copytree(samples / 'coco', tmp_path / 'coco')
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (tmp_path / 'coco/val2017').iterdir():
        Image.open(path).save(path, exif=exif)
    loader = coco(tmp_path)
    assert load_tool('train')([str(toy(tmp_path, samples, dataloader=loader))]) == 1
    assert 'before the EXIF orientation of the photo (6) turns them' in capsys.readouterr().err
    assert not seen(tmp_path)
    loader['dataset']['pipeline'][0]['color_type'] = 'color_ignore_orientation'
    train(toy(tmp_path, samples, dataloader=loader, num_pictures=2))
    below = cv2.imread(str(tmp_path / 'run/maskcut/epoch_1.png'))[122:160, :160]
    assert len(np.unique(below.reshape(-1, 3), axis=0)) == 1  # the photo lies there, 160 wide and 120 high


def test_without_mmdet(tmp_path, samples, monkeypatch):
    monkeypatch.setattr(maskcut_hook, 'installed_libraries', lambda: ['mmpretrain'])
    with pytest.raises(ImportError, match='pip install mmdet'):
        train(toy(tmp_path, samples))
    assert not seen(tmp_path)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_detectors_and_segmentors(tmp_path, samples, library):
    train_tiny(tmp_path, library, hook(samples))
    assert steps(tmp_path) == [1, 2]
    assert DefaultScope.get_current_instance().scope_name == library


def test_its_time_is_not_counted_as_training(tmp_path, samples, monkeypatch):
    clock = time.time
    hours = []
    evaluate = maskcut_hook.Evaluator.evaluate

    def long(*args):
        hours.append(3600)
        return evaluate(*args)

    monkeypatch.setattr(maskcut_hook.Evaluator, 'evaluate', long)
    monkeypatch.setattr(time, 'time', lambda: clock() + sum(hours))
    runner = train(toy(tmp_path, samples, loop=ITERATIONS, by_epoch=False, evaluator=dict(type='Constant')))
    assert len(hours) == 5
    for name in ('time', 'data_time'):
        assert runner.message_hub.get_scalar(f'train/{name}').data[0].max() < 600


def test_two_processes_see_what_one_sees(tmp_path, samples):
    """The same weights, which a learning rate of zero keeps: every image counts once, also the odd one."""
    still = dict(optimizer=dict(type='SGD', lr=0.0))
    options = dict(loop=dict(ITERATIONS, max_iters=1), by_epoch=False, optim_wrapper=still, evaluator=lenient(samples))
    one, two = tmp_path / 'one', tmp_path / 'two'
    train(toy(one, samples, **options))
    run_tool('dist_train.sh', toy(two, samples, **options), 2)
    assert curve(one) == curve(two)
    assert 0 < curve(one)[0]['coco/segm_mAP'] < 1
    assert (two / 'run' / 'maskcut' / 'iter_1.png').is_file()
