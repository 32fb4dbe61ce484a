"""Windowed attention against global attention under a mask that says for every pair of tokens who may see whom."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import MMFullyShardedDataParallel
from tiny_models import ARCH, crate, images
from torch.nn.parallel import DistributedDataParallel

from projects.crate.engine import wrap_crate_layers
from projects.crate.models import MaskCutDetector, observe
from projects.crate.models.layers import MHSA, MSSA
from projects.crate.models.windows import Windows
from projects.crate.study.observer import Observer

ATTENTIONS = dict(MSSA=MSSA, MHSA=MHSA)
EXACT = dict(atol=1e-10, rtol=1e-10)
# grid, window: whole windows, ragged below, to the right, at both edges, larger than the grid on either side or on both
SHAPES = [
    ((4, 6), (2, 3)),
    ((5, 6), (2, 3)),
    ((4, 7), (2, 3)),
    ((5, 7), (3, 2)),
    ((2, 7), (5, 3)),
    ((7, 2), (3, 5)),
    ((3, 4), (9, 9)),
    ((3, 4), (1, 1)),
    ((1, 9), (1, 4)),
]


def allowed(grid, window, num_extra):
    """(N, N) bool: a patch attends to its window and to the tokens in front; these attend to all."""
    patches = [(i // window[0], j // window[1]) for i in range(grid[0]) for j in range(grid[1])]
    places = [None] * num_extra + patches
    return torch.tensor([[None in (row, column) or row == column for column in places] for row in places])


def masked_attention(attn, x, mask):
    """The papers' formulas, head by head."""
    projected = F.linear(x, attn.qkv.weight, attn.qkv.bias)
    parts = projected.chunk(3, dim=-1) if isinstance(attn, MHSA) else [projected] * 3
    width = x.shape[-1] // attn.num_heads
    heads = [
        (query @ key.mT / width**0.5).masked_fill(~mask, -torch.inf).softmax(-1) @ value
        for query, key, value in zip(*(part.split(width, dim=-1) for part in parts))
    ]
    return attn.proj(torch.cat(heads, dim=-1))


def attention(kind, dim=6, num_heads=2):
    return ATTENTIONS[kind](dim, num_heads).double()


def tokens(grid, num_extra, batch=2, dim=6):
    return torch.randn(batch, num_extra + grid[0] * grid[1], dim, dtype=torch.float64, requires_grad=True)


def gradients(output, attn, x):
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * weights).sum(), [x, *attn.parameters()])


def check(kind, grid, window, num_extra, batch=2, num_heads=2):
    """Values, and gradients of tokens and parameters."""
    attn, x = attention(kind, num_heads=num_heads), tokens(grid, num_extra, batch)
    output = attn(x, Windows(grid, window, num_extra))
    expected = masked_attention(attn, x, allowed(grid, window, num_extra))
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(gradients(output, attn, x), gradients(expected, attn, x), **EXACT)


@pytest.mark.parametrize('num_extra', [0, 1])
@pytest.mark.parametrize('kind', ATTENTIONS)
@pytest.mark.parametrize(('grid', 'window'), SHAPES)
def test_equals_attention_under_the_mask(grid, window, kind, num_extra):
    check(kind, grid, window, num_extra)


SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(ATTENTIONS)),
    grid=SIDES,
    window=SIDES,
    num_extra=st.integers(0, 2),
    batch=st.integers(1, 3),
    num_heads=st.sampled_from([1, 2, 3]),
)
def test_equals_attention_under_the_mask_whatever_the_shape(kind, grid, window, num_extra, batch, num_heads):
    check(kind, grid, window, num_extra, batch, num_heads)


@pytest.mark.parametrize('kind', ATTENTIONS)
def test_without_cls_nothing_crosses_a_window(kind):
    grid, window = (5, 7), (2, 3)
    attn, x = attention(kind), tokens(grid, 0)
    reached = torch.zeros(35, 35, dtype=torch.bool)
    output = attn(x, Windows(grid, window, 0))
    for row in range(35):
        (gradient,) = torch.autograd.grad(output[1, row].sum(), x, retain_graph=True)
        assert not gradient[0].any()  # nor from image to image
        reached[row] = gradient[1].any(-1)
    assert torch.equal(reached, allowed(grid, window, 0))


def test_work_grows_with_the_window(monkeypatch):
    """Pairs of tokens whose product is computed: an 8 x 12 grid and [CLS], windows of 3 x 5, ragged."""
    pairs = []
    attend = F.scaled_dot_product_attention

    def count(query, key, value):
        pairs.append(query.shape[0] * query.shape[2] * key.shape[2])
        return attend(query, key, value)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', count)
    attention('MSSA')(tokens((8, 12), 1, batch=1), Windows((8, 12), (3, 5), 1))
    # rows of windows 3, 3, 2 high; columns 5, 5, 2 wide
    windows = [height * width for height, width in product((3, 3, 2), (5, 5, 2))]
    assert sum(pairs) == 97 + sum(size * (size + 1) for size in windows)
    assert len(pairs) == 5  # [CLS], and one call per size of window


