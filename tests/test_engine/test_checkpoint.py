from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from toy_runs import config, forget_runs, last_checkpoint, load, same, train

from projects.crate.engine import launch

pytestmark = pytest.mark.usefixtures('fast_runner')

KEEP_ONE = dict(type='CheckpointHook', interval=2, by_epoch=False, max_keep_ckpts=1)


def build(path, resume=None):
    forget_runs()
    cfg = launch.read_config(path)
    launch.prepare_training(cfg, resume)
    return launch.build_runner(cfg)


def files(folder):
    return sorted(path.name for path in Path(folder, 'run').glob('*.pth'))


class DiskFullError(Exception):
    pass


def fail_while_writing(monkeypatch, name):
    """Half of the checkpoint ``name`` reaches the disk."""
    put = LocalBackend.put

    def put_half(self, data, path):
        if name in str(path):
            Path(path).write_bytes(data[: len(data) // 2])
            raise DiskFullError
        put(self, data, path)

    monkeypatch.setattr(LocalBackend, 'put', put_half)


def test_good_checkpoint_outlives_a_failed_save(tmp_path, monkeypatch):
    runner = build(config(tmp_path, checkpoint=KEEP_ONE))
    with monkeypatch.context() as patch:
        fail_while_writing(patch, 'iter_6.pth')
        with pytest.raises(DiskFullError):
            runner.train()
    assert files(tmp_path) == ['iter_4.pth']
    assert last_checkpoint(tmp_path)['meta']['iter'] == 4
    stray = tmp_path / 'run' / '.epoch_9.pth.part'
    stray.touch()
    assert len(list(stray.parent.glob('.*.part'))) == 2
    build(config(tmp_path, checkpoint=KEEP_ONE), 'auto').train()
    assert files(tmp_path) == ['iter_15.pth']
    assert not list(stray.parent.glob('.*.part'))


def test_outdated_checkpoints_go_one_by_one(tmp_path):
    present = []

    class Watch(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            present.append(files(tmp_path))

    runner = build(config(tmp_path, checkpoint=dict(KEEP_ONE, max_keep_ckpts=2)))
    runner.register_hook(Watch())
    runner.train()
    assert present[1] == ['iter_2.pth']
    assert present[5] == ['iter_4.pth', 'iter_6.pth']
    assert present[-1] == ['iter_14.pth', 'iter_15.pth']


def test_best_checkpoint_outlives_a_failed_save(tmp_path, monkeypatch):
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyDataset', log=str(tmp_path / 'val.txt')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    checkpoint = dict(type='CheckpointHook', interval=1, save_best='error', rule='less')
    validation = dict(val_cfg=dict(), val_evaluator=dict(type='ToyMetric'), val_dataloader=loader)
    runner = build(config(tmp_path, checkpoint=checkpoint, **validation))
    fail_while_writing(monkeypatch, 'best_error_epoch_2.pth')
    with pytest.raises(DiskFullError):
        runner.train()
    assert files(tmp_path) == ['best_error_epoch_1.pth', 'epoch_1.pth', 'epoch_2.pth']
    load(tmp_path / 'run' / 'best_error_epoch_1.pth')


def test_remote_folders_are_left_to_their_backend(tmp_path):
    from projects.crate.engine.checkpoint import _AtomicRunner

    class Recorder:
        def save_checkpoint(self, *args, **kwargs):
            self.args = args

    recorder = Recorder()
    _AtomicRunner(recorder).save_checkpoint('s3://bucket/run', 'epoch_1.pth')
    assert recorder.args == ('s3://bucket/run', 'epoch_1.pth')


def test_checkpoint_folders_are_replaced(tmp_path):
    """A sharded checkpoint is a folder; saving it again (with the new best score) replaces it whole."""
    from projects.crate.engine.checkpoint import _AtomicRunner

    class Sharded:
        def save_checkpoint(self, out_dir, filename):
            folder = Path(out_dir, filename)
            folder.mkdir()
            (folder / f'rank{len(self.saved)}.pth').write_text('shard')
            self.saved.append(filename)

    runner = Sharded()
    runner.saved = []
    for _ in range(2):
        _AtomicRunner(runner).save_checkpoint(str(tmp_path), 'epoch_1.pth')
    assert [path.name for path in (tmp_path / 'epoch_1.pth').iterdir()] == ['rank1.pth']
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']


def test_initial_weights_are_saved_before_the_first_step(tmp_path):
    path = config(tmp_path, checkpoint=dict(KEEP_ONE, initial=True))
    runner = build(path)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    saved = load(tmp_path / 'run' / 'iter_0.pth')
    assert all(torch.equal(saved['state_dict'][name], value) for name, value in before.items())
    assert (saved['meta']['epoch'], saved['meta']['iter']) == (0, 0)
    assert files(tmp_path) == ['iter_0.pth', 'iter_15.pth']  # it is none of the checkpoints that are replaced
    train(path, 'auto', 'train_cfg.max_epochs=4')
    assert same(load(tmp_path / 'run' / 'iter_0.pth')['state_dict'], saved['state_dict'])
