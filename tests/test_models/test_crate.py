import inspect

import pytest
import torch
from mmengine.registry import MODELS
from operators import Record
from tiny_models import ARCH, classifier, crate, images
from torch import nn
from torch.nn import functional as F

from projects.crate.errors import ArgumentError
from projects.crate.models import CRATE
from projects.crate.models.crate import ARCHS
from projects.crate.models.layers import ISTA, MHSA, MLP, MSSA, ODL, TSSA

ATTENTIONS = dict(MSSA=MSSA, MHSA=MHSA, TSSA=TSSA)
FEEDFORWARDS = dict(ISTA=ISTA, ODL=ODL, MLP=MLP)
OUT_TYPES = ('cls_token', 'raw', 'featmap', 'avg_featmap')


@pytest.mark.parametrize(
    ('arch', 'patch_size', 'num_classes', 'parameters'),
    [
        ('tiny', 16, 1000, 6_090_856),
        ('small', 16, 1000, 13_116_328),
        ('base', 16, 1000, 22_796_008),
        ('large', 16, 1000, 77_641_192),
        ('emergence-small', 8, 21842, 14_118_482),
        ('emergence-base', 8, 21842, 38_831_570),
        ('alpha-base', 16, 1000, 72_328_936),
        ('alpha-large', 14, 1000, 253_650_920),
    ],
)
def test_published_parameter_counts(arch, patch_size, num_classes, parameters):
    with torch.device('meta'):
        model = classifier(dict(type='CRATE', arch=arch, patch_size=patch_size), ARCHS[arch][0], num_classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_parameter_counts_of_the_remaining_released_models():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    with torch.device('meta'):
        tiny = CRATE(arch='emergence-tiny', patch_size=8)
        demo = CRATE(arch=dict(embed_dims=768, num_heads=6, num_layers=12), patch_size=8)
        assert round((count(tiny) + 192 * 21842 + 21842) / 1e6, 2) == 5.74
        head = nn.Sequential(nn.Linear(768, 768), nn.Linear(768, 21842))
    assert count(demo) + count(head) == 39_422_162


SIZES = {
    'tiny': (384, 6, 12),
    'small': (576, 12, 12),
    'base': (768, 12, 12),
    'large': (1024, 16, 24),
    'emergence-tiny': (192, 3, 12),
    'emergence-small': (384, 6, 12),
    'emergence-base': (768, 12, 12),
    'alpha-tiny': (192, 3, 12),
    'alpha-small': (384, 6, 12),
    'alpha-base': (768, 12, 12),
    'alpha-large': (1024, 16, 24),
}


@pytest.mark.parametrize('name', SIZES)
def test_archs(name):
    with torch.device('meta'):
        model = CRATE(arch=name.upper())
    dim, heads, depth = SIZES[name]
    assert (model.embed_dims, model.num_heads, model.num_layers) == (dim, heads, depth)
    assert (len(model.layers), model.layers[0].attn.num_heads) == (depth, heads)
    alpha = name.startswith('alpha')
    assert isinstance(model.layers[-1].ffn, ODL if alpha else ISTA)
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-6 if alpha else 1e-5}


def test_norm_eps_is_the_one_of_every_norm():
    norms = [module for module in crate(norm_eps=1e-3).modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 + 2 * 3 + 1
    assert {norm.eps for norm in norms} == {1e-3}


def test_every_arch_is_tested():
    assert ARCHS.keys() == SIZES.keys()


VIT_PARTS = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)


def vit_pair(out_type, img_size, final_norm=True):
    """mmpretrain's VisionTransformer and CRATE configured as one, with the same random weights."""
    options = dict(img_size=img_size, patch_size=4, out_type=out_type, final_norm=final_norm, out_indices=[0, 2])
    vit = MODELS.build(dict(type='mmpretrain.VisionTransformer', arch={**ARCH, 'feedforward_channels': 96}, **options))
    twin = CRATE(
        arch=ARCH,
        **VIT_PARTS,
        **options,
    )
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3)
    twin.load_state_dict(vit.state_dict())
    vit.eval()  # which returns nothing there
    return vit, twin.eval()


