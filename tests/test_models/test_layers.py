import copy

import pytest
import reference
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from operators import Record
from torch.utils.flop_counter import FlopCounterMode

from projects.crate.models.layers import ISTA, MHSA, MLP, MSSA, ODL, TSSA, DropPath, Fold, softmax_rows

SHAPES = dict(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 9),
    heads=st.integers(1, 4),
    width=st.integers(1, 5),
    seed=st.integers(),
)
ATTENTIONS = [MSSA, MHSA, TSSA]
over_shapes = settings(max_examples=25)


def case(part, batch, tokens, dim, seed):
    """A double-precision part with random parameters, none of them special, and tokens for it."""
    torch.manual_seed(seed % 2**32)
    part = part.double()
    for parameter in part.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return part, torch.randn(batch, tokens, dim, dtype=torch.float64)


@over_shapes
@given(**SHAPES)
def test_mssa_equals_its_formula(batch, tokens, heads, width, seed):
    attn, x = case(MSSA(heads * width, heads), batch, tokens, heads * width, seed)
    if heads == 1:
        assert isinstance(attn.proj, torch.nn.Identity)
        weight, bias = torch.eye(width, dtype=torch.float64), 0
    else:
        weight, bias = attn.proj.weight, attn.proj.bias
    torch.testing.assert_close(attn(x), reference.mssa(x, attn.qkv.weight, weight, bias, heads))


def test_mssa_biases():
    assert MSSA(8, 2).qkv.bias is None
    assert MSSA(8, 2).proj.bias is not None
    assert MSSA(8, 2, proj_bias=False).proj.bias is None


@over_shapes
@given(**SHAPES)
def test_mhsa_equals_torch(batch, tokens, heads, width, seed):
    dim = heads * width
    attn, x = case(MHSA(dim, heads), batch, tokens, dim, seed)
    parameters = attn.qkv.weight, attn.qkv.bias, None, None, False, 0.0, attn.proj.weight, attn.proj.bias
    columns = x.transpose(0, 1)
    expected, rows = F.multi_head_attention_forward(
        columns, columns, columns, dim, heads, *parameters, average_attn_weights=False
    )
    torch.testing.assert_close(attn(x), expected.transpose(0, 1))
    torch.testing.assert_close(attn.attention(attn.qkv(x), slice(None)), rows)
    torch.testing.assert_close(attn.features(attn.qkv(x)), F.linear(x, *(p[dim : 2 * dim] for p in parameters[:2])))


@over_shapes
@given(**SHAPES)
def test_tssa_equals_its_formula(batch, tokens, heads, width, seed):
    dim = heads * width
    attn, x = case(TSSA(dim, heads), batch, tokens, dim, seed)
    expected = torch.empty_like(x)
    for b in range(batch):
        w = [F.linear(x[b], *part) for part in zip(attn.qkv.weight.chunk(heads), attn.qkv.bias.chunk(heads))]  # (N, p)
        scores = [attn.temp[k] * (w[k] / w[k].norm(dim=0)).square().sum(1) for k in range(heads)]
        pi = torch.stack(scores).softmax(0)  # (K, N)
        torch.testing.assert_close(attn.attention(attn.qkv(x), slice(0, 1))[b, :, 0], pi)
        out = []
        for k in range(heads):
            moment = (pi[k] / pi[k].sum()) @ w[k].square()  # (p,)
            out.append(-(w[k] * pi[k][:, None]) / (1 + moment))
        expected[b] = attn.proj(torch.cat(out, dim=1))
    torch.testing.assert_close(attn(x), expected, atol=1e-6, rtol=1e-6)  # the code keeps an epsilon in pi / sum pi


@over_shapes
@given(**SHAPES, rows=st.sampled_from([slice(None), slice(0, 1), slice(1, 4), slice(-2, None)]))
@pytest.mark.parametrize('kind', ATTENTIONS)
def test_attention_rows_are_rows_of_the_whole(kind, batch, tokens, heads, width, seed, rows):
    attn, x = case(kind(heads * width, heads), batch, tokens, heads * width, seed)
    projected = attn.qkv(x)
    whole = attn.attention(projected, slice(None))
    assert whole.shape == (batch, heads, tokens, tokens)
    torch.testing.assert_close(attn.attention(projected, rows), whole[:, :, rows])
    assert attn.features(projected).shape == x.shape


