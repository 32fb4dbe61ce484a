import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModule
from mmengine.runner import EpochBasedTrainLoop
from tiny_models import ARCH
from toy_runs import ROOT, ToyModel, config, train

from projects.crate.checkpoints import fill, weights_of
from projects.crate.engine import launch, stock_parts
from projects.crate.engine.mistakes import mistakes_of
from projects.crate.errors import FileError, UserError, explain
from projects.crate.models import CRATE

CONFIGS = {
    'mmpretrain': 'resnet/resnet18_8xb32_in1k.py',
    'mmdet': 'retinanet/retinanet_r18_fpn_1x_coco.py',
    'mmseg': 'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py',
}


def prepared(path, *options, **kwargs):
    cfg = launch.read_config(str(path), options)
    launch.prepare_training(cfg, **kwargs)
    return cfg


@pytest.mark.parametrize('library', CONFIGS)
def test_stock_parts_are_exchanged(library):
    path = Path(import_module(library).__file__).parent / '.mim' / 'configs' / CONFIGS[library]
    cfg = prepared(path)
    assert cfg.train_cfg.type == (
        'ResumableIterBasedTrainLoop' if library == 'mmseg' else 'ResumableEpochBasedTrainLoop'
    )
    assert 'by_epoch' not in cfg.train_cfg
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert cfg.default_hooks.logger.type == 'MainProcessLoggerHook'
    assert cfg.work_dir == f'work_dirs/{path.stem}'
    text = str(cfg.train_dataloader) + str(cfg.val_dataloader)  # mmcv's transform would wait for a pipe in the folder
    assert 'LoadImageOrSkip' in text and 'LoadImageFromFile' not in text
    # mmpretrain leaves this to its tools; the others say it in their configs
    assert ('collate_fn' in cfg.train_dataloader) == (library == 'mmpretrain')


@pytest.mark.parametrize('tta', [False, True])
def test_label_maps_of_mmseg_are_checked(tmp_path, tta):
    """Also within the pipelines of wrapped data sets and of test-time augmentation; other libraries keep theirs."""
    torch.save({}, tmp_path / 'weights.pth')
    root = Path(import_module('mmseg').__file__).parent / '.mim' / 'configs'
    cfg = launch.read_config(str(root / 'upernet/upernet_r50_4xb4-20k_voc12aug-512x512.py'))
    launch.prepare_training(cfg)
    launch.prepare_testing(cfg, str(tmp_path / 'weights.pth'), tta=tta)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        text = str(loader)
        assert "'LoadLabelMap', 'backend_args': None, 'num_classes': 21" in text and 'LoadAnnotations' not in text
    cfg = launch.read_config(str(Path(import_module('mmdet').__file__).parent / '.mim' / 'configs' / CONFIGS['mmdet']))
    launch.prepare_training(cfg)
    assert cfg.train_dataloader.dataset.pipeline[0].type == 'LoadImageOrSkip'
    assert (cfg.train_dataloader.dataset.pipeline[0].skip, cfg.val_dataloader.dataset.pipeline[0].skip) == (True, False)
    assert 'LoadAnnotations' in str(cfg.train_dataloader)
    # mmdet's DetInferencer looks for it in the config of a checkpoint
    written = cfg[stock_parts.ELSEWHERE].test_dataloader.dataset.pipeline
    assert written[0].type == 'LoadImageFromFile'


@pytest.mark.parametrize('launcher, norm', [('none', 'SyncBN'), ('pytorch', 'MMSyncBN')])
def test_norms_that_need_several_processes(tmp_path, launcher, norm):
    """mmcv's MMSyncBN cannot be built in a run of one process; mmdet's strong_baselines have it."""
    cfg = Config.fromfile(config(tmp_path))
    cfg.launcher, cfg.model.heads = launcher, [dict(norm_cfg=dict(type='MMSyncBN', requires_grad=True))]
    launch.prepare_training(cfg)
    assert cfg.model.heads[0].norm_cfg.type == norm


def test_parts_by_their_type_and_parts_of_others(tmp_path):
    cfg = Config.fromfile(config(tmp_path))
    cfg.train_cfg.type = EpochBasedTrainLoop
    cfg.default_hooks.checkpoint.type = CheckpointHook
    cfg.custom_hooks = [dict(type='mmengine.CheckpointHook', interval=1), dict(type='EMAHook')]
    launch.prepare_training(cfg)
    assert cfg.train_cfg.type == 'ResumableEpochBasedTrainLoop'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert [hook.type for hook in cfg.custom_hooks] == ['AtomicCheckpointHook', 'EMAHook']
    cfg.train_cfg = dict(type='mmpretrain.MyLoop', max_epochs=1)
    cfg.default_hooks = dict(checkpoint=None)
    launch.prepare_training(cfg)
    assert cfg.train_cfg.type == 'mmpretrain.MyLoop'
    assert cfg.default_hooks.checkpoint is None  # switched off by the user
    cfg.default_hooks = None
    launch.prepare_training(cfg)
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'  # mmengine would add its own
    assert cfg.default_hooks.logger.type == 'MainProcessLoggerHook'


