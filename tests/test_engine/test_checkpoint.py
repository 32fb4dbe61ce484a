import shutil
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from toy_runs import InterruptionError, config, forget_runs, last_checkpoint, load, load_tool, run_tool, same, train

from projects.crate.engine import launch
from projects.crate.errors import UserError

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
    assert not list((tmp_path / 'run').glob('.*.part'))
    stray = tmp_path / 'run' / '.epoch_9.pth.part'
    stray.touch()
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


def validated(folder, scores=(3.0, 2.0, 1.0, 0.5), **checkpoint):
    """A run whose validations give ``scores``, the less the better; a checkpoint and a best one each epoch."""
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyDataset', log=str(folder / 'val.txt')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    checkpoint = dict(type='CheckpointHook', interval=1, save_best='error', rule='less') | checkpoint
    evaluator = dict(type='ScriptedMetric', scores=list(scores))
    return config(folder, checkpoint=checkpoint, val_cfg=dict(), val_evaluator=evaluator, val_dataloader=loader)


LONGER = 'train_cfg.max_epochs=4'


def rewrite(path, **notes):
    """Change what a checkpoint notes of its run; None drops a note."""
    checkpoint = load(path)
    info = checkpoint['message_hub']['runtime_info']
    info.update(notes)
    for key in [key for key, value in info.items() if value is None]:
        del info[key]
    checkpoint['message_hub']['resumed_keys'].update(dict.fromkeys(notes, True))
    torch.save(checkpoint, path)


def test_best_checkpoint_outlives_a_failed_save(tmp_path, monkeypatch):
    runner = build(validated(tmp_path))
    fail_while_writing(monkeypatch, 'best_error_epoch_2.pth')
    with pytest.raises(DiskFullError):
        runner.train()
    assert files(tmp_path) == ['best_error_epoch_1.pth', 'epoch_1.pth', 'epoch_2.pth']
    load(tmp_path / 'run' / 'best_error_epoch_1.pth')


def test_a_better_checkpoint_takes_the_place_of_the_best(tmp_path):
    train(validated(tmp_path, scores=(3.0, 4.0, 1.0)))
    assert files(tmp_path) == ['best_error_epoch_3.pth', 'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']
    info = last_checkpoint(tmp_path)['message_hub']['runtime_info']
    assert (info['best_score'], info['best_ckpt']) == (1.0, str(tmp_path / 'run' / 'best_error_epoch_3.pth'))


@pytest.mark.parametrize('checkpoint', [dict(), dict(save_best='auto'), dict(save_best=['error', 'twice'])])
def test_a_copy_of_a_run_leaves_the_original_alone(tmp_path, checkpoint):
    """The copy resumes from its own checkpoint, and its own best checkpoint is the one that is replaced."""
    train(validated(tmp_path / 'a', max_keep_ckpts=1, **checkpoint))
    original = {path.name: path.read_bytes() for path in (tmp_path / 'a' / 'run').glob('*.pth')}
    shutil.copytree(tmp_path / 'a' / 'run', tmp_path / 'b' / 'run')
    runner = train(validated(tmp_path / 'b', max_keep_ckpts=1, **checkpoint), 'auto', LONGER)
    assert runner._load_from == str(tmp_path / 'b' / 'run' / 'epoch_3.pth')
    assert {path.name: path.read_bytes() for path in (tmp_path / 'a' / 'run').glob('*.pth')} == original
    best = [name.replace('3', '4') for name in sorted(original) if name.startswith('best')]
    assert files(tmp_path / 'b') == [*best, 'epoch_4.pth']
    assert len(best) == (2 if isinstance(checkpoint.get('save_best'), list) else 1)


def test_a_copy_with_a_folder_of_its_own_for_checkpoints(tmp_path):
    """``out_dir`` lies elsewhere, and the pointer to the last checkpoint is in the work folder."""
    train(validated(tmp_path / 'a', out_dir=str(tmp_path / 'a' / 'big')))
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    shutil.rmtree(tmp_path / 'a')
    runner = train(validated(tmp_path / 'b', out_dir=str(tmp_path / 'b' / 'big')), 'auto', LONGER)
    assert runner._load_from == str(tmp_path / 'b' / 'big' / 'run' / 'epoch_3.pth')
    names = sorted(path.name for path in (tmp_path / 'b' / 'big' / 'run').glob('best*'))
    assert names == ['best_error_epoch_4.pth']


