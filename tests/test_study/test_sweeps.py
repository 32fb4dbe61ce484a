"""Sweeps against tools/test.py, point by point, and what they do again and what they do not."""

import json
import shutil
from pathlib import Path

import mmdet.datasets  # noqa: F401  (onedl's prints a line when it is first imported)
import mmseg.datasets  # noqa: F401
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from toy_runs import SAMPLES, ToyModel, config, forget_runs, load_tool
from toy_sweeps import ARCH, CONFIGS, OPTIONS, make_scenes, metrics_of, save_weights

from projects.crate.engine.launch import read_config
from projects.crate.errors import UserError
from projects.crate.study import sweep as sweeps
from projects.crate.study.sweep import Measurements, epoch_sweep, evaluate, find_checkpoints, headline, layer_sweep

pytestmark = pytest.mark.usefixtures('fast_runner')

KINDS = [*CONFIGS]


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A config of a kind on a few scenes, with more options."""
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))

    def read(kind, *options):
        make_scenes(tmp_path, kind)
        layer = ['model.layer=-1'] if kind == 'maskcut' else []
        return read_config(str(CONFIGS[kind]), [*OPTIONS, *layer, *options])

    return read


@pytest.fixture
def evaluated(monkeypatch):
    """What is evaluated: (layer, name of the checkpoint) each."""
    calls = []

    def count(cfg, checkpoint, work_dir):
        calls.append((cfg.model.get('layer', cfg.model.get('layers')), Path(checkpoint).name))
        return evaluate(cfg, checkpoint, work_dir)

    monkeypatch.setattr(sweeps, 'evaluate', count)
    return calls


def by_tool(folder, kind, checkpoint, *options):
    """What tools/test.py writes."""
    forget_runs()
    arguments = [CONFIGS[kind], checkpoint, '--work-dir', folder, '--cfg-options', *OPTIONS, *options]
    assert load_tool('test')([*map(str, arguments)]) == 0
    return metrics_of(folder)


def test_layers_of_maskcut_are_those_of_the_test_tool(tmp_path, read, evaluated, capsys):
    cfg, weights = read('maskcut'), save_weights(tmp_path / 'w.pth')
    capsys.readouterr()
    layers, metrics = layer_sweep(cfg, weights, tmp_path, [-1, 0])
    assert layers.tolist() == [2, 0] and evaluated == [(2, 'w.pth'), (0, 'w.pth')]
    assert capsys.readouterr().out == ''
    for position, layer in enumerate(layers):
        expected = by_tool(tmp_path / f'layer{layer}', 'maskcut', weights, f'model.layer={layer}')
        for name, values in metrics.items():
            assert values[position] == expected[name]
    assert len(metrics) == 14 and np.ptp(metrics['coco/bbox_mAP']) > 0


def test_layers_of_a_segmentor_come_from_one_evaluation(tmp_path, read, evaluated, capsys):
    cfg, weights = read('segmentation'), save_weights(tmp_path / 'w.pth')
    capsys.readouterr()
    layers, metrics = layer_sweep(cfg, weights, tmp_path)
    assert layers.tolist() == [0, 1, 2] and evaluated == [([0, 1, 2], 'w.pth')]
    said = capsys.readouterr()
    assert said.out == ''
    assert f'coarse_seg/layer_1/mIoU {metrics["coarse_seg/mIoU"][1]:.4g}' in said.err
    expected = by_tool(tmp_path / 'test', 'segmentation', weights, 'model.layers=all')
    for layer in layers:
        for name, values in metrics.items():
            key = name.replace('coarse_seg/', f'coarse_seg/layer_{layer}/')
            np.testing.assert_equal(values[layer], expected[key])  # some classes may be in no scene: NaN
    assert {'coarse_seg/mIoU', 'coarse_seg/head_0', 'coarse_seg/head_1'} < metrics.keys()
    assert len(set(metrics['coarse_seg/mIoU'])) == 3 and not any('layer' in name for name in metrics)

    layers, some = layer_sweep(cfg, weights, tmp_path, [-1, 1])
    assert layers.tolist() == [2, 1]
    assert some['coarse_seg/mIoU'].tolist() == metrics['coarse_seg/mIoU'][[2, 1]].tolist()


def test_an_interrupted_sweep_goes_on(tmp_path, read, evaluated, monkeypatch, capsys):
    cfg, weights = read('maskcut'), save_weights(tmp_path / 'w.pth')
    count = sweeps.evaluate

    def interrupt(cfg, *rest):
        if cfg.model.layer == 1:
            raise KeyboardInterrupt
        return count(cfg, *rest)

    monkeypatch.setattr(sweeps, 'evaluate', interrupt)
    with pytest.raises(KeyboardInterrupt):
        layer_sweep(cfg, weights, tmp_path)
    assert evaluated == [(0, 'w.pth')]
    monkeypatch.setattr(sweeps, 'evaluate', count)
    layers, metrics = layer_sweep(cfg, weights, tmp_path)
    assert [layer for layer, _ in evaluated] == [0, 1, 2] == layers.tolist()
    lines = capsys.readouterr().err.splitlines()
    value = metrics['coco/bbox_mAP'][0]
    assert any(line.startswith(f'layers: layer 0: coco/bbox_mAP {value:.4g}') and '(known)' in line for line in lines)
    _, again = layer_sweep(cfg, weights, tmp_path)
    assert len(evaluated) == 3
    for name, values in metrics.items():
        assert again[name].tolist() == values.tolist()


def test_what_changes_is_measured_again(tmp_path, read, evaluated):
    path = tmp_path / 'w.pth'

    def sweep(*options):
        before = len(evaluated)
        layer_sweep(read('maskcut', *options), str(path), tmp_path, [0])
        return len(evaluated) - before

    save_weights(path)
    assert sweep() == 1
    assert sweep('model.tau=0.3') == 1
    assert sweep('test_dataloader.dataset.indices=2') == 1
    save_weights(path, seed=1)
    assert sweep() == 1
    save_weights(path)
    assert sweep() == sweep('model.tau=0.3') == sweep('work_dir=elsewhere') == 0
    moved = shutil.move(path, tmp_path / 'moved.pth')
    layer_sweep(read('maskcut', 'test_dataloader.num_workers=1'), str(moved), tmp_path, [0])
    assert len(evaluated) == 4

    annotations = tmp_path / 'sample/coco/annotations/instances_val2017.json'
    content = json.loads(annotations.read_text())
    content['annotations'].pop()
    annotations.write_text(json.dumps(content))
    layer_sweep(read('maskcut'), str(moved), tmp_path, [0])
    assert len(evaluated) == 5


def test_the_first_images_of_a_set_have_an_ap_of_their_own(tmp_path, read):
    weights = save_weights(tmp_path / 'w.pth')
    whole = evaluate(read('maskcut'), weights, tmp_path / 'whole')
    first = evaluate(read('maskcut', 'test_dataloader.dataset.indices=2'), weights, tmp_path / 'first')
    path = tmp_path / 'sample/coco/annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    content['images'] = content['images'][:2]
    ids = {image['id'] for image in content['images']}
    content['annotations'] = [one for one in content['annotations'] if one['image_id'] in ids]
    path.write_text(json.dumps(content))
    assert first == evaluate(read('maskcut'), weights, tmp_path / 'alone') != whole


def test_evaluations_do_not_see_each_other(tmp_path, read):
    """Within one second, in one process, of two libraries; the configs stay as they were."""
    weights = save_weights(tmp_path / 'w.pth')
    configs = [read(kind) for kind in KINDS]
    before = [cfg.to_dict() for cfg in configs]
    first, second, third, fourth = (evaluate(cfg, weights, tmp_path / 'runs') for cfg in [*configs, *configs])
    assert first == third and set(first) == {key for key in first if key.startswith('coco/')}
    np.testing.assert_equal(second, fourth)
    assert [cfg.to_dict() for cfg in configs] == before


def test_an_evaluation_does_not_lay_out_its_config(tmp_path, monkeypatch):
    """The config as pretty text takes longer than an evaluation of a few images."""
    laid_out = []
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: laid_out.append(cfg._format_python_code) or ''))
    cfg, save = toy(tmp_path)
    save('w.pth', 1)
    evaluate(cfg, tmp_path / 'w.pth', tmp_path / 'runs')
    assert laid_out and not any(laid_out)
    assert cfg._format_python_code


def toy(folder):
    """A config of a toy, and a function that saves its weights."""
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyDataset', log=str(folder / 'seen.txt')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    path = config(
        folder, test_dataloader=loader, test_cfg=dict(), test_evaluator=dict(type='ToyMetric'), custom_hooks=[]
    )

    def save(name, scale):
        model = ToyModel()
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, scale)
        torch.save(dict(state_dict=model.state_dict()), folder / name)

    return read_config(str(path)), save


@pytest.mark.parametrize(('prefix', 'unit'), [('epoch', 'epoch'), ('iter', 'iteration')])
def test_checkpoints_in_the_order_of_training(tmp_path, recwarn, prefix, unit):
    cfg, save = toy(tmp_path)
    for number in (10, 2, 1):
        save(f'{prefix}_{number}.pth', number / 10)
    for other in ('best_error_epoch_3.pth', 'epoch_4.pth.part', 'iter_5_ema.pth', 'last_checkpoint'):
        (tmp_path / other).write_text('')
    assert find_checkpoints(tmp_path) == (unit, {step: tmp_path / f'{prefix}_{step}.pth' for step in (1, 2, 10)})
    steps, metrics = epoch_sweep(cfg, tmp_path, tmp_path / 'out')
    assert steps.tolist() == [1, 2, 10] and [*metrics] == ['error']
    expected = [evaluate(cfg, tmp_path / f'{prefix}_{step}.pth', tmp_path / 'test')['error'] for step in steps]
    assert metrics['error'].tolist() == expected and len(set(expected)) == 3
    assert not any('has been created' in str(warning.message) for warning in recwarn)  # mmengine's shared loggers

    save(f'{prefix}_11.pth', 2)
    before = len((tmp_path / 'seen.txt').read_text().split())
    steps, _ = epoch_sweep(cfg, tmp_path, tmp_path / 'out')
    assert steps.tolist() == [1, 2, 10, 11]
    assert len((tmp_path / 'seen.txt').read_text().split()) == before + SAMPLES  # one evaluation


def test_epochs_are_taken_where_there_are_both(tmp_path):
    for name in ('iter_100.pth', 'epoch_1.pth'):
        (tmp_path / name).write_text('')
    assert find_checkpoints(tmp_path) == ('epoch', {1: tmp_path / 'epoch_1.pth'})


def test_a_work_folder_without_checkpoints(tmp_path):
    with pytest.raises(UserError, match=rf'^no epoch_\*\.pth or iter_\*\.pth in {tmp_path} .*max_keep_ckpts=-1'):
        epoch_sweep(Config(), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'backbone.layers.1.attn.qkv.weight': None}, r'1 weights \(backbone.layers.1.attn.qkv.weight\) missing'),
        ({'backbone.cls_token': torch.zeros(1, 1, 8)}, r'1 weights of other shapes: backbone.cls_token \(\[1, 1, 8\]'),
    ],
)
def test_random_weights_are_not_measured(tmp_path, read, changes, message):
    weights = save_weights(tmp_path / 'w.pth', **changes)
    with pytest.raises(UserError, match=f'w.pth does not fit the model AttentionSegmentor: {message}'):
        evaluate(read('segmentation'), weights, tmp_path)


def test_positions_of_another_size_fit(tmp_path, read):
    weights = save_weights(tmp_path / 'w.pth')
    small = read('segmentation', 'model.backbone.img_size=24')
    assert evaluate(small, weights, tmp_path)['coarse_seg/layer_2/mIoU'] > 0


@pytest.mark.parametrize('layer', [3, -4])
def test_layers_that_there_are_not(tmp_path, read, layer):
    with pytest.raises(UserError, match=f'^no layer {layer}: the backbone has 3 layers'):
        layer_sweep(read('maskcut'), 'weights.pth', tmp_path, [0, layer])


def test_configs_without_a_layer_to_choose(tmp_path):
    cfg, _ = toy(tmp_path)
    with pytest.raises(UserError, match='a config of configs/maskcut or configs/segmentation, not model ToyModel'):
        layer_sweep(cfg, 'weights.pth', tmp_path)


def test_counting_layers_leaves_the_scope_alone(tmp_path, read):
    cfg = read('maskcut', 'model.backbone.type=VisionTransformer', 'default_scope=mmpretrain')
    for key in ('init', 'arch.feedforward_channels'):
        cfg.model.backbone.pop(key, None)
    cfg.model.backbone.arch = dict(ARCH, feedforward_channels=32)
    DefaultScope.get_instance('test', scope_name='mmseg')
    with pytest.raises(UserError, match='^checkpoint not found: weights.pth'):
        layer_sweep(cfg, 'weights.pth', tmp_path)
    assert DefaultScope.get_current_instance().scope_name == 'mmseg'


def test_the_main_process_knows_what_is_done(tmp_path, monkeypatch):
    """Others may not see its disk."""
    monkeypatch.setattr(sweeps, 'broadcast_object_list', lambda known: known.__setitem__(0, {'key': {}}))
    assert Measurements(tmp_path, 'layers').known == {'key': {}}


@pytest.mark.parametrize(
    'text', ['', '\xff{', '[1]', '5', '{"a": 5}', '{"a": {"metrics": {"mAP": "x"}}}', '[' * 100_000]
)
def test_damaged_measurements_are_named(tmp_path, text):
    (tmp_path / 'layers.json').write_text(text, encoding='latin-1')
    with pytest.raises(UserError, match=r'layers\.json is damaged: remove it and repeat the command'):
        Measurements(tmp_path, 'layers')


def test_headlines():
    assert headline(['coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/segm_mAP']) == (
        ['coco/bbox_mAP', 'coco/segm_mAP'],
        'AP (from 0 to 1)',
    )
    assert headline(['coarse_seg/head_0', 'coarse_seg/mIoU']) == (['coarse_seg/mIoU'], 'mIoU (%)')
    assert headline(['accuracy/top1', 'accuracy/top5']) == (['accuracy/top1', 'accuracy/top5'], 'metric')
