"""SparseRateHook in real trainings of tiny models."""

import json
import time

import numpy as np
import pytest
import torch
from toy_hooks import EPOCHS, ITERATIONS, TRAININGS, assert_unnoticed, classification, train_tiny
from toy_runs import ToyImages, config, forget_runs, last_checkpoint, load_tool, run_tool, seen, train

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import SparseRateHook, launch, sparse_rate_hook
from projects.crate.evaluation.sparse_rate import coding_rate, nonzero_share
from projects.crate.models import observe
from projects.crate.study.curves import read_scalars

IMAGES = 7  # of three processes, two have to see an image twice
KEYS = ('compression', 'nonzero', 'compression_std', 'nonzero_std')

pytestmark = pytest.mark.usefixtures('fast_runner')


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp('sample')
    make_sample_set(root, 'imagenet', SampleSpec(train=16, val=8, size=(24, 24), seed=1))
    return root


def loader(batch_size=2, **options):
    return dict(batch_size=batch_size, num_workers=0, dataset=dict(type='ToyImages', number=IMAGES, **options))


def toy(folder, loop=EPOCHS, optim_wrapper=None, **options):
    """A CRATE that is trained on numbers; its backbone is 'net.backbone'."""
    hook = {**dict(type='SparseRateHook', dataloader=loader(), backbone='net.backbone'), **options}
    changes = dict(optim_wrapper=optim_wrapper) if optim_wrapper else {}
    return config(folder, loop=loop, model=dict(type='ToyCRATE'), custom_hooks=[hook], **changes)