@pytest.mark.parametrize(
    'forged',
    [
        '{root}/precious.pth',
        '{root}/folder',
        '{root}/run/../precious.pth',
        '../precious.pth',
        '{root}/run/notes.pth',
        '{root}/run/epoch_1.pth',
        '{root}/run',
        '',
        7,
        ['{root}/precious.pth'],
    ],
)
def test_a_forged_best_checkpoint_is_not_removed(tmp_path, forged):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'run').mkdir()
    others = [tmp_path / 'precious.pth', tmp_path / 'folder' / 'best_error_epoch_1.pth', tmp_path / 'run' / 'notes.pth']
    for path in others:
        path.write_text('keep')
    train(validated(tmp_path))
    forged = forged.format(root=tmp_path) if isinstance(forged, str) else forged
    rewrite(tmp_path / 'run' / 'epoch_3.pth', best_ckpt=forged)
    train(validated(tmp_path), 'auto', LONGER)
    assert all(path.read_text() == 'keep' for path in others)
    plain = [f'epoch_{number}.pth' for number in (1, 2, 3, 4)]
    assert files(tmp_path) == ['best_error_epoch_3.pth', 'best_error_epoch_4.pth', *plain, 'notes.pth']


@pytest.mark.parametrize('score', ['high', float('nan'), None, [1.0]])
def test_a_best_score_that_is_no_number_is_forgotten(tmp_path, score):
    train(validated(tmp_path))
    rewrite(tmp_path / 'run' / 'epoch_3.pth', best_score=score)
    train(validated(tmp_path, scores=[9.0] * 4), 'auto', LONGER)
    assert last_checkpoint(tmp_path)['message_hub']['runtime_info']['best_score'] == 9.0


@pytest.mark.parametrize('steps', [['../../precious', 4, 6], ['x/../../precious', True, 2.5], 'precious', [[1]], [-3]])
def test_forged_steps_remove_nothing(tmp_path, steps):
    names = ['precious.pth', 'iter_..', 'iter_True.pth', 'iter_2.5.pth']
    train(config(tmp_path, checkpoint=KEEP_ONE))
    for name in names:
        (tmp_path / name).write_text('keep')
        (tmp_path / 'run' / name).write_text('keep')
    last = tmp_path / 'run' / 'iter_15.pth'
    rewrite(last, keep_ckpt_ids=steps, outdated_ckpts=['../precious.pth', 'precious.pth', 'iter_../precious.pth', 7])
    train(config(tmp_path, checkpoint=KEEP_ONE), 'auto', LONGER)
    assert all((folder / name).read_text() == 'keep' for folder in (tmp_path, tmp_path / 'run') for name in names)


def test_links_are_removed_and_not_what_they_lead_to(tmp_path):
    """A folder of links to a run, as ``cp -rs`` makes it; a sharded checkpoint is a folder."""
    train(validated(tmp_path / 'a', max_keep_ckpts=1))
    run, elsewhere = tmp_path / 'b' / 'run', tmp_path / 'shards'
    run.mkdir(parents=True)
    for path in (tmp_path / 'a' / 'run').glob('*.pth'):
        (run / path.name).symlink_to(path)
    (run / 'last_checkpoint').write_text(str(run / 'epoch_3.pth'))
    elsewhere.mkdir()
    (elsewhere / 'shard').write_text('keep')
    (run / 'best_error_epoch_3.pth').unlink()
    (run / 'best_error_epoch_3.pth').symlink_to(elsewhere)
    train(validated(tmp_path / 'b', max_keep_ckpts=1), 'auto', LONGER)
    assert files(tmp_path / 'a') == ['best_error_epoch_3.pth', 'epoch_3.pth']
    assert files(tmp_path / 'b') == ['best_error_epoch_4.pth', 'epoch_4.pth']
    assert (elsewhere / 'shard').read_text() == 'keep'


@pytest.mark.parametrize('template', ['../epoch_{}.pth', 'sub/epoch_{}.pth'])
def test_a_name_of_checkpoints_has_no_folder(tmp_path, template):
    with pytest.raises(UserError, match='filename_tmpl'):
        build(validated(tmp_path, filename_tmpl=template))


def test_one_name_for_all_checkpoints(tmp_path):
    train(config(tmp_path, checkpoint=dict(KEEP_ONE, filename_tmpl='latest.pth')))
    assert files(tmp_path) == ['latest.pth']


@pytest.mark.parametrize('after, best', [('epoch_3.pth', 2), ('best_error_epoch_3.pth', 3)])
def test_outdated_files_that_a_kill_left_go_at_the_next_start(tmp_path, monkeypatch, after, best):
    """Stop between the pointer to the new checkpoint and the removal of the old ones."""
    from projects.crate.engine import checkpoint

    remove = checkpoint._remove

    def stop(path):
        if 'epoch_2.pth' in path.name and path.suffix == '.pth' and Path(tmp_path, 'run', after).exists():
            raise InterruptionError
        remove(path)

    path = validated(tmp_path, max_keep_ckpts=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, '_remove', stop)
        with pytest.raises(InterruptionError):
            train(path)
    assert 'epoch_3.pth' in files(tmp_path) and len(files(tmp_path)) >= 3
    (tmp_path / 'run' / 'epoch_1.pth').write_text('of somebody else')
    train(path, 'auto')
    assert files(tmp_path) == [f'best_error_epoch_{best}.pth', 'epoch_1.pth', 'epoch_3.pth']