def test_attention_rows_by_hand():
    rows = softmax_rows(torch.tensor([[[[2.0, 0.0, 0.0, 0.0]]]]), torch.eye(4)[None, None])
    e = torch.tensor(1.0).exp()
    torch.testing.assert_close(rows[0, 0, 0], torch.tensor([e, 1, 1, 1]) / (e + 3))


@over_shapes
@given(**SHAPES, eta=st.floats(0.01, 1), lambd=st.floats(0, 1))
def test_ista_equals_the_three_product_form(batch, tokens, heads, width, seed, eta, lambd):
    ffn, x = case(ISTA(heads * width, eta=eta, lambd=lambd), batch, tokens, heads * width, seed)
    torch.testing.assert_close(ffn(x), reference.ista(x, ffn.weight, eta, lambd))


def test_ista_is_a_proximal_gradient_step():
    """x - eta grad of 1/2 |x - D a|^2 at a = x, then the non-negative shrinkage."""
    ffn, x = case(ISTA(6), 1, 4, 6, seed=0)
    code = x.clone().requires_grad_()
    (F.mse_loss(code @ ffn.weight.T, x, reduction='sum') / 2).backward()
    torch.testing.assert_close(ffn(x), (x - 0.1 * code.grad - 0.01).clamp(min=0))


def test_ista_soft_threshold_keeps_the_sign():
    soft, x = case(ISTA(6, threshold='soft'), 2, 50, 6, seed=0)
    shifted = ISTA(6, lambd=0).double()
    step = x + 0.1 * (x - x @ soft.weight.T) @ soft.weight
    torch.testing.assert_close(soft(x), step.sign() * (step.abs() - 0.01).clamp(min=0))
    assert (soft(x) < 0).any()
    shifted.load_state_dict(soft.state_dict())
    torch.testing.assert_close(shifted(x), step.clamp(min=0))
    with pytest.raises(ValueError, match="threshold must be 'relu' or 'soft', not 'hard'"):
        ISTA(6, threshold='hard')


FEW, MANY = (1, 15), (2, 10)  # (B, N) below and above the width of 16
PRODUCTS = ['aten.mm.default']


def products(ffn, x):
    """The matrix products of a call, and their multiply-adds."""
    with Record() as ops:
        ffn(x)
    with FlopCounterMode(display=False) as flops:
        ffn(x)
    return [name for name, _ in ops.calls if 'mm' in name or 'linear' in name], flops.get_total_flops() // 2


def test_ista_takes_two_products_in_training_or_forms_one_matrix():
    ffn = ISTA(16)
    assert products(ffn, torch.randn(*FEW, 16)) == (2 * PRODUCTS, 2 * 15 * 16 * 16)
    names, number = products(ffn, torch.randn(*MANY, 16))
    assert names == ['aten.addmm.default', *PRODUCTS] and number == (16 + 20) * 16 * 16  # the first is d x d x d


@pytest.mark.parametrize('shape', [FEW, MANY])
def test_ista_takes_one_product_once_it_knows_the_weights(shape):
    ffn = ISTA(16)
    with torch.no_grad():
        ffn(torch.randn(1, 1, 16))
        assert products(ffn, torch.randn(*shape, 16)) == (PRODUCTS, shape[0] * shape[1] * 16 * 16)


def change_data(ffn, value):
    ffn.weight.data.copy_(value)


def replace_data(ffn, value):
    ffn.weight.data = value.clone()


def load(ffn, value):
    ffn.load_state_dict(dict(weight=value))


def step(ffn, value):
    """Gradient descent of 1/2 |weight - value|^2 by a step of one."""
    optimizer = torch.optim.SGD(ffn.parameters(), lr=1.0)
    with torch.enable_grad():
        ((ffn.weight - value) ** 2).sum().div(2).backward()
    optimizer.step()