def images_of(root, workers, **changes):
    """The loader and the other two keys of a validation or a test of a classifier, with random numbers."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=16), *changes.pop('transforms', ())]
    dataset = dict(
        type='CustomDataset',
        data_root=str(root / 'imagenet'),
        data_prefix='val',
        pipeline=[*pipeline, dict(type='PackInputs')],
    )
    sampler = dict(type='DefaultSampler', shuffle=False)
    return dict(batch_size=3, num_workers=workers, dataset=dataset, sampler=sampler), dict(), dict(type='Accuracy')


def curve(folder, name='sparse_rate'):
    return json.loads((folder / 'run' / name / 'curve.json').read_text())


@pytest.mark.parametrize(('loop', 'workers', 'by_epoch', 'use_ema'), TRAININGS)
def test_training_does_not_notice(tmp_path, samples, loop, workers, by_epoch, use_ema):
    pytest.importorskip('mmpretrain')
    hook = dict(type='SparseRateHook', by_epoch=by_epoch, use_ema=use_ema, initial=True, num_images=5)
    validation = images_of(samples, workers, transforms=[dict(type='Jitter')])
    validation = dict(zip(('val_dataloader', 'val_cfg', 'val_evaluator'), validation))
    interval = dict(interval=1 if by_epoch else 3)
    assert_unnoticed(tmp_path, samples, loop, workers, hook | interval, **validation)
    assert np.isfinite(curve(tmp_path / 'with')[-1]['compression']).all()


def test_what_a_run_leaves(tmp_path):
    runner = train(toy(tmp_path, interval=2, initial=True))
    work = tmp_path / 'run'
    records = curve(tmp_path)
    assert [record['step'] for record in records] == [0, 2, 3]  # the last epoch, though 2 does not divide it
    assert all(set(record) == {'step', *KEYS} for record in records)
    assert last_checkpoint(tmp_path)['message_hub']['runtime_info']['sparse_rate_curve'] == records[:2]

    # the last measurement, image by image
    backbone = runner.model.net.backbone.eval()
    rates = np.empty((2, 2, IMAGES))
    for index, image in enumerate(ToyImages(IMAGES)[index]['inputs'] for index in range(IMAGES)):
        with torch.no_grad(), observe(backbone, [0, 1], outputs=True) as found:
            backbone(image[None].float())
        for layer in (0, 1):
            values = coding_rate(found[layer].features, 2), nonzero_share(found[layer].output)
            rates[:, layer, index] = torch.cat(values)
    for key, values in zip(KEYS, [*rates.mean(-1), *rates.std(-1)]):
        np.testing.assert_allclose(records[-1][key], values, rtol=1e-5, err_msg=key)
    assert records[0] != records[1] != records[2]

    for layer in (0, 1):
        for key in KEYS:
            steps, values = read_scalars(work, f'sparse_rate/{key}/layer_{layer}')
            assert steps.tolist() == [0, 2, 3]
            assert values.tolist() == [record[key][layer] for record in records]
    text = next(work.glob('*/*.log')).read_text()
    assert text.count(' - INFO - sparse_rate [epoch ') == 3
    compression, nonzero = records[2]['compression'], records[2]['nonzero']
    assert f'[epoch 3]  compression: {compression[0]:.2f} {compression[1]:.2f}  nonzero: {nonzero[0]:.3f} ' in text
    assert f'({IMAGES} images in ' in text

    folder = work / 'sparse_rate'
    assert {path.name for path in folder.iterdir()} == {f'curve.{suffix}' for suffix in ('json', 'png', 'pdf', 'npz')}
    with np.load(folder / 'curve.npz') as arrays:
        assert arrays['names'].tolist() == ['epoch 0', 'epoch 2', 'epoch 3']
        for key in KEYS:
            assert arrays[key].tolist() == [record[key] for record in records]


def test_two_hooks_by_iterations(tmp_path, monkeypatch):
    monkeypatch.setattr(sparse_rate_hook, 'DRAWN', 2)
    path = toy(tmp_path, dict(ITERATIONS, max_iters=3), by_epoch=False, num_images=1)
    cfg = json.loads(path.read_text())
    other = dict(type='SparseRateHook', dataloader=loader(), backbone='net.backbone', by_epoch=False, name='other')
    cfg['custom_hooks'].append(dict(other, interval=2, draw=None))
    path.write_text(json.dumps(cfg))
    train(path)
    assert [record['step'] for record in curve(tmp_path)] == [1, 2, 3]
    assert [record['step'] for record in curve(tmp_path, 'other')] == [2, 3]
    assert set(curve(tmp_path)[0]['compression_std']) == {0}  # of one image
    assert min(curve(tmp_path, 'other')[0]['compression_std']) > 0
    with np.load(tmp_path / 'run' / 'sparse_rate' / 'curve.npz') as arrays:
        assert arrays['names'].tolist() == ['iter 1', 'iter 3']
    assert [path.name for path in (tmp_path / 'run' / 'other').iterdir()] == ['curve.json']


def test_images_are_spread_over_the_data_set(tmp_path):
    log = tmp_path / 'images.txt'
    train(toy(tmp_path, dict(ITERATIONS, max_iters=1), by_epoch=False, num_images=4, dataloader=loader(log=str(log))))
    assert log.read_text().split() == ['0', *'0135']  # the first shows before the training whether it is an image


@pytest.mark.parametrize('batch_size', [2, 7])
def test_batches_of_several_sizes(tmp_path, batch_size):
    """No image sees padding: each counts as it does alone."""
    sizes = [(8, 12), (16, 8), (16, 8), (8, 12)]
    still = dict(optimizer=dict(type='SGD', lr=0.0))
    for size in (1, batch_size):
        dataloader = loader(size, sizes=sizes)
        train(toy(tmp_path / str(size), dict(ITERATIONS, max_iters=1), still, by_epoch=False, dataloader=dataloader))
    alone, together = curve(tmp_path / '1'), curve(tmp_path / str(batch_size))
    for key in KEYS:
        assert together[0][key] == pytest.approx(alone[0][key], rel=1e-5)


def test_three_processes_see_what_one_sees(tmp_path):
    """The same weights, which a learning rate of zero keeps: every image counts once, also the odd ones."""
    options = dict(loop=dict(ITERATIONS, max_iters=1), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)))
    one, three = tmp_path / 'one', tmp_path / 'three'
    train(toy(one, by_epoch=False, **options))
    run_tool('dist_train.sh', toy(three, by_epoch=False, **options), 3)
    assert len(curve(three)) == 1
    for key in KEYS:
        assert curve(three)[0][key] == pytest.approx(curve(one)[0][key], rel=1e-5)


def run_of_two_iterations(folder, samples, use_ema):
    """Config of a classifier that is trained for two iterations with large steps, validated and tested."""
    keys = [f'{mode}_{part}' for mode in ('val', 'test') for part in ('dataloader', 'cfg', 'evaluator')]
    return classification(
        folder,
        samples,
        dict(ITERATIONS, max_iters=2),
        0,
        [dict(type='SparseRateHook', by_epoch=False, interval=2, use_ema=use_ema)],
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=5.0)),
        **dict(zip(keys, images_of(samples, 0) * 2)),
    )


@pytest.mark.parametrize('use_ema', [False, True])
def test_tools_measure_in_training_and_on_a_checkpoint(tmp_path, samples, use_ema):
    """Of the averaged weights, which are those that a test takes, and of the others, which are not."""
    pytest.importorskip('mmpretrain')
    path = run_of_two_iterations(tmp_path, samples, use_ema)
    assert load_tool('train')([str(path)]) == 0
    work = tmp_path / 'run'
    trained = (work / 'sparse_rate' / 'curve.json').read_bytes()
    assert load_tool('test')([str(path), str(work / 'iter_2.pth')]) == 0
    assert (work / 'sparse_rate' / 'curve.json').read_bytes() == trained
    with np.load(work / 'sparse_rate' / 'test.npz') as arrays:
        for key in KEYS:
            assert np.allclose(arrays[key][0], curve(tmp_path)[-1][key], rtol=1e-5) == use_ema
    assert {path.suffix for path in (work / 'sparse_rate').glob('test.*')} == {'.png', '.pdf', '.npz'}
    steps, values = read_scalars(work, 'sparse_rate/compression/layer_1')
    assert steps.tolist() == [0, 2] and np.isclose(*values) == use_ema
    assert any(' - INFO - sparse_rate [test]  compression: ' in path.read_text() for path in work.glob('*/*.log'))


def test_its_time_is_not_counted_as_testing(tmp_path, samples, monkeypatch):
    pytest.importorskip('mmpretrain')
    path = run_of_two_iterations(tmp_path, samples, use_ema=False)
    train(path)
    forget_runs()
    clock, hours = time.time, []
    measure = SparseRateHook.measure
    monkeypatch.setattr(SparseRateHook, 'measure', lambda hook: hours.append(3600) or measure(hook))
    monkeypatch.setattr(time, 'time', lambda: clock() + sum(hours))
    cfg = launch.read_config(path)
    launch.prepare_testing(cfg, str(tmp_path / 'run' / 'iter_2.pth'))
    runner = launch.build_runner(cfg)
    runner.test()
    assert hours == [3600]
    assert runner.message_hub.get_scalar('test/data_time').data[0].max() < 600


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        (dict(interval=0), ValueError, 'SparseRateHook: interval must be at least 1, not 0'),
        (dict(num_images=0), ValueError, 'num_images must be at least 1'),
        (dict(backbone='net.bone'), ValueError, "backbone='net.bone': CRATENet has no 'bone', it has backbone, head"),
        (dict(backbone='net.head'), TypeError, 'Linear: its attention cannot be read'),
        (dict(use_ema=True), ValueError, 'use_ema=True needs an EMAHook'),
        (dict(loop=ITERATIONS), ValueError, 'set by_epoch=False'),
        (dict(draw='crate_draw_nothing'), KeyError, 'crate_draw_nothing: no function of this name is registered'),
        (dict(dataloader=None), ValueError, 'this run has no validation.*: set dataloader'),
    ],
)
def test_mistakes_are_named_before_training(tmp_path, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        train(toy(tmp_path, **changes))
    assert '\n' not in str(caught.value)
    assert not seen(tmp_path)


def test_samples_without_images_are_named_before_training(tmp_path):
    dataset = dict(type='ToyDataset', log=str(tmp_path / 'other.txt'))
    with pytest.raises(ValueError, match=r"samples of ToyDataset have no image \(3, H, W\) under 'inputs'"):
        train(toy(tmp_path, dataloader=dict(batch_size=2, num_workers=0, dataset=dataset)))
    assert not seen(tmp_path)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_detectors_and_segmentors(tmp_path, library):
    train_tiny(tmp_path, library, dict(type='SparseRateHook', dataloader=loader(sizes=[(16, 24), (12, 20)])))
    assert [record['step'] for record in curve(tmp_path)] == [1, 2]
    assert np.isfinite(curve(tmp_path)[-1]['compression']).all()