VARIANTS = dict(
    MSSA={},
    alpha=dict(attn_cfg=dict(type='MSSA', proj_bias=False), ffn_cfg=dict(type='ODL'), patch_embed='conv'),
    ViT=dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6),
    no_cls=dict(with_cls_token=False),
    normalised=dict(skip='normalised'),
)


def windowed(window_size=(2, 3), global_attn_indexes=(1,), **options):
    """The layers 0 and 2 of 3 attend within windows."""
    options = dict(out_type='featmap', out_indices=(0, 1, 2), **options)
    return crate(window_size=window_size, global_attn_indexes=global_attn_indexes, **options)


def unwindowed(model, **options):
    """The same weights, and what the masks make of them: {layer: who may see whom}."""
    twin = crate(**{**dict(out_type='featmap', out_indices=(0, 1, 2)), **options})
    twin.load_state_dict(model.state_dict())
    return twin.to(model.pos_embed.dtype)


def use_mask(layer, mask):
    layer.attn.forward = lambda x, attn=layer.attn: masked_attention(attn, x, mask)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize(('height', 'width', 'grid'), [(8, 12, (2, 3)), (20, 28, (5, 7)), (18, 13, (5, 4))])
def test_backbone(variant, height, width, grid):
    """Other sizes than 8 x 12 interpolate the positions; 18 x 13 is padded to whole patches."""
    options = VARIANTS[variant]
    model = windowed(window_size=(2, 2), **options).double()
    twin = unwindowed(model, **options)
    for index in (0, 2):
        use_mask(twin.layers[index], allowed(grid, (2, 2), model.num_extra_tokens))
    x = images(height, width).double()
    outputs, expected = model(x), twin(x)
    assert [output.shape[-2:] for output in outputs] == [grid] * 3
    torch.testing.assert_close(outputs, expected, **EXACT)
    for backbone, maps in ((model, outputs), (twin, expected)):
        sum(output.square().sum() for output in maps).backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in backbone.parameters()), backbone
    torch.testing.assert_close(*([p.grad for p in backbone.parameters()] for backbone in (model, twin)), **EXACT)


@torch.no_grad()
def test_windows_matter_and_one_window_does_not():
    x = images(20, 28)
    model = windowed()
    assert not torch.allclose(model(x)[0], unwindowed(model)(x)[0], atol=1e-3)
    for window_size in (7, (5, 7), (50, 70)):
        model = windowed(window_size=window_size)
        torch.testing.assert_close(model(x), unwindowed(model)(x), atol=0, rtol=0)


def test_the_weights_are_those_without_windows():
    with_windows, without = windowed().state_dict(), crate(out_type='featmap').state_dict()
    assert {name: value.shape for name, value in with_windows.items()} == {
        name: value.shape for name, value in without.items()
    }


def test_gradient_checkpointing_with_windows():
    x, results = images(20, 28), []
    plain, frugal = windowed(drop_path_rate=0.5), windowed(drop_path_rate=0.5, with_cp=True)
    frugal.load_state_dict(plain.state_dict())
    for model in (plain, frugal):
        torch.manual_seed(1)
        outputs = model.train()(x)
        sum(output.square().sum() for output in outputs).backward()
        results.append([*outputs, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ('num_layers', 'global_layers'),
    [(12, [2, 5, 8, 11]), (24, [5, 11, 17, 23]), (6, [0, 2, 3, 5]), (4, [0, 1, 2, 3]), (3, [0, 1, 2]), (1, [0])],
)
def test_default_global_layers_are_the_last_of_each_quarter(num_layers, global_layers):
    model = crate(arch={**ARCH, 'num_layers': num_layers}, window_size=2)
    assert sorted(set(range(num_layers)) - model.windowed_layers) == global_layers


def test_global_layers_as_given():
    assert crate(window_size=2, global_attn_indexes=[]).windowed_layers == {0, 1, 2}
    assert crate(window_size=2, global_attn_indexes=[-1, 2]).windowed_layers == {0, 1}
    assert not crate().windowed_layers
    assert crate(window_size=[2, 3]).window_size == (2, 3)  # as a config in JSON or YAML has it


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(window_size=0), r'window_size .*at least 1, not 0'),
        (dict(window_size=(3, 0)), r'window_size .*at least 1, not \(3, 0\)'),
        (dict(window_size=-14), r'window_size .*at least 1, not -14'),
        (dict(window_size=2, attn_cfg=dict(type='TSSA')), r'TSSA.*remove window_size'),
        (dict(window_size=2, attn_cfg=dict(proj_bias=False)), r"attn_cfg\['type'\] must be one of"),
        (dict(global_attn_indexes=[0]), r'global_attn_indexes needs window_size: set window_size, or remove'),
        (dict(window_size=2, global_attn_indexes=[0, 3]), r'global_attn_indexes must lie in -3 to 2, not \[0, 3\]'),
        (dict(window_size=2, global_attn_indexes=[-4]), r'global_attn_indexes must lie in -3 to 2, not \[-4\]'),
        (dict(out_indices=[3]), r'out_indices must lie in -3 to 2, not \[3\]'),
        (dict(out_indices=[]), r'out_indices is empty'),
    ],
)
def test_arguments_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=f'^CRATE: .*{message}'):
        crate(**options)