@pytest.mark.parametrize('change', [change_data, replace_data, load, step])
@pytest.mark.parametrize('inference', [torch.no_grad, torch.inference_mode])
def test_ista_follows_its_weights(change, inference):
    ffn, x = case(ISTA(16), *MANY, 16, seed=0)
    ffn.eval()
    with inference():
        before = ffn(x)
    value = torch.randn(16, 16).double()
    change(ffn, value)
    with inference():
        torch.testing.assert_close(ffn(x), reference.ista(x, value, 0.1, 0.1))
        assert not torch.allclose(ffn(x), before)


def test_ista_follows_its_precision():
    ffn, x = ISTA(16), torch.randn(*MANY, 16)
    with torch.no_grad():
        ffn(x)
        ffn.double()
        torch.testing.assert_close(ffn(x.double()), reference.ista(x.double(), ffn.weight, 0.1, 0.1))


@pytest.mark.parametrize('shape', [FEW, MANY])
def test_ista_has_the_gradients_of_the_three_product_form(shape):
    ffn, x = case(ISTA(16), *shape, 16, seed=0)
    x.requires_grad_()
    weights = torch.randn_like(x)
    ours = torch.autograd.grad((ffn(x) * weights).sum(), [x, ffn.weight])
    theirs = torch.autograd.grad((reference.ista(x, ffn.weight, 0.1, 0.1) * weights).sum(), [x, ffn.weight])
    for found, expected in zip(ours, theirs):
        torch.testing.assert_close(found, expected)


def test_the_folded_matrix_and_its_gradients():
    """Against the formula, by finite differences (first and second order), and under torch.func."""
    ffn, _ = case(ISTA(5), 1, 1, 5, seed=0)
    weight = ffn.weight.detach().requires_grad_()
    torch.testing.assert_close(Fold.apply(weight, 0.3), 0.3 * (weight - weight.T @ weight))
    assert torch.autograd.gradcheck(Fold.apply, (weight, 0.3))
    assert torch.autograd.gradgradcheck(Fold.apply, (weight, 0.3))

    def loss(weight):
        return Fold.apply(weight, 0.3).square().sum()

    (expected,) = torch.autograd.grad(loss(weight), weight)
    torch.testing.assert_close(torch.func.grad(loss)(weight.detach()), expected)
    _, slope = torch.func.jvp(loss, (weight.detach(),), (weight.detach(),))
    torch.testing.assert_close(slope, (expected * weight).sum())
    both = torch.stack([weight.detach(), -weight.detach()])
    torch.testing.assert_close(torch.vmap(torch.func.grad(loss))(both)[0], expected)


def test_the_gradient_of_the_folded_matrix_takes_one_product():
    weight = torch.randn(6, 6, requires_grad=True)
    with FlopCounterMode(display=False) as flops:
        Fold.apply(weight, 0.1).sum().backward()
    assert flops.get_total_flops() // 2 == 2 * 6**3  # the other one is the matrix


@pytest.mark.parametrize('kind', [MSSA, MHSA])
@pytest.mark.parametrize(('gradients', 'kernel'), [(True, torch.float32), (False, torch.bfloat16)])
def test_attention_in_bfloat16_is_computed_in_the_type_whose_gradient_is_fast(kind, gradients, kernel, monkeypatch):
    attn, x, seen = kind(16, 2), torch.randn(2, 10, 16), []
    attend = F.scaled_dot_product_attention

    def watched(query, *others):
        seen.append(query.dtype)
        return attend(query, *others)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', watched)
    with torch.set_grad_enabled(gradients), torch.autocast('cpu', torch.bfloat16):
        found = attn(x)
    assert seen == [kernel] and found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), attn(x), atol=0.02, rtol=0.02)
    if gradients:
        found.float().sum().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in attn.parameters())