def test_a_second_training_in_the_folder_is_refused(tmp_path):
    """It would take unfinished files of the first for remains of a killed one."""
    path = config(tmp_path, checkpoint=KEEP_ONE)
    runner, seen = build(path), []

    class Second(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 2:
                part = tmp_path / 'run' / '.iter_4.pth.part'
                part.touch()
                result = run_tool('train.py', path, '--resume', check=False)
                seen.extend([result.returncode, result.stderr.splitlines()[-1], part.exists()])
                part.unlink()

    runner.register_hook(Second())
    runner.train()
    folder = tmp_path / 'run'
    assert seen == [
        1,
        f'train: another process trains in {folder}: end it, or choose another --work-dir',
        True,
    ]
    assert files(tmp_path) == ['iter_15.pth']


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


def test_nothing_of_a_resumed_checkpoint_is_executed(tmp_path):
    """mmengine runs ``meta['config']``, which old files had, as Python."""
    path = config(tmp_path, checkpoint=KEEP_ONE)
    train(path)
    file, touched = tmp_path / 'run' / 'iter_15.pth', tmp_path / 'touched'
    checkpoint = load(file)
    checkpoint['meta']['config'] = f'__import__("pathlib").Path({str(touched)!r}).touch()'
    torch.save(checkpoint, file)
    train(path, 'auto', LONGER)
    assert not touched.exists()
    assert last_checkpoint(tmp_path)['meta']['iter'] == 20


def put(*keys, value):
    """A change of one value in a checkpoint."""

    def change(checkpoint):
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        checkpoint[keys[-1]] = value

    return change


STATES = {
    'meta': put('meta', value=5),
    'meta.epoch': put('meta', 'epoch', value='3'),
    'meta.iter': put('meta', 'iter', value=-1),
    'meta.seed': put('meta', 'seed', value='seed'),
    'meta.seed ': put('meta', 'seed', value=2**40),
    'meta.seed  ': put('meta', 'seed', value=1.5),
    'message_hub': put('message_hub', value=[]),
    'message_hub.log_scalars': put('message_hub', 'log_scalars', value=5),
    'message_hub.runtime_info': put('message_hub', 'runtime_info', value={5: 5}),
    'optimizer': put('optimizer', value=5),
    'optimizer.param_groups': put('optimizer', 'param_groups', value=[5]),
    'optimizer.state': put('optimizer', 'state', 0, 'exp_avg', value='text'),
    'param_schedulers': put('param_schedulers', 0, 'step', value=5),
    'ema_state_dict': put('ema_state_dict', 'steps', value='text'),
    'optimizer.param_groups[0] has other parameters': put('optimizer', 'param_groups', 0, 'params', value=[]),
    'loaded state dict has a different number of': put('optimizer', 'param_groups', value=[]),
    'optimizer.param_groups[0] has other parameters ': put(
        'optimizer', 'param_groups', 0, 'params', value=[0, 0, 0, 0]
    ),
    'its gradients do not fit the model': put('gradients', value={'net.0.bias': torch.ones(3)}),
    'its gradients do not fit the model ': put('gradients', value=5),
    'message_hub.resumed_keys': put('message_hub', 'resumed_keys', 'train/loss', value='text'),
    'optimizer.param_groups[0].lr cannot be used': put('optimizer', 'param_groups', 0, 'lr', value=None),
    'optimizer.param_groups[0].maximize cannot': put('optimizer', 'param_groups', 0, 'maximize', value=True),
    'optimizer.param_groups[0].betas cannot': put('optimizer', 'param_groups', 0, 'betas', value=(0.9, float('nan'))),
    'base_values of param_schedulers[0]': put('param_schedulers', 0, 'base_values', value=[]),
    'optimizer of param_schedulers[0]': put('param_schedulers', 0, 'optimizer', value=5),
    'The size of tensor': put('optimizer', 'state', 0, 'exp_avg', value=torch.zeros(3, 3)),
    "'NoneType' object": put('optimizer', 'state', 0, 'exp_avg', value=None),
    'cannot be converted to Scalar': put('optimizer', 'state', 0, 'step', value=torch.zeros(3)),
}


@pytest.mark.parametrize('name', STATES)
def test_a_state_that_mmengine_did_not_save_is_one_line(tmp_path, capsys, name):
    path = config(tmp_path, checkpoint=KEEP_ONE)
    train(path)
    file = tmp_path / 'run' / 'iter_15.pth'
    checkpoint = load(file)
    STATES[name](checkpoint)
    torch.save(checkpoint, file)
    forget_runs()
    capsys.readouterr()
    assert load_tool('train')([str(path), '--resume', str(file), '--cfg-options', LONGER]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'train: {file}: ') and name.strip() in line


def forget(*parameters):
    def change(checkpoint):
        for parameter in parameters:
            del checkpoint['optimizer']['state'][parameter]

    return change


LOSSES = {
    'optimizer.state lacks 1 of 4 trained parameters': forget(2),
    'optimizer.state lacks 4 of 4 trained parameters': forget(0, 1, 2, 3),
    'holds NaN or infinity, first in optimizer.state[1].exp_avg_sq': put(
        *('optimizer', 'state', 1, 'exp_avg_sq'), value=torch.full((8,), torch.nan)
    ),
    'ema_state_dict of {file} holds NaN or infinity, first in module.net.0.bias': put(
        *('ema_state_dict', 'module.net.0.bias'), value=torch.full((8,), torch.inf)
    ),
    'gradients of {file} holds NaN or infinity, first in net.0.bias': put(
        'gradients', value={'net.0.bias': torch.full((8,), torch.inf)}
    ),
}


@pytest.mark.parametrize('message', LOSSES)
def test_lost_parts_of_a_state_are_a_warning(tmp_path, capsys, message):
    path = config(tmp_path, checkpoint=KEEP_ONE)
    train(path)
    file = tmp_path / 'run' / 'iter_15.pth'
    for change, is_told in ((lambda checkpoint: None, False), (LOSSES[message], True)):
        checkpoint = load(file)
        change(checkpoint)
        torch.save(checkpoint, tmp_path / 'forged.pth')
        forget_runs()
        capsys.readouterr()
        folder = tmp_path / f'run{is_told}'
        arguments = ['--resume', str(tmp_path / 'forged.pth'), '--work-dir', str(folder), '--cfg-options', LONGER]
        assert load_tool('train')([str(path), *arguments]) == 0
        assert (message.format(file=tmp_path / 'forged.pth') in capsys.readouterr().out) == is_told


WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4)
COSINE = dict(type='CosineAnnealingLR', by_epoch=False, T_max=20)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(param_scheduler=[WARM_UP, COSINE]), 'it has 1 schedulers, and the config 2'),
        (dict(param_scheduler=None), 'it has 1 schedulers, and the config 0'),
        (dict(param_scheduler=[COSINE]), 'param_schedulers[0] does not belong to a CosineAnnealingLR'),
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.02))), 'its optimizer is of another type'),
    ],
)
def test_a_resumed_run_has_the_optimiser_and_schedules_of_its_checkpoint(tmp_path, capsys, changes, message):
    """mmengine continues with values of one scheduler in another: with four times the learning rate, for example."""
    train(config(tmp_path, checkpoint=KEEP_ONE, param_scheduler=[WARM_UP]))
    path = config(tmp_path, checkpoint=KEEP_ONE, **{'param_scheduler': [WARM_UP], **changes})
    forget_runs()
    capsys.readouterr()
    assert load_tool('train')([str(path), '--resume', '--cfg-options', LONGER]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and 'load_from=' in line


@pytest.mark.parametrize(
    'loop', [dict(type='EpochBasedTrainLoop', max_epochs=4), dict(type='IterBasedTrainLoop', max_iters=20)]
)
@pytest.mark.parametrize(
    'geometry',
    [
        5,
        'text',
        torch.ones(2),
        dict(samples='4', batches=5),
        dict(samples=0, shift=0),
        dict(samples=10**18, shift=0),
        dict(samples=4, shift=10**18),
        dict(samples=4, shift=-(10**6)),
        dict(samples=4, batches=10**6),
        dict(samples=2, batches=1),
    ],
    ids=str,
)
def test_a_forged_geometry_is_harmless(tmp_path, loop, geometry):
    path = config(tmp_path, loop=loop, checkpoint=dict(KEEP_ONE, interval=6))
    train(path, None, *(['train_cfg.max_epochs=3'] if 'max_epochs' in loop else ['train_cfg.max_iters=15']))
    rewrite(tmp_path / 'run' / 'iter_15.pth', train_geometry=geometry)
    train(path, 'auto')
    assert last_checkpoint(tmp_path)['meta']['iter'] >= 20


def test_histories_without_entries_are_dropped(tmp_path):
    path = config(tmp_path, checkpoint=KEEP_ONE)
    train(path)
    file = tmp_path / 'run' / 'iter_15.pth'
    checkpoint = load(file)
    checkpoint['message_hub']['log_scalars']['train/forged'] = HistoryBuffer()
    torch.save(checkpoint, file)
    train(path, 'auto', LONGER)
    assert last_checkpoint(tmp_path)['meta']['iter'] == 20
