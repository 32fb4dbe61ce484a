"""torch.compile takes a backbone as one graph, whose weights may change afterwards; a trace of it can be saved."""

import pytest
import torch
from tiny_models import crate, images

from projects.crate.models.layers import ISTA, ODL

VARIANTS = {
    'CRATE': dict(),
    'ToST': dict(attn_cfg=dict(type='TSSA'), ffn_cfg=dict(type='ODL')),
    'windows': dict(window_size=2, global_attn_indexes=(), out_type='featmap'),
}


@pytest.fixture(autouse=True)
def fresh():
    yield
    torch._dynamo.reset()


def outputs_and_gradients(model, function, x):
    (output,) = function(x)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # not the squares: their sum after a LayerNorm is nearly constant, and its gradient is rounding
    return [output, *torch.autograd.grad(output.pow(3).sum(), parameters)]


@pytest.mark.parametrize('variant', VARIANTS)
def test_one_graph_with_the_same_results(variant):
    model, x = crate(**VARIANTS[variant]), images(num=8)  # more tokens than the width: ISTA folds
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(outputs_and_gradients(model, compiled, x), outputs_and_gradients(model, model, x))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))
        for parameter in model.parameters():
            parameter.mul_(1.1)
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize('mode', [torch.no_grad, torch.enable_grad])
def test_a_trace_is_saved(tmp_path, mode):
    model, x = crate().eval(), images(num=8)
    with mode():
        torch.jit.trace(model, x).save(str(tmp_path / 'model.pt'))
        for batch in (x, x[:3]):  # the size of the batch is no constant of the trace
            torch.testing.assert_close(torch.jit.load(str(tmp_path / 'model.pt'))(batch), model(batch))


@pytest.mark.skipif(not hasattr(torch.compiler, 'is_exporting'), reason='torch < 2.7')
@pytest.mark.parametrize('strict', [False, True])
def test_an_exported_program_takes_batches_of_any_size(strict):
    model, batch = crate().eval(), torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: batch},), strict=strict)
    for num in (1, 2, 40):  # 7 tokens an image, above and below the width of 24
        x = images(num=num)
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
@pytest.mark.parametrize('kind', ['relu', 'soft', 'ODL'])
def test_default_backend_gives_the_results_of_eager_for_few_tokens(kind, dtype):
    ffn = ODL(32) if kind == 'ODL' else ISTA(32, threshold=kind)
    x = torch.randn(1, 17, 32, requires_grad=True)
    tensors = [x, *ffn.parameters()]

    def run(function, dtype):
        with torch.autocast('cpu', dtype=dtype, enabled=dtype is not None):
            output = function(x)
        return [output.float(), *torch.autograd.grad(output.float().square().sum(), tensors)]

    for actual, eager, exact in zip(run(torch.compile(ffn), dtype), run(ffn, dtype), run(ffn, None)):
        # under autocast both round, at different places: neither is further from float32 than the other
        tolerance = 1e-4 * exact.norm() if dtype is None else 1.5 * (eager - exact).norm()
        assert (actual - exact).norm() <= tolerance


ATTENTIONS = ('MSSA', 'MHSA', 'TSSA')
FEEDFORWARDS = {
    'ISTA': dict(type='ISTA'),
    'ISTA soft': dict(type='ISTA', threshold='soft'),
    'ODL': dict(type='ODL', residual=True),
    'ODL coupled': dict(type='ODL', decoupled=False),
    'ODL without residual': dict(type='ODL', residual=False),
    'MLP': dict(type='MLP'),
}


def assert_default_backend_agrees(num=(1, 2, 8), dtype=None, **options):
    """Compare forward and gradient in training, and evaluation, of batches that ISTA folds and does not fold."""
    arch = dict(embed_dims=32, num_heads=2, num_layers=2)
    model = crate(arch=arch, img_size=16, **options)  # 17 tokens an image
    compiled = torch.compile(model, dynamic=False)
    for batch in num:
        x = images(16, 16, batch)
        with torch.autocast('cpu', dtype=dtype, enabled=dtype is not None):
            for actual, expected in zip(
                outputs_and_gradients(model.train(), compiled, x), outputs_and_gradients(model, model, x)
            ):
                scale = expected.abs().max()
                assert (actual - expected).abs().max() <= (2e-4 if dtype is None else 0.1) * scale + 1e-6
            model.eval()
            with torch.no_grad():
                tolerance = dict(rtol=1e-4, atol=1e-4) if dtype is None else dict(rtol=0.1, atol=0.1)
                torch.testing.assert_close(compiled(x), model(x), **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize('ffn', FEEDFORWARDS)
@pytest.mark.parametrize('attention', ATTENTIONS)
def test_default_backend_for_every_pair(attention, ffn):
    parts = dict(attn_cfg=dict(type=attention), ffn_cfg=FEEDFORWARDS[ffn])
    assert_default_backend_agrees(**parts, out_type='featmap')


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [
        dict(out_type='cls_token'),
        dict(out_type='avg_featmap'),
        dict(out_type='raw'),
        dict(out_type='avg_featmap', with_cls_token=False),
        dict(out_type='featmap', window_size=2, global_attn_indexes=()),
        dict(out_type='featmap', with_cp=True),
        dict(out_type='featmap', dtype=torch.bfloat16),
    ],
    ids=str,
)
def test_default_backend_for_every_output(options):
    assert_default_backend_agrees(**options)


def test_an_exported_graph_takes_any_batch():
    """``len(tensor)`` would be a constant of the graph."""
    model = crate().eval()
    batch = torch.export.Dim('batch', min=2, max=64)
    graph = torch.export.export(model, (images(num=3),), dynamic_shapes=({0: batch},)).module()
    for num in (2, 3, 5):
        x = images(num=num)
        torch.testing.assert_close(graph(x), model(x))