@pytest.mark.parametrize('shape', [FEW, MANY])
@pytest.mark.parametrize('enabled', [True, False], ids=['training', 'inference'])
def test_ista_under_autocast(shape, enabled):
    ffn, x = ISTA(16), torch.randn(*shape, 16)
    with torch.set_grad_enabled(enabled), torch.autocast('cpu', torch.bfloat16):
        found = ffn(x)
        released = reference.ista(x, ffn.weight, 0.1, 0.1)
    assert found.dtype == released.dtype == torch.float32  # the products alone are of bfloat16
    expected = reference.ista(x, ffn.weight, 0.1, 0.1)
    assert (found - expected).abs().max() < 0.005
    assert (found - expected).square().mean() < 2 * (released - expected).square().mean()


def test_a_saved_ista_is_as_large_as_its_weights():
    ffn = ISTA(16)
    with torch.no_grad():
        ffn(torch.randn(*MANY, 16))
    copied = copy.deepcopy(ffn)
    assert copied._kept is None and ffn._kept is not None
    assert torch.equal(copied.weight, ffn.weight)


@over_shapes
@given(**SHAPES, ratio=st.integers(1, 4), decoupled=st.booleans())
def test_odl_equals_its_formula(batch, tokens, heads, width, seed, ratio, decoupled):
    dim = heads * width
    ffn, x = case(ODL(dim, ratio=ratio, decoupled=decoupled), batch, tokens, dim, seed)
    assert ffn.D.shape == (dim, ratio * dim)
    torch.testing.assert_close(ffn(x), reference.odl(x, ffn.D, ffn.D1 if decoupled else ffn.D))


def test_odl_options():
    assert ODL(4).residual
    assert not ODL(4, residual=False).residual
    assert [name for name, _ in ODL(4).named_parameters()] == ['D', 'D1']
    assert [name for name, _ in ODL(4, decoupled=False).named_parameters()] == ['D']
    ffn, x = case(ODL(4, eta=0.5, lambd=0.2), 1, 3, 4, seed=0)
    torch.testing.assert_close(ffn(x), reference.odl(x, ffn.D, ffn.D1, eta=0.5, lambd=0.2))


@over_shapes
@given(**SHAPES, ratio=st.integers(1, 4))
def test_mlp_equals_its_formula(batch, tokens, heads, width, seed, ratio):
    dim = heads * width
    ffn, x = case(MLP(dim, ratio), batch, tokens, dim, seed)
    (W1, b1), (W2, b2) = ((layer.weight, layer.bias) for layer in (ffn.layers[0][0], ffn.layers[1]))
    assert W1.shape == (ratio * dim, dim)
    hidden = x @ W1.T + b1
    gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(ffn(x), gelu @ W2.T + b2)


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('kind', ATTENTIONS)
def test_no_matrix_of_tokens_by_tokens(kind, grad):
    """Forward and backward; 37 occurs in no other size."""
    attn, x = kind(24, 3), torch.randn(2, 37, 24, requires_grad=grad)
    with Record() as ops, torch.set_grad_enabled(grad):
        result = attn(x)
        if grad:
            result.sum().backward()
    shapes = [shape for _, shapes in ops.calls for shape in shapes]
    assert (2, 37, 24) in shapes
    assert not [shape for shape in shapes if shape.count(37) > 1]
    with Record() as ops:  # and the record does see one where it is asked for
        attn.attention(attn.qkv(x), slice(None))
    assert any(shape.count(37) > 1 for _, shapes in ops.calls for shape in shapes)


def test_dictionaries_are_kaiming_uniform_with_fan_in_d():
    torch.manual_seed(0)
    bound = (6 / 64) ** 0.5  # gain sqrt(2), fan-in 64
    for dictionary in (ISTA(64).weight, *ODL(64).parameters()):
        assert dictionary.abs().max() <= bound
        assert dictionary.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    drop, x = DropPath(0.25), torch.ones(4000, 3, 2)
    result = drop.train()(x)
    per_sample = result.flatten(1)
    assert torch.equal(per_sample, per_sample[:, :1].expand_as(per_sample))
    torch.testing.assert_close(per_sample[:, 0].unique(), torch.tensor([0, 1 / 0.75]))
    assert result.mean().item() == pytest.approx(1, abs=0.04)  # 4 standard deviations
    assert drop.eval()(x) is x
    assert DropPath(0.0).train()(x) is x
