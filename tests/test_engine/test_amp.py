import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn
from toy_runs import config, forget_runs, last_checkpoint

from projects.crate.engine import launch, stock_parts
from projects.crate.errors import UserError


def wrapper_of(model, **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return OPTIM_WRAPPERS.build(dict(type='AutocastOptimWrapper', optimizer=optimizer, **kwargs))


def test_forward_is_bfloat16_and_weights_stay_float32():
    model = nn.Linear(4, 3)
    wrapper = wrapper_of(model)
    with wrapper.optim_context(model):
        output = model(torch.ones(2, 4))
    assert output.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == torch.float32
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32


def test_accumulation_and_clipping():
    model = nn.Linear(4, 3, bias=False)
    wrapper = wrapper_of(model, accumulative_counts=2, clip_grad=dict(max_norm=0.5))
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.detach().clone()
    for step in range(2):
        assert torch.equal(model.weight, before), step
        with wrapper.optim_context(model):
            loss = model(torch.ones(2, 4)).sum()
        wrapper.update_params(loss)
    assert (model.weight - before).norm().item() == pytest.approx(0.5, rel=1e-3)  # lr 1: the clipped gradient


@pytest.mark.parametrize(
    'options, amp', [([], True), (['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.loss_scale=dynamic'], False)]
)
def test_training_on_the_cpu(tmp_path, monkeypatch, options, amp):
    """--amp, and a config that asks for mmengine's own AmpOptimWrapper, which refuses a CPU."""
    monkeypatch.setattr(Runner, '_log_env', lambda *_: None)
    monkeypatch.setattr(Config, 'pretty_text', 'text')
    forget_runs()
    cfg = launch.read_config(config(tmp_path), options)
    launch.prepare_training(cfg, amp=amp)
    runner = launch.build_runner(cfg)
    runner.train()
    assert type(runner.optim_wrapper).__name__ == 'AutocastOptimWrapper'
    assert last_checkpoint(tmp_path)['state_dict']['net.0.weight'].dtype == torch.float32
    for written in (runner.cfg, Config.fromfile(tmp_path / 'run' / 'toy.json')):  # fit for a GPU
        assert (written.optim_wrapper.type, written.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')


def test_a_part_that_is_not_there_is_named():
    model = nn.ModuleDict(dict(backbone=nn.Linear(4, 3)))
    context = wrapper_of(model, parts=['backbone', 'neck']).optim_context(model)
    with pytest.raises(ValueError, match="^parts='neck': ModuleDict has no 'neck', it has backbone$"), context:
        pass


def test_a_detector_whose_backbone_has_another_name_is_refused(tmp_path):
    """Else nothing would run in bfloat16, without a word."""
    cfg = launch.read_config(config(tmp_path), ['default_scope=mmdet'])
    with pytest.raises(UserError, match=r"name the parts.*optim_wrapper.parts=\['student"):
        launch.prepare_training(cfg, amp=True)
    cfg = launch.read_config(config(tmp_path), ['default_scope=mmdet', 'optim_wrapper.parts=[net]'])
    launch.prepare_training(cfg, amp=True)
    assert cfg.optim_wrapper.parts == ['net']


def test_a_gpu_gets_the_scaler(tmp_path, monkeypatch):
    monkeypatch.setattr(stock_parts, 'get_device', lambda: 'cuda')
    cfg = launch.read_config(config(tmp_path))
    launch.prepare_training(cfg, amp=True)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'


def test_other_wrappers_are_refused(tmp_path):
    cfg = launch.read_config(config(tmp_path), ['optim_wrapper.type=ApexOptimWrapper'])
    with pytest.raises(UserError, match='ApexOptimWrapper'):
        launch.prepare_training(cfg, amp=True)


class Double(nn.Module):
    def forward(self, x):
        return (2 * x,)


def patched(kind):
    model = nn.ModuleDict(dict(backbone=Double()))
    if kind == 'patched':
        model['backbone'].forward = lambda x: (3 * x,)
    elif kind == 'compiled':
        model['backbone'] = torch.compile(model['backbone'], backend='eager')
    return model, vars(model['backbone']).get('forward')


@pytest.mark.parametrize('kind', ['plain', 'patched', 'compiled'])
def test_a_forward_that_others_had_patched_stays(kind):
    model, before = patched(kind)
    part, wrapper, x = model['backbone'], wrapper_of(nn.Linear(1, 1), parts=['backbone']), torch.ones(1)
    expected = part(x)
    with wrapper.optim_context(model):
        assert part(x) == expected
        within = part.forward
        with pytest.raises(RuntimeError, match='in the middle'), wrapper.optim_context(model):
            assert part(x) == expected
            raise RuntimeError('in the middle')
        assert part.forward is within
    assert vars(part).get('forward') is before
    assert part(x) == expected