def test_no_validate_and_scale_lr(tmp_path):
    path = config(tmp_path, auto_scale_lr=dict(base_batch_size=8), val_cfg=dict(), val_dataloader=dict(batch_size=1))
    cfg = prepared(path, validate=False, scale_lr=True)
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.auto_scale_lr.enable


def save(folder, name='iter_2.pth', seed=7):
    folder.mkdir(parents=True, exist_ok=True)
    meta, hub = dict(seed=seed, epoch=0, iter=2), dict(log_scalars={}, runtime_info={}, resumed_keys={})
    torch.save(dict(meta=meta, optimizer={}, message_hub=hub, state_dict={}), folder / name)
    (folder / 'last_checkpoint').write_text(str(folder / name))
    return str(folder / name)


def test_auto_resume_starts_where_there_is_nothing(tmp_path):
    """The weights to start from stay: the same command starts a run and goes on with it."""
    weights = save(tmp_path / 'pretrained')
    cfg = prepared(config(tmp_path), f'load_from={weights}', resume='auto')
    assert (cfg.resume, cfg.load_from) == (False, weights)
    saved = save(tmp_path / 'run')
    cfg = prepared(config(tmp_path), f'load_from={weights}', 'randomness.diff_rank_seed=True', resume='auto')
    assert (cfg.resume, cfg.load_from) == (True, saved)
    assert cfg.randomness == dict(seed=7, diff_rank_seed=True)


def test_moved_work_folder(tmp_path):
    save(tmp_path / 'old')
    (tmp_path / 'old').rename(tmp_path / 'run')
    assert prepared(config(tmp_path), resume='auto').load_from == str(tmp_path / 'run' / 'iter_2.pth')
    (tmp_path / 'run' / 'iter_2.pth').unlink()
    with pytest.raises(UserError, match='checkpoint not found: .*old/iter_2.pth'):
        prepared(config(tmp_path), resume='auto')


def hook_names(runner):
    return sorted(type(hook).__name__ for hook in runner.hooks)


def test_written_config_trains_as_the_run_did(tmp_path, monkeypatch):
    """Each hook once, also on a terminal; and a new run, although the run that wrote it went on from a checkpoint."""
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    weights = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=ToyModel().state_dict()), weights)
    path = config(tmp_path)
    train(path, None, f'load_from={weights}')
    first = train(path, 'auto', f'load_from={weights}', 'train_cfg.max_epochs=4')
    written = tmp_path / 'run' / 'toy.json'
    stock = Config.fromfile(written)
    assert (stock.resume, stock.load_from) == (False, str(weights))
    again = train(written, None, f'work_dir={tmp_path / "again"}')
    assert hook_names(again) == hook_names(first)
    assert {'CheckStridesHook', 'ProgressBarHook'} <= set(hook_names(again))
    assert len(set(hook_names(again))) == len(hook_names(again))
    assert (again._resume, again._load_from, again.iter) == (False, str(weights), 20)
    assert Config.fromfile(tmp_path / 'again' / 'toy.json').custom_hooks == stock.custom_hooks


@pytest.mark.parametrize('broken', ['', 'run/\0.pth'])
def test_damaged_pointers_are_one_line(tmp_path, broken):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'last_checkpoint').write_text(broken)
    with pytest.raises(UserError, match='last_checkpoint names no file; give one with --resume PATH'):
        prepared(config(tmp_path), resume='auto')


WRAPPER = dict(find_unused_parameters=True, broadcast_buffers=True, static_graph=True)


@pytest.mark.parametrize('strategy', [None, dict(type='DDPStrategy', model_wrapper=WRAPPER)])
def test_settings_of_the_wrapper_win_on_a_cpu(strategy):
    """Also those of a strategy, and beside the key that mmengine reads without a wrapper."""
    cfg = Config(dict(find_unused_parameters=False, model_wrapper_cfg=WRAPPER))
    if strategy:
        cfg = Config(dict(strategy=strategy))
    stock_parts.use_cpu_wrappers(cfg)
    wrapper = cfg.strategy.model_wrapper if strategy else cfg.model_wrapper_cfg
    assert wrapper == dict(WRAPPER, type='CPUDistributedDataParallel')
    other = Config(dict(model_wrapper_cfg=dict(type='MyWrapper', depth=2)))
    stock_parts.use_cpu_wrappers(other)
    assert other.model_wrapper_cfg == dict(type='MyWrapper', depth=2)


def test_positions_that_do_not_fit_are_one_line():
    model = CRATE(arch=ARCH, img_size=16, patch_size=4)
    weights = weights_of(dict(CRATE(arch=ARCH, img_size=(8, 12), patch_size=4).state_dict()), 'a.pth')
    with pytest.raises(UserError, match='^a.pth does not fit the model CRATE: pos_embed .* not a square grid'):
        fill(model, weights)


