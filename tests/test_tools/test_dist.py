"""Several processes on the CPU, started by the scripts."""

import json
import os
import pickle
import socket

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS, MODEL_WRAPPERS
from toy_runs import ROOT, SAMPLES, ToyCRATE, ToyModel, config, last_checkpoint, run_tool, seen

from projects.crate.engine import distributed, wrap_crate_layers


def loader(folder, log, batch_size, shuffle=True):
    dataset = dict(type='ToyDataset', log=str(folder / log))
    return dict(
        batch_size=batch_size, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=shuffle)
    )


def with_test(folder):
    return dict(
        test_cfg=dict(),
        test_evaluator=dict(type='ToyMetric'),
        test_dataloader=loader(folder, 'test.txt', 3, shuffle=False),
    )


def settings(folder, batch_size, **changes):
    short = dict(type='EpochBasedTrainLoop', max_epochs=2)
    return config(
        folder, loop=short, train_dataloader=loader(folder, 'seen.txt', batch_size), **with_test(folder), **changes
    )


def test_two_processes_do_what_one_does(tmp_path):
    """The same global batch: the same weights, up to the order of sums; and the same metric."""
    one, two = tmp_path / 'one', tmp_path / 'two'
    run_tool('train.py', settings(one, 4, custom_hooks=[]))
    wrapper = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
    save = dict(type='SaveRankHook', folder=str(two))
    run_tool('dist_train.sh', settings(two, 2, custom_hooks=[save], model_wrapper_cfg=wrapper), 2)
    assert sorted(seen(two)) == sorted(seen(one)) == sorted(2 * list(range(SAMPLES)))
    ranks = [torch.load(two / f'rank{rank}.pth', weights_only=True) for rank in range(2)]
    single = last_checkpoint(one)
    assert single['meta']['iter'] == last_checkpoint(two)['meta']['iter'] == 10
    written = Config.fromfile(two / 'run' / 'toy.json')  # fit for a GPU
    assert written.model_wrapper_cfg == wrapper and 'sync_bn' not in written
    assert 'CPUDistributedDataParallel' not in last_checkpoint(two)['meta']['cfg']
    for name, value in ranks[0].items():
        assert torch.equal(value, ranks[1][name])
        torch.testing.assert_close(value, single['state_dict'][name], rtol=1e-5, atol=1e-6)

    weights = (one / 'run' / 'last_checkpoint').read_text()
    run_tool('test.py', settings(one, 4), weights, '--work-dir', one / 'test', '--out', one / 'out.pkl')
    run_tool('dist_test.sh', settings(two, 2), weights, 2, '--work-dir', two / 'test', '--out', two / 'out.pkl')
    metrics = [json.loads(next((folder / 'test').glob('*/*.json')).read_text())['error'] for folder in (one, two)]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-6)
    assert len(pickle.loads((two / 'out.pkl').read_bytes())) == SAMPLES


@pytest.mark.parametrize('is_main', [True, False])
def test_one_process_writes_the_metrics(monkeypatch, is_main):
    """All of them would write the same file at once, which shows as a mixture of two only now and then."""
    written = []
    monkeypatch.setattr(LoggerHook, 'after_test_epoch', lambda hook, runner, metrics: written.append(metrics))
    monkeypatch.setattr(distributed, 'is_main_process', lambda: is_main)
    HOOKS.build(dict(type='MainProcessLoggerHook')).after_test_epoch(None, dict(error=1.0))
    assert written == [dict(error=1.0)] * is_main


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_sync_batch_norm_becomes_batch_norm(one_process, capsys):
    """Wherever it comes from, the config or a default in the code of a model."""
    wrapper = dict(type='CPUDistributedDataParallel', module=ToyModel(norm='SyncBatchNorm'), device_ids=[0])
    model = MODEL_WRAPPERS.build(wrapper)
    assert '1 SyncBatchNorm layers are BatchNorm layers on the CPU' in capsys.readouterr().out
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())
    data = dict(inputs=torch.randn(3, 4), targets=torch.randn(3, 2))
    model(**data, mode='loss')['loss'].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fsdp_trains_saves_and_resumes(tmp_path):
    strategy = Config.fromfile(ROOT / 'configs' / '_base_' / 'strategies' / 'fsdp.py').to_dict()
    path = config(
        tmp_path,
        loop=dict(type='IterBasedTrainLoop', max_iters=4),
        sampler='InfiniteSampler',
        model=dict(type='ToyCRATE'),
        param_scheduler=[dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=3)],
        custom_hooks=[],
        **strategy,
    )
    run_tool('dist_train.sh', path, 2)
    first = last_checkpoint(tmp_path)
    run_tool('dist_train.sh', path, 2, '--resume', '--cfg-options', 'train_cfg.max_iters=6')
    second = last_checkpoint(tmp_path)
    assert (first['meta']['iter'], second['meta']['iter']) == (4, 6)
    assert len(seen(tmp_path)) == 2 * 4 * 6  # none twice
    ToyCRATE().load_state_dict(second['state_dict'])  # whole, and under the names of the plain model
    moment = second['optimizer']['state']['net.head.weight']
    assert moment['step'] == 6
    assert moment['exp_avg'].shape == (2, 8)


def test_fsdp_unit_is_a_layer():
    wrapped = [name for name, module in ToyCRATE().named_modules() if wrap_crate_layers(module, False, 0)]
    assert wrapped == ['net.backbone.layers.0', 'net.backbone.layers.1']
    assert wrap_crate_layers(torch.nn.Linear(2, 2), True, 0)


FAKE_SRUN = r"""#!/bin/bash
printf '%s\n' "$@" > "$SRUN_LOG"
if [ -z "$RUN" ]; then exit; fi
while [[ "$1" == -* ]]; do if [ "$1" = -p ]; then shift; fi; shift; done
export SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODELIST=here
exec "$@"
"""
FAKE_SCONTROL = '#!/bin/bash\necho 127.0.0.1\n'


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def test_slurm_scripts(tmp_path):
    """A stand-in for the cluster runs the training as its only task, and writes down what it is asked for."""
    for name, text in (('srun', FAKE_SRUN), ('scontrol', FAKE_SCONTROL)):
        (tmp_path / 'bin').mkdir(exist_ok=True)
        (tmp_path / 'bin' / name).write_text(text)
        (tmp_path / 'bin' / name).chmod(0o755)
    log = tmp_path / 'srun.txt'
    cluster = dict(PATH=f'{tmp_path}/bin:{os.environ["PATH"]}', SRUN_LOG=str(log), MASTER_PORT=str(free_port()))
    path, work = settings(tmp_path, 4, custom_hooks=[]), tmp_path / 'with space'
    options = dict(GPUS='16', SRUN_ARGS='--qos=high --exclusive', RUN='1')
    run_tool('slurm_train.sh', 'gpu', 'a job', path, work, '--no-validate', **cluster, **options)
    assert log.read_text().splitlines()[:9] == [
        '-p',
        'gpu',
        '--job-name=a job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--qos=high',
    ]
    assert (work / 'last_checkpoint').is_file()
    run_tool(
        'slurm_test.sh', 'gpu', 'test', path, 'weights.pth', '--tta', **cluster, GPUS='2', GPUS_PER_NODE='0', RUN=''
    )
    words = log.read_text().splitlines()
    assert not any(word.startswith('--gres') for word in words)
    assert words[-4:] == [str(path), 'weights.pth', '--launcher=slurm', '--tta']


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_scripts_explain_themselves(script):
    result = run_tool(script, check=False)
    assert result.returncode == 2
    assert f'bash tools/{script} ' in result.stderr
