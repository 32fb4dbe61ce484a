"""Where [CLS] alone is returned, the last layer computes [CLS] alone; nobody sees a difference but in time."""

import pytest
import torch
from operators import Record
from tiny_models import crate, images

from projects.crate.models import observe

ATTENTIONS, FEEDFORWARDS = ['MSSA', 'MHSA', 'TSSA'], ['ISTA', 'ODL', 'MLP']
VARIANTS = [
    dict(),
    dict(skip='normalised'),
    dict(out_indices=(0, 1)),
    dict(out_indices=1, final_norm=False),
    dict(with_cp=True),
    dict(window_size=2, global_attn_indexes=()),
    dict(drop_path_rate=0.5),
    *(dict(attn_cfg=dict(type=attention)) for attention in ATTENTIONS[1:]),
    *(dict(ffn_cfg=dict(type=feedforward)) for feedforward in FEEDFORWARDS[1:]),
]


def outputs_and_gradients(model, outputs):
    """[CLS] of every output, and the gradients of all weights."""
    loss = sum((output * torch.linspace(-1, 1, output.shape[-1])).square().sum() for output in outputs)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [*outputs, *torch.autograd.grad(loss, parameters)]


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_outputs_and_gradients_are_those_of_all_tokens(options):
    model = crate(**options).double()
    x = images().double()
    torch.manual_seed(1)  # of drop path
    alone = outputs_and_gradients(model, model(x))
    model.out_type = 'raw'
    torch.manual_seed(1)
    whole = outputs_and_gradients(model, [output[:, 0] for output in model(x)])
    assert len(alone) == len(whole) > 10
    for found, expected in zip(alone, whole):
        torch.testing.assert_close(found, expected)


def shapes_at_the_end(model):
    """(B, n, d) of what the last operators of the last layer return."""
    with Record() as record, torch.no_grad():
        model(images())
    calls = [shapes[0] for _, shapes in record.calls if shapes and len(shapes[0]) == 3]
    return calls[-5:]


@pytest.mark.parametrize('attention', ATTENTIONS)
def test_the_last_layer_computes_one_token(attention):
    model = crate(attn_cfg=dict(type=attention)).eval()
    with torch.no_grad():
        model(images())  # ISTA has seen its weights
    assert {shape[1] for shape in shapes_at_the_end(model)} == {1}
    model.out_type = 'raw'
    assert {shape[1] for shape in shapes_at_the_end(model)} == {7}


HOOKS = dict(
    register_forward_hook=lambda _, __, output: output,
    register_forward_pre_hook=lambda _, inputs: inputs[0],
    register_full_backward_hook=lambda _, __, gradients: gradients[0],
    register_full_backward_pre_hook=lambda _, gradients: gradients[0],
)


@pytest.mark.parametrize('kind', HOOKS)
@pytest.mark.parametrize('part', ['', 'attn', 'attn.proj', 'ln2', 'ffn'])
def test_who_watches_sees_every_token(part, kind):
    model, seen = crate(), []
    watched = model.layers[-1].get_submodule(part)
    handle = getattr(watched, kind)(lambda *call: seen.append(HOOKS[kind](*call).shape[1]))
    model(images())[0].sum().backward()
    handle.remove()
    assert seen == [7]
    assert {shape[1] for shape in shapes_at_the_end(model)} == {1}


@pytest.mark.parametrize('outputs', [True, False])
def test_windows_are_observed(outputs):
    model = crate(window_size=2, global_attn_indexes=())
    with observe(model, [-1], outputs) as seen:
        model(images())
    with pytest.raises(ValueError, match='attend within windows'):
        seen[-1].attention()


@pytest.mark.parametrize('outputs', [True, False])
def test_observing_keeps_outputs_if_asked(outputs):
    model = crate().eval()
    with observe(model, [0, -1], outputs) as seen, torch.no_grad():
        model(images())
    for layer in (0, -1):
        assert seen[layer].projected.shape == (2, 7, 24)
        assert (seen[layer].output is not None) == outputs
        assert not outputs or seen[layer].output.shape == (2, 7, 24)