def test_tssa_without_windows_still_runs():
    assert crate(attn_cfg=dict(type='TSSA'))(images())[0].shape == (2, 24)


@pytest.mark.parametrize('kind', ATTENTIONS)
@torch.no_grad()
def test_observed_rows_of_cls_are_those_of_the_forward_pass(kind):
    model = windowed(attn_cfg=dict(type=kind), with_cp=True).double()
    mixed = []
    model.layers[0].attn.proj.register_forward_pre_hook(lambda _, args: mixed.append(args[0]))
    with observe(model, [0]) as seen:
        model(images(20, 28).double())
    value = seen[0].projected.chunk(3, dim=-1)[-1] if kind == 'MHSA' else seen[0].projected
    row = seen[0].attention(slice(0, 1))  # (B, K, 1, N)
    heads = (row @ value.unflatten(-1, (3, -1)).transpose(1, 2))[:, :, 0]
    torch.testing.assert_close(heads.flatten(1), mixed[0][:, 0], **EXACT)
    expected = row[:, :, 0, 1:] / row[:, :, 0, 1:].sum(-1, keepdim=True)
    torch.testing.assert_close(seen[0].cls_attention(), expected, **EXACT)


@torch.no_grad()
def test_observed_rows_of_patches():
    model = windowed()
    with observe(model, [0, -1, -2, 1]) as seen:
        model(images(20, 28))
    for layer in (0, -1):
        for rows in (slice(None), slice(1, 2), slice(0, 2), slice(-1, None)):
            with pytest.raises(ValueError, match=r'^attention: .*within windows; .*without window_size'):
                seen[layer].attention(rows)
    for layer in (-2, 1):  # global
        assert seen[layer].attention().shape == (2, 3, 36, 36)
    with observe(model, [0]) as seen:
        model(images(8, 12))  # one window of 2 x 3 holds the grid
    assert seen[0].attention().shape == (2, 3, 7, 7)


@torch.no_grad()
def test_features_are_in_raster_order():
    model = windowed()
    twin = unwindowed(model)
    image = np.random.default_rng(0).integers(0, 256, (18, 25, 3), dtype=np.uint8)
    maps = [Observer(backbone).features(image, [0])[0] for backbone in (model, twin)]
    assert maps[0].shape == (5, 7, 24)
    np.testing.assert_array_equal(*maps)
    attentions = [Observer(backbone).attention(image, [0])[0] for backbone in (model, twin)]
    np.testing.assert_array_equal(*attentions)
    x = images(20, 28)
    masks = [MaskCutDetector(backbone, layer=0)(x) for backbone in (model, twin)]
    assert masks[0].any()
    assert torch.equal(*masks)


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group('gloo', store=dist.FileStore(str(tmp_path / 'store'), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def wrap_ddp(model):
    return DistributedDataParallel(model)


def wrap_fsdp(model):
    return MMFullyShardedDataParallel(
        model, device_id=torch.device('cpu'), auto_wrap_policy=wrap_crate_layers, use_orig_params=True
    )


@pytest.mark.parametrize('wrap', [wrap_ddp, wrap_fsdp])
@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.usefixtures('process_group')
def test_wrappers_pass_the_windows_on(wrap, with_cp):
    model = windowed(with_cp=with_cp).train()
    twin = windowed().train()
    twin.load_state_dict(model.state_dict())
    x = images(20, 28)
    outputs, expected = wrap(model)(x), twin(x)
    torch.testing.assert_close(outputs, expected)
    for maps in (outputs, expected):
        sum(output.square().sum() for output in maps).backward()
    gradients = {name: parameter.grad for name, parameter in twin.named_parameters()}
    for name, parameter in model.named_parameters():
        name = name.replace('_fsdp_wrapped_module.', '')
        torch.testing.assert_close(parameter.grad.view_as(gradients[name]), gradients[name])


def test_mixed_precision_stays_close():
    model, x = windowed(), images(20, 28)
    with torch.autocast('cpu', torch.bfloat16):
        outputs = model(x)
    for output, expected in zip(outputs, model(x), strict=True):
        assert F.mse_loss(output.float(), expected) < 1e-3 * expected.square().mean()