def test_testing(tmp_path):
    weights = save(tmp_path / 'run')
    loader = dict(
        batch_size=1, num_workers=0, dataset=dict(type='Repeat', dataset=dict(type='Inner', pipeline=['plain']))
    )
    parts = dict(test_cfg=dict(), test_dataloader=loader, test_evaluator=dict(type='ToyMetric'))
    for scope, dump in (('mmdet', 'mmdet.DumpDetResults'), ('mmseg', 'DumpResults')):
        cfg = launch.read_config(str(config(tmp_path, default_scope=scope, **parts)))
        launch.prepare_testing(cfg, weights, out='out.pkl')
        assert [metric.type for metric in cfg.test_evaluator] == ['ToyMetric', dump]
        assert (cfg.load_from, cfg.resume) == (weights, False)
        assert cfg.default_hooks.logger.type == 'MainProcessLoggerHook'
    with pytest.raises(UserError, match='--tta needs tta_model'):
        launch.prepare_testing(cfg, weights, tta=True)
    with pytest.raises(UserError, match='--show-dir needs default_hooks.visualization'):
        launch.prepare_testing(cfg, weights, show_dir='pictures')
    cfg.tta_model, cfg.tta_pipeline = dict(type='TTA'), ['augmented']
    launch.prepare_testing(cfg, weights, tta=True)
    assert cfg.model == dict(type='TTA', module=dict(type='ToyModel'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == ['augmented']


TINY = """
import torch
from toy_runs import load_tool
assert load_tool('train')(['{path}']) == 0
tiny = torch.full((1 << 20,), 1000, dtype=torch.int32).view(torch.float32)  # 1.4e-42
print(torch.get_num_threads(), (tiny * 1).view(torch.int32).count_nonzero().item())
"""


def test_tiny_numbers_are_zero_in_every_thread(tmp_path):
    """In a process of its own: threads take the setting over from the one that starts them, once."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    command = [sys.executable, '-c', TINY.format(path=config(tmp_path))]
    result = subprocess.run(
        command,
        env=dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS='2', MKL_NUM_THREADS='2'),
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1:] == ['2 0'], result.stderr[-3000:]


@pytest.mark.parametrize('chosen, spins', [({}, '1000'), (dict(OMP_WAIT_POLICY='ACTIVE'), None)])
def test_idle_threads_sleep_soon_unless_the_user_chose(monkeypatch, chosen, spins):
    for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import_module('_cli').wait_without_spinning()
    assert os.environ.get('GOMP_SPINCOUNT') == spins


def test_errors_of_workers_are_one_line():
    message = (
        'Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback\n...\nFileNotFoundError: x.jpg'
    )
    assert explain(FileNotFoundError(message)) == 'FileNotFoundError: x.jpg'
    message = (
        'Caught FileError in DataLoader worker process 0.\n...\nprojects.crate.errors.FileError: damaged image x.jpg'
    )
    assert explain(FileError(message)) == 'damaged image x.jpg'


def test_an_init_cfg_without_its_weights_is_a_mistake(tmp_path):
    """mmengine asserts, long after the model was built."""
    torch.save(dict(head=torch.zeros(1)), tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.')
    (tmp_path / 'a.py').write_text('')
    cfg = Config(dict(model=dict(init_cfg)), filename=str(tmp_path / 'a.py'))
    message = r'/a\.py: .*/a\.pth: backbone\. is not in the pretrained model$'
    with pytest.raises(UserError, match=message), mistakes_of(cfg):
        BaseModule(init_cfg).init_weights()


def test_each_coco_file_is_read_once(monkeypatch, tmp_path):
    """By all that its readers need: data sets need names, and masks if they load them; metrics may need masks.

    Annotations are needed by trainings, and by metrics that compare.
    """
    read = []
    monkeypatch.setattr(launch, 'read_coco', lambda path, masks, truth: read.append((path, masks, truth)))
    monkeypatch.setattr(launch, 'check_names', lambda content, path: read.append(path))
    files = {split: str(tmp_path / f'{split}.json') for split in ('train', 'val')}
    for file in files.values():
        Path(file).touch()
    cfg = Config()
    for split in files:
        dataset = dict(type='CocoDataset', data_root=str(tmp_path), ann_file=f'{split}.json', pipeline=[])
        cfg[f'{split}_dataloader'] = dict(dataset=dataset)
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=files['val'], metric=['bbox', 'segm'])
    launch._prepare_data(cfg, 'train', 'val')
    assert read == [(files['train'], False, True), files['train'], (files['val'], True, True), files['val']]
    read.clear()
    cfg.val_evaluator.format_only = True
    launch._prepare_data(cfg, 'val')
    assert read == [(files['val'], True, False), files['val']]