@pytest.mark.parametrize('size', [(8, 12), (16, 8), (12, 20)])
@pytest.mark.parametrize('out_type', ['cls_token', 'raw', 'featmap'])
@torch.no_grad()
def test_equals_mmpretrains_vision_transformer(out_type, size):
    """Sizes other than 8 x 12 interpolate the positions."""
    vit, twin = vit_pair(out_type, img_size=(8, 12))
    x = images(*size)
    for expected, output in zip(vit(x), twin(x), strict=True):
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('final_norm', [True, False])
@torch.no_grad()
def test_map_and_cls_token_are_those_of_mmsegs_vision_transformer(final_norm):
    """As ``DPTHead`` takes them; mmseg's weights under CRATE's names, its last norm included."""
    options = dict(img_size=(8, 12), patch_size=4, final_norm=final_norm, out_indices=(0, 2), output_cls_token=True)
    size = dict(embed_dims=ARCH['embed_dims'], num_layers=3, num_heads=ARCH['num_heads'])
    norm_cfg = dict(type='LN', eps=1e-6)
    theirs = MODELS.build(dict(type='mmseg.VisionTransformer', **size, norm_cfg=norm_cfg, patch_bias=True, **options))
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = CRATE(
        arch=ARCH,
        **VIT_PARTS,
        out_type='featmap',
        **options,
    )
    names = {'attn.attn.in_proj_': 'attn.qkv.', 'attn.attn.out_proj': 'attn.proj'}
    weights = theirs.state_dict()
    for old, new in names.items():
        weights = {name.replace(old, new): value for name, value in weights.items()}
    ours.load_state_dict(weights)
    x = images(8, 12)
    theirs.eval()  # which returns nothing there
    for expected, output in zip(theirs(x), ours.eval()(x), strict=True):
        assert type(output) is type(expected) is list and output[1].shape == (len(x), ARCH['embed_dims'])
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_vision_transformer_without_final_norm():
    vit, twin = vit_pair('raw', (8, 12), final_norm=False)
    x = images()
    torch.testing.assert_close(twin(x)[-1], vit(x)[-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('with_cls_token', [True, False])
@pytest.mark.parametrize('size', [(8, 12), (12, 8), (16, 20), (9, 11)])
@pytest.mark.parametrize('patch_embed', ['linear', 'conv'])
def test_output_shapes(patch_embed, size, with_cls_token):
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    tokens = h * w + with_cls_token
    shapes = dict(cls_token=(2, 24), raw=(2, tokens, 24), featmap=(2, 24, h, w), avg_featmap=(2, 24))
    for out_type in OUT_TYPES[not with_cls_token :]:
        model = crate(out_type=out_type, patch_embed=patch_embed, with_cls_token=with_cls_token, out_indices=(0, 2))
        outputs = model(images(*size))
        assert isinstance(outputs, tuple)
        assert [tuple(output.shape) for output in outputs] == [shapes[out_type]] * 2


@torch.no_grad()
def test_out_types_are_views_of_the_same_tokens():
    model, x = crate(out_type='raw').eval(), images()
    raw = model(x)[0]
    outputs = {}
    for out_type in OUT_TYPES:
        model.out_type = out_type
        outputs[out_type] = model(x)[0]
    torch.testing.assert_close(outputs['cls_token'], raw[:, 0])
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(outputs['featmap'][:, :, row, column], raw[:, 1 + row * 3 + column])
    model.out_type, model.ln1 = 'raw', None
    patches = model(x)[0][:, 1:]
    mean = F.layer_norm(patches.mean(1), (24,))
    torch.testing.assert_close(outputs['avg_featmap'], mean, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_non_square_grid_is_height_by_width():
    """A patch that changes shows in its own row and column."""
    model = crate(out_type='featmap', attn_cfg=dict(type='MSSA'), final_norm=False).eval()
    for layer in model.layers:
        nn.init.zeros_(layer.attn.proj.weight)  # no mixing of tokens
    x = images()
    changed = x.clone()
    changed[:, :, 4:8, 8:12] += 1
    difference = (model(changed)[0] - model(x)[0]).abs().sum((0, 1))
    assert difference[1, 2] > 0
    assert (difference > 0).sum() == 1


@torch.no_grad()
def test_patch_size_may_be_non_square():
    model = CRATE(arch=ARCH, img_size=(8, 12), patch_size=(4, 3), out_type='featmap')
    assert model.grid == (2, 4)
    assert model(images())[0].shape == (2, 24, 2, 4)


@torch.no_grad()
def test_img_size_that_patches_do_not_divide():
    model = crate(img_size=(9, 11), out_type='featmap')
    assert model.grid == (3, 3)
    assert model.pos_embed.shape == (1, 10, 24)
    assert model(images(9, 11))[0].shape == (2, 24, 3, 3)


@torch.no_grad()
def test_out_indices():
    x = images()
    every = crate(out_type='raw', out_indices=[0, 1, 2]).eval()
    state, expected = every.state_dict(), every(x)
    for argument, layers in ((-1, [2]), (1, [1]), ([2, 0], [0, 2]), ((-3, -1), [0, 2]), ([1, -2], [1])):
        indices = list(argument) if isinstance(argument, list) else argument
        model = crate(out_type='raw', out_indices=indices).eval()
        assert indices == argument  # the caller's list stays as it was
        model.load_state_dict(state)
        outputs = model(x)
        assert len(outputs) == len(layers)
        for output, layer in zip(outputs, layers):
            torch.testing.assert_close(output, expected[layer])


@torch.no_grad()
def test_layers_after_the_last_output_do_not_run():
    model = crate(out_indices=0)
    with Record() as short:
        model(images())
    model.out_indices = (2,)
    with Record() as whole:
        model(images())
    assert len(short.calls) < len(whole.calls) / 2
    assert not any(parameter.requires_grad for parameter in [*model.layers[1:].parameters(), *model.ln1.parameters()])
    assert all(parameter.requires_grad for parameter in model.layers[0].parameters())


@torch.no_grad()
def test_final_norm_is_for_the_last_layer_only():
    x = images()
    normed = crate(out_type='raw', out_indices=(1, 2)).eval()
    plain = crate(out_type='raw', out_indices=(1, 2), final_norm=False).eval()
    plain.load_state_dict({key: value for key, value in normed.state_dict().items() if not key.startswith('ln1.')})
    (middle, last), (plain_middle, plain_last) = normed(x), plain(x)
    torch.testing.assert_close(middle, plain_middle)
    torch.testing.assert_close(last, normed.ln1(plain_last))
    assert not [key for key in plain.state_dict() if key.startswith('ln1.')]


@torch.no_grad()
def test_in_channels():
    assert crate(in_channels=5)(torch.randn(2, 5, 8, 12))[0].shape == (2, 24)


def manual_layer(layer, z, normalised=False):
    """Norm, attention, norm, feed-forward: written out."""
    x = layer.ln1(z)
    z = (x if normalised else z) + layer.attn(x)
    result = layer.ffn(layer.ln2(z))
    return result if isinstance(layer.ffn, ISTA) else z + result


@pytest.mark.parametrize('skip', ['raw', 'normalised'])
@pytest.mark.parametrize('feedforward', FEEDFORWARDS)
@torch.no_grad()
def test_skip_connections(feedforward, skip):
    model = crate(
        ffn_cfg=dict(type=feedforward), skip=skip, out_type='raw', out_indices=(0, 1), final_norm=False
    ).eval()
    first, second = model(images())
    torch.testing.assert_close(second, manual_layer(model.layers[1], first, skip == 'normalised'))


@torch.no_grad()
def test_odl_without_residual():
    model = crate(ffn_cfg=dict(type='ODL', residual=False), out_type='raw', out_indices=(0, 1), final_norm=False).eval()
    first, second = model(images())
    layer = model.layers[1]
    torch.testing.assert_close(second, layer.ffn(layer.ln2(first + layer.attn(layer.ln1(first)))))


def test_ablations_share_keys_and_shapes():
    """Two variants differ in the keys of the part in which they differ, and nowhere else."""

    def shapes(**options):
        return {key: tuple(value.shape) for key, value in crate(**options).state_dict().items()}

    crate_keys = shapes()
    for attention in ('MHSA', 'TSSA'):
        other = shapes(attn_cfg=dict(type=attention))
        different = {key for key, _ in crate_keys.items() ^ other.items()}
        assert all('.attn.qkv.' in key or '.attn.temp' in key for key in different), different
    for feedforward in ('ODL', 'MLP'):
        different = {key for key, _ in crate_keys.items() ^ shapes(ffn_cfg=dict(type=feedforward)).items()}
        assert all('.ffn.' in key for key in different), different
    different = {key for key, _ in crate_keys.items() ^ shapes(patch_embed='conv').items()}
    assert all(key.startswith('patch_embed.') for key in different), different
    assert shapes(ffn_cfg=dict(type='ISTA', threshold='soft'), skip='normalised', drop_path_rate=0.1) == crate_keys
    assert crate_keys.keys() - shapes(with_cls_token=False, out_type='raw').keys() == {'cls_token'}
    tied = shapes(ffn_cfg=dict(type='ODL', decoupled=False))
    assert {key.rsplit('.', 1)[1] for key in shapes(ffn_cfg=dict(type='ODL')).keys() - tied.keys()} == {'D1'}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), "arch must be one of tiny, small, .*; not 'huge'"),
        (dict(arch=dict(embed_dims=24)), 'arch as a dict has the keys'),
        (dict(arch={**ARCH, 'depth': 3}), 'arch as a dict has the keys'),
        (dict(arch={**ARCH, 'num_heads': 5}), 'num_heads=5 does not divide embed_dims=24'),
        (dict(out_type='cls'), "out_type must be one of .*; not 'cls'"),
        (dict(with_cls_token=False), "out_type='cls_token' needs with_cls_token=True"),
        (dict(output_cls_token=True), "output_cls_token=True needs with_cls_token=True and out_type='featmap'"),
        (dict(out_indices=3), 'out_indices must lie in -3 to 2, not 3'),
        (dict(out_indices=[0, -4]), 'out_indices must lie in -3 to 2'),
        (dict(out_indices=[]), 'out_indices is empty'),
        (dict(frozen_stages=4), 'frozen_stages must be -1 to 3, not 4'),
        (dict(drop_path_rate=1.0), 'drop_path_rate must lie in'),
        (dict(frozen_stages=-2), 'frozen_stages must be -1 to 3, not -2'),
        (dict(skip='none'), "skip must be one of raw, normalised; not 'none'"),
        (dict(patch_embed='mlp'), "patch_embed must be one of linear, conv; not 'mlp'"),
        (dict(init='zeros'), "init must be one of crate, alpha; not 'zeros'"),
        (dict(attn_cfg=dict(type='SSA')), r"attn_cfg\['type'\] must be one of MSSA, MHSA, TSSA; not 'SSA'"),
        (dict(attn_cfg=dict(proj_bias=True)), r"attn_cfg\['type'\] must be one of .*; not None"),
        (dict(attn_cfg=dict(type='MSSA', bias=True)), "attn_cfg=.* unexpected keyword argument 'bias'"),
        (dict(ffn_cfg=dict(type='FFN')), r"ffn_cfg\['type'\] must be one of ISTA, ODL, MLP; not 'FFN'"),
        (dict(ffn_cfg=dict(type='ISTA', ratio=4)), "ffn_cfg=.* unexpected keyword argument 'ratio'"),
        (dict(ffn_cfg=dict(type='ISTA', threshold='hard')), 'threshold'),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        crate(**options)


def test_configs_are_not_changed():
    attn_cfg, ffn_cfg, arch = dict(type='MSSA', proj_bias=False), dict(type='ODL', ratio=1), dict(ARCH)
    crate(arch=arch, attn_cfg=attn_cfg, ffn_cfg=ffn_cfg)
    assert (attn_cfg, ffn_cfg, arch) == (dict(type='MSSA', proj_bias=False), dict(type='ODL', ratio=1), ARCH)


def test_every_argument_is_documented():
    for name in list(inspect.signature(CRATE.__init__).parameters)[1:]:
        assert f'        {name}: ' in CRATE.__doc__ or f'    {name}: ' in CRATE.__doc__, name


def test_layer_depth():
    model = crate()
    depths = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()}
    assert {total for _, total in depths.values()} == {5}
    for name, (depth, _) in depths.items():
        expected = int(name.split('.')[1]) + 1 if name.startswith('layers.') else 4 if name.startswith('ln1') else 0
        assert depth == expected, name
        assert model.get_layer_depth(name) == (depth, 5)
    assert model.get_layer_depth('head.layers.0.weight', 'backbone.') == (4, 5)
    assert model.get_layer_depth('cls_token', 'backbone.') == (4, 5)  # of the model, not of the backbone


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(img_size='48'), "img_size must be int | tuple[int, int], not '48'"),
        (dict(patch_size=(8, 8, 8)), 'patch_size must be int'),
        (dict(arch=dict(embed_dims='16', num_heads=2, num_layers=2)), 'integers above 0'),
        (dict(arch=dict(embed_dims=16, num_heads=2, num_layers=True)), 'integers above 0'),
        (dict(drop_path_rate=None), 'drop_path_rate must be float'),
        (dict(ffn_cfg=dict(type='ODL', ratio=0)), 'ODL: ratio must be at least 1'),
        (dict(ffn_cfg=dict(type='ISTA', eta='a')), 'eta must be float'),
        (dict(attn_cfg=dict(type='MHSA', wrong=1)), "unexpected keyword argument 'wrong'"),
    ],
)
def test_arguments_of_another_kind_are_named(wrong, message):
    with pytest.raises(ArgumentError) as caught:
        CRATE(**{**dict(arch=dict(embed_dims=16, num_heads=2, num_layers=2), img_size=48, patch_size=8), **wrong})
    assert message in str(caught.value)
