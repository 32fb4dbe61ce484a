"""torch.compile takes a backbone as one graph, whose weights may change afterwards; a trace of it can be saved."""

import pytest
import torch
from tiny_models import crate, images

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
    return [output, *torch.autograd.grad(output.square().sum(), parameters)]


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
        torch.testing.assert_close(torch.jit.load(str(tmp_path / 'model.pt'))(x), model(x))
