import pytest
import torch
from operators import Record
from tiny_models import ARCH, crate, images

from projects.crate.models import CRATE

ATTENTIONS = ('MSSA', 'MHSA', 'TSSA')
FEEDFORWARDS = ('ISTA', 'ODL', 'MLP')
OUT_TYPES = ('cls_token', 'raw', 'featmap', 'avg_featmap')


@pytest.mark.parametrize('attention', ATTENTIONS)
@pytest.mark.parametrize('feedforward', FEEDFORWARDS)
def test_every_combination_trains_every_parameter(attention, feedforward):
    """Gradients are finite and not zero, for every out type, each of which may leave out what it does not read."""
    for out_type in OUT_TYPES:
        model = crate(
            attn_cfg=dict(type=attention), ffn_cfg=dict(type=feedforward), out_type=out_type, out_indices=(1, 2)
        )
        outputs = model(images())
        sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f'{out_type} {name}'
            assert parameter.grad.isfinite().all(), f'{out_type} {name}'
            assert parameter.grad.abs().sum() > 0, f'{out_type} {name}'


def test_no_matrix_of_tokens_by_tokens_in_training():
    """A grid of 5 x 7 and [CLS]: 36 tokens, a number that occurs in no other size."""
    for attention in ATTENTIONS:
        model = crate(attn_cfg=dict(type=attention), ffn_cfg=dict(type='ODL'))
        with Record() as ops:
            model(images(20, 28))[0].sum().backward()
        shapes = [shape for _, shapes in ops.calls for shape in shapes]
        assert any(36 in shape for shape in shapes)
        assert not [shape for shape in shapes if shape.count(36) > 1]


def test_drop_path_rises_linearly_and_acts_on_residual_branches():
    model = crate(drop_path_rate=0.5)
    assert [layer.drop_path.rate for layer in model.layers] == pytest.approx([0, 0.25, 0.5])
    model.layers[2].drop_path.rate = 1 - 1e-6  # so good as always
    layer, z = model.layers[2].train(), torch.randn(2, 7, 24)
    torch.testing.assert_close(layer(z), layer.ffn(layer.ln2(z)))  # ISTA is no branch: it stays
    layer = crate(ffn_cfg=dict(type='MLP')).layers[2].train()
    layer.drop_path.rate = 1 - 1e-6
    torch.testing.assert_close(layer(z), z)


def test_drop_path_is_off_in_evaluation():
    x, model = images(num=8), crate(drop_path_rate=0.9)
    plain = crate()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.eval()(x)[0], plain.eval()(x)[0])
    assert not torch.allclose(model.train()(x)[0], plain(x)[0])


@pytest.mark.parametrize('feedforward', FEEDFORWARDS)
def test_gradient_checkpointing_changes_nothing(feedforward):
    x, gradients = images(), []
    plain = crate(ffn_cfg=dict(type=feedforward), drop_path_rate=0.5)
    frugal = crate(ffn_cfg=dict(type=feedforward), drop_path_rate=0.5, with_cp=True)
    frugal.load_state_dict(plain.state_dict())
    for model in (plain, frugal):
        torch.manual_seed(1)
        output = model.train()(x)[0]
        output.square().sum().backward()
        gradients.append([output, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_gradient_checkpointing_keeps_only_layer_inputs():
    def saved(with_cp):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            crate(with_cp=with_cp).train()(images())
        return sum(sizes)

    assert saved(True) < saved(False) / 2


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3])
def test_frozen_stages(frozen_stages):
    model = crate(frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    frozen = [] if frozen_stages < 0 else ['patch_embed.', 'cls_token', 'pos_embed']
    frozen += [f'layers.{index}.' for index in range(frozen_stages)] + ['ln1.'] * (frozen_stages == 3)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.startswith(tuple(frozen)), name
    for name, module in model.named_modules():
        if name:
            assert module.training != f'{name}.'.startswith(tuple(frozen)) or name == 'layers', name
    model.eval().train()
    assert [layer.training for layer in model.layers] == [index >= frozen_stages for index in range(3)]
    assert not any(module.training for module in model.eval().modules())
    if frozen_stages < 3:
        model.train()(images())[0].sum().backward()
        assert all((parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters())


def test_bfloat16_autocast():
    for attention in ATTENTIONS:
        for feedforward in FEEDFORWARDS:
            model = crate(attn_cfg=dict(type=attention), ffn_cfg=dict(type=feedforward))
            x = images()
            with torch.autocast('cpu', torch.bfloat16):
                output = model(x)[0]
            output.float().sum().backward()
            assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
            torch.testing.assert_close(output.float(), model(x)[0], atol=0.3, rtol=0)


def test_initialisation_of_crate():
    model = CRATE(arch='emergence-tiny', patch_size=16)
    assert model.pos_embed.std().item() == pytest.approx(1, rel=0.02)
    assert model.pos_embed.mean().item() == pytest.approx(0, abs=0.02)
    assert model.cls_token.std().item() == pytest.approx(1, rel=0.25)
    weight = model.layers[0].attn.qkv.weight
    assert weight.std().item() == pytest.approx((1 / 3 / 192) ** 0.5, rel=0.02)  # torch's Linear: U(+-1 / sqrt(d))


def test_initialisation_of_alpha():
    model = CRATE(arch='alpha-tiny')
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.cls_token.std().item() == pytest.approx(1e-6, rel=0.25)
    layer = model.layers[5]
    for weight in (layer.attn.qkv.weight, layer.attn.proj.weight, model.patch_embed.projection.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert layer.attn.proj.bias is None
    assert not model.patch_embed.projection.bias.any()
    for dictionary in (layer.ffn.D, layer.ffn.D1):
        assert dictionary.std().item() == pytest.approx((2 / 192) ** 0.5, rel=0.02)


def test_either_initialisation_for_any_model():
    assert CRATE(arch=ARCH, init='alpha').pos_embed.std() < 0.1
    assert CRATE(arch='alpha-tiny', init='crate').pos_embed.std() > 0.9


def test_init_weights_keeps_the_drawn_parameters():
    model = crate()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
