"""Real training steps of a detector and a segmentor with windowed backbones."""

import pytest
import torch
from toy_dense import ARCH, LR, detector, make_data, segmentor, step, write
from toy_runs import forget_runs, last_checkpoint, load_tool, run_tool

pytestmark = pytest.mark.usefixtures('fast_runner')

each_model = pytest.mark.parametrize('build', [detector, segmentor])
RATE = 0.5


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('data'))


def depth_of(name):
    """Embeddings 0, layers 1 to 4, what follows 5."""
    if name.startswith(('backbone.cls_token', 'backbone.pos_embed', 'backbone.patch_embed')):
        return 0
    return int(name.split('.')[2]) + 1 if name.startswith('backbone.layers.') else ARCH['num_layers'] + 1


@each_model
def test_layer_decay(tmp_path, data, build):
    """The first step of Adam is the learning rate, whatever the gradient: so depths can be read from the weights."""
    optim_wrapper = dict(
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=RATE),
        optimizer=dict(type='AdamW', lr=LR, weight_decay=0.0),
    )
    runner, before = step(tmp_path, build(data), optim_wrapper=optim_wrapper)
    for name, parameter in runner.model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()
        assert moved == pytest.approx(LR * RATE ** (5 - depth_of(name)), rel=0.01), name


@each_model
def test_frozen_stages(tmp_path, data, build):
    runner, before = step(tmp_path, build(data, frozen_stages=2))
    for name, value in runner.model.named_parameters():
        assert torch.equal(value, before[name]) == (depth_of(name) <= 2), name


@each_model
def test_gradient_checkpointing_changes_no_gradient(tmp_path, data, build):
    """Nor with drop path, whose draws are repeated. One step of SGD at 1 is the gradient."""
    gradients = []
    for with_cp in (False, True):
        cfg = build(data, with_cp=with_cp, drop_path_rate=0.5)
        runner, before = step(tmp_path, cfg, optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)))
        gradients.append({name: value - before[name] for name, value in runner.model.named_parameters()})
    assert all(gradient.any() for gradient in gradients[0].values())
    torch.testing.assert_close(gradients[1], gradients[0])


@each_model
def test_amp_keeps_float32_weights(tmp_path, data, build):
    """``tools/train.py --amp``, which is bfloat16 here: almost the weights of a step in float32, and float32."""
    weights = []
    for options in ([], ['--amp']):
        forget_runs()
        path = write(tmp_path, build(data), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)))
        assert load_tool('train')([str(path), *options]) == 0
        weights.append(last_checkpoint(tmp_path)['state_dict'])
    plain, amp = weights
    assert all(value.dtype == plain[name].dtype for name, value in amp.items())
    backbone = [name for name in plain if name.startswith('backbone.layers.')]
    assert any(not torch.equal(amp[name], plain[name]) for name in backbone)
    torch.testing.assert_close(amp, plain, atol=0.02, rtol=0.02)


def test_two_processes(tmp_path, data):
    """Every parameter has a gradient, so that DDP needs no search for unused ones: it would fail in the second step."""
    cfg = detector(data, with_cp=True, drop_path_rate=0.1)
    cfg['train_dataloader']['batch_size'] = 2
    path = write(tmp_path, cfg, iterations=2, custom_hooks=[dict(type='SaveRankHook', folder=str(tmp_path))])
    run_tool('dist_train.sh', path, 2)
    first, second = (torch.load(tmp_path / f'rank{rank}.pth', weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    steps = last_checkpoint(tmp_path)['optimizer']['state']
    assert len(steps) == sum(not name.endswith('num_batches_tracked') for name in first)
    assert all(moments['step'] == 2 and moments['exp_avg'].any() for moments in steps.values())
