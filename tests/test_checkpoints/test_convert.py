import pytest
import torch
from mmengine.registry import MODELS
from reference import (
    DINOv2ViT,
    DINOViT,
    golden_images,
    golden_outputs,
    golden_weights,
    released_logits,
    released_shapes,
    released_weights,
)
from tiny_models import classifier
from torch import nn

from projects.crate.checkpoints import CheckpointError, weights_of
from projects.crate.checkpoints.convert import (
    ALPHA,
    CRATE,
    LEFT_OUT,
    VIT,
    ConversionError,
    choose_backbone,
    convert,
    detect_layout,
    source_weights,
)
from projects.crate.models import observe
from projects.crate.models.crate import ALPHA_FAMILY, ARCHS, CRATE_FAMILY

SIZES = dict(dim=24, depth=2, patch=4, side=3, classes=5)
HEADS = 3


def unwrapped(checkpoint):
    return source_weights(weights_of(checkpoint, 'a.pth'))


def shapes_only(**sizes):
    """Weights of any size at no cost."""
    return {key: torch.empty(shape, device='meta') for key, shape in released_shapes(**sizes).items()}


def build(conversion, num_classes):
    """The classifier that a conversion with head describes, loaded strictly."""
    backbone = conversion.meta['backbone']
    model = classifier(backbone, conversion.state_dict['backbone.cls_token'].shape[-1], num_classes)
    model.load_state_dict(conversion.state_dict)
    return model.eval()


@pytest.mark.parametrize('alpha', [False, True])
def test_logits_equal_the_formulas(alpha):
    weights = released_weights(**SIZES, alpha=alpha)
    images = torch.randn(2, 3, 12, 12)
    model = build(convert(weights, num_heads=HEADS, head=True), num_classes=5)
    with torch.no_grad():
        logits = model(images)
    torch.testing.assert_close(logits.double(), released_logits(weights, images, HEADS), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ('name', 'seed', 'num', 'arch'),
    [
        ('tiny', 101, 2, 'tiny'),
        ('small', 101, 2, 'small'),
        ('s8_21k', 102, 1, 'emergence-small'),
        ('alpha_base', 103, 2, 'alpha-base'),
    ],
)
def test_logits_and_attention_equal_the_released_code(name, seed, num, arch):
    golden = golden_outputs()
    conversion = convert(golden_weights(name), head=True)
    assert conversion.meta['arch'] == arch
    num_classes = len(conversion.state_dict['head.fc.bias'])
    model = build(conversion, num_classes)
    with torch.no_grad(), observe(model.backbone, [0, 5, 10, 11]) as seen:
        logits = model(golden_images(seed, num)).numpy()
    expected = golden[f'{name}_logits']
    assert logits[:, : expected.shape[1]] == pytest.approx(expected, abs=1e-4)
    assert sum(parameter.numel() for parameter in model.parameters()) == golden[f'{name}_params']
    if name == 's8_21k':
        for index, layer in seen.items():
            row = layer.attention(slice(0, 1))[:, :, 0, 1:]
            assert row.numpy() == pytest.approx(golden[f's8_attn{index}'], abs=1e-6)
            features = layer.features[:, :64].numpy()
            assert features == pytest.approx(golden[f's8_key{index}'], abs=2e-3)  # stored as float16


@pytest.mark.parametrize('alpha', [False, True])
def test_every_source_key_is_used_once(alpha):
    weights = released_weights(**SIZES, alpha=alpha)
    conversion = convert(weights, num_heads=HEADS, head=True)
    assert [source for source, _, _ in conversion.rows] == list(weights)
    assert sorted(target for _, target, _ in conversion.rows) == sorted(conversion.state_dict)
    for source, target, shape in conversion.rows:
        assert conversion.state_dict[target] is weights[source]
        assert shape == tuple(weights[source].shape)


def test_head_is_left_out_unless_asked_for():
    conversion = convert(released_weights(**SIZES), num_heads=HEADS)
    assert all(key.startswith('backbone.') for key in conversion.state_dict)
    left_out = [source for source, target, _ in conversion.rows if target == LEFT_OUT]
    assert left_out == ['mlp_head.1.weight', 'mlp_head.1.bias']


def test_checkpoint_without_head():
    weights = {key: value for key, value in released_weights(**SIZES).items() if not key.startswith('mlp_head.1.')}
    assert convert(weights, num_heads=HEADS).state_dict
    with pytest.raises(ConversionError, match='missing keys: mlp_head.1.weight, mlp_head.1.bias'):
        convert(weights, num_heads=HEADS, head=True)


@pytest.mark.parametrize('head', [False, True])
def test_both_layers_of_a_two_layer_head_are_kept(head):
    weights = released_weights(**SIZES, hidden=7)
    conversion = convert(weights, num_heads=HEADS, head=head)
    kept = {key: value for key, value in conversion.state_dict.items() if not key.startswith('backbone.')}
    assert kept == {
        f'released_head.{key}': weights[key]
        for key in ('mlp_head.1.weight', 'mlp_head.1.bias', 'head.weight', 'head.bias')
    }
    assert any('released_head' in note for note in conversion.notes)
    with pytest.raises(ConversionError, match=r'wrong shapes: head\.weight \(5, 8\) instead of \(5, 7\)$'):
        convert({**weights, 'head.weight': torch.zeros(5, 8)}, num_heads=HEADS)


def test_containers_and_prefix():
    weights = released_weights(**SIZES)
    prefixed = {f'module.{key}': value for key, value in weights.items()}
    for checkpoint in (weights, prefixed, {'state_dict': prefixed, 'epoch': 3}, {'model': weights, 'epoch': 3}):
        found = unwrapped(checkpoint)
        assert [*found] == [*weights] and all(map(torch.equal, found.values(), weights.values()))
    with pytest.raises(ConversionError, match='not tensors: epoch, names'):
        unwrapped({**weights, 'epoch': 3, 'names': ['a']})
    for nothing in ({}, [1], torch.zeros(2), {'state_dict': {}}):
        with pytest.raises(CheckpointError, match='a.pth holds no weights by name'):
            unwrapped(nothing)
    with pytest.raises(ConversionError, match='cls_token holds NaN or infinity'):
        unwrapped({**weights, 'cls_token': torch.full((1, 1, 24), torch.inf)})


def test_unknown_and_missing_keys_are_all_listed():
    weights = released_weights(**SIZES)
    for key in ('cls_token', 'transformer.layers.1.1.fn.weight'):
        del weights[key]
    weights |= {'norm.weight': torch.zeros(24), 'transformer.layers.0.1.fn.D': torch.zeros(24, 96)}
    with pytest.raises(ConversionError) as error:
        convert(weights, num_heads=HEADS)
    assert str(error.value) == (
        'unknown keys: norm.weight, transformer.layers.0.1.fn.D; '
        'missing keys: cls_token, transformer.layers.1.1.fn.weight'
    )


def test_one_unknown_key_is_enough():
    weights = released_weights(**SIZES) | {'norm.weight': torch.zeros(24)}
    with pytest.raises(ConversionError, match='^unknown keys: norm.weight$'):
        convert(weights, num_heads=HEADS)


def test_wrong_shapes_are_all_listed():
    weights = released_weights(**SIZES)
    weights['transformer.layers.0.1.fn.weight'] = torch.zeros(24, 48)
    weights['mlp_head.1.weight'] = torch.zeros(5, 23)
    with pytest.raises(ConversionError) as error:
        convert(weights, num_heads=HEADS, head=True)
    assert str(error.value) == (
        'wrong shapes: transformer.layers.0.1.fn.weight (24, 48) instead of (24, 24), '
        'mlp_head.1.weight (5, 23) instead of (5, 24)'
    )


def test_integers_are_no_weights():
    weights = released_weights(**SIZES)
    weights['transformer.layers.0.1.fn.weight'] = weights['transformer.layers.0.1.fn.weight'].to(torch.int8)
    with pytest.raises(ConversionError, match=r'^1 weights \(transformer\.layers\.0\.1\.fn\.weight\) of integers'):
        convert(weights, num_heads=HEADS)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'pos_embedding': (1, 9, 24)}, '8 patches, which is not a square grid'),
        ({'pos_embedding': (10, 24)}, r'pos_embedding \(10, 24\)'),
        ({'to_patch_embedding.1.weight': (49,)}, r'wrong shapes: to_patch_embedding\.1\.weight \(49,\)'),
        ({'to_patch_embedding.1.weight': (2,)}, 'wrong shapes'),
        ({'to_patch_embedding.1.weight': ()}, 'no released model has'),
        ({'mlp_head.1.bias': (4,)}, r'mlp_head\.1\.weight \(5, 24\) instead of \(4, 24\)'),
    ],
)
def test_shapes_that_no_released_model_has(change, message):
    weights = released_weights(**SIZES) | {key: torch.zeros(shape) for key, shape in change.items()}
    with pytest.raises(ConversionError, match=message):
        convert(weights, num_heads=HEADS, head=True)


def test_other_checkpoints_are_named_as_such():
    with pytest.raises(ConversionError, match='not a released checkpoint .*: no to_patch_embedding.1.weight'):
        convert({'backbone.cls_token': torch.zeros(1, 1, 24), 'fc.weight': torch.zeros(2, 2)})


@pytest.mark.parametrize(
    ('sizes', 'arch', 'num_heads'),
    [
        (dict(dim=384, depth=12, patch=16, side=14), 'tiny', 6),
        (dict(dim=576, depth=12, patch=16, side=14), 'small', 12),
        (dict(dim=1024, depth=24, patch=16, side=14), 'large', 16),
        (dict(dim=192, depth=12, patch=8, side=28), 'emergence-tiny', 3),
        (dict(dim=384, depth=12, patch=8, side=28), 'emergence-small', 6),
        (dict(dim=192, depth=12, patch=16, side=14, alpha=True), 'alpha-tiny', 3),
        (dict(dim=768, depth=12, patch=16, side=14, alpha=True), 'alpha-base', 12),
        (dict(dim=1024, depth=24, patch=14, side=16, alpha=True), 'alpha-large', 16),
    ],
)
def test_heads_are_taken_from_the_table_where_only_one_number_was_released(sizes, arch, num_heads):
    conversion = convert(shapes_only(**sizes, classes=10), head=True)
    assert (conversion.meta['arch'], conversion.meta['num_heads']) == (arch, num_heads)
    assert (conversion.meta['patch_size'], conversion.meta['img_size']) == (sizes['patch'], 224)
    assert arch in conversion.notes[0]
    assert f'{num_heads} heads' in conversion.notes[0]


def test_another_arch_says_nothing_about_released_files(monkeypatch):
    """Not its number of heads, not its name, not a size that it has alone."""
    small, other = (dict(dim=dim, depth=12, patch=16, side=14, classes=10) for dim in (576, 320))
    sizes = {'a-small': (576, 8), 'emergence-twin': (576, 12), 'other': (320, 5)}
    for name, (dim, heads) in sizes.items():
        monkeypatch.setitem(ARCHS, name, (dim, heads, 12, CRATE_FAMILY))
    found = convert(shapes_only(**small)).meta
    assert (found['arch'], found['num_heads']) == ('small', 12)
    assert convert(shapes_only(**small | dict(patch=8, side=28)), num_heads=12).meta['arch'] == 'small'
    assert convert(shapes_only(**small), num_heads=8).meta['arch'] == dict(embed_dims=576, num_heads=8, num_layers=12)
    with pytest.raises(ConversionError, match='--arch a-small does not fit .* these have small'):
        convert(shapes_only(**small), arch='a-small')
    with pytest.raises(ConversionError, match='give --heads N: .* no model was released'):
        convert(shapes_only(**other))
    assert convert(shapes_only(**other), num_heads=5).meta['num_heads'] == 5


def test_heads_must_be_given_where_two_numbers_were_released():
    weights = shapes_only(dim=768, depth=12, patch=8, side=28, classes=21842, hidden=768)
    with pytest.raises(ConversionError, match=r'--heads N or --arch .*width 768 .* released models have 6 or 12'):
        convert(weights)
    named = convert(weights, arch='emergence-base').meta
    assert (named['arch'], named['num_heads']) == ('emergence-base', 12)
    assert convert(weights, num_heads=12).meta['arch'] == 'emergence-base'
    demo = convert(weights, num_heads=6).meta
    assert demo['arch'] == dict(embed_dims=768, num_heads=6, num_layers=12)
    with torch.device('meta'):
        assert MODELS.build(demo['backbone']).num_heads == 6
    plain = shapes_only(dim=768, depth=12, patch=16, side=14, classes=1000)
    with pytest.raises(ConversionError, match='--heads'):
        convert(plain)
    assert convert(plain, arch='base').meta['arch'] == 'base'


def test_heads_must_be_given_for_sizes_that_were_not_released():
    with pytest.raises(ConversionError, match='give --heads N: .* width 24 with 2 layers no model was released'):
        convert(released_weights(**SIZES))
    shallow = shapes_only(dim=384, depth=3, patch=8, side=28, classes=5)
    with pytest.raises(ConversionError, match='give --heads N: .* width 384 with 3 layers no model was released'):
        convert(shallow)


@pytest.mark.parametrize('num_heads', [5, 0, -3])
def test_heads_that_do_not_divide_the_width(num_heads):
    with pytest.raises(ConversionError, match=f'--heads {num_heads} does not divide the width 24'):
        convert(released_weights(**SIZES), num_heads=num_heads)


def test_arch_that_does_not_fit():
    with pytest.raises(ConversionError, match='--arch tiny does not fit CRATE weights of width 24 .* give --heads'):
        convert(released_weights(**SIZES), arch='tiny')
    alpha = shapes_only(dim=384, depth=12, patch=16, side=14, classes=5, alpha=True)
    with pytest.raises(ConversionError, match='--arch tiny does not fit CRATE-alpha .* these have alpha-small'):
        convert(alpha, arch='tiny')


def test_a_single_head_has_no_output_projection():
    weights = {key: value for key, value in released_weights(**SIZES).items() if 'to_out' not in key}
    conversion = convert(weights, num_heads=1)
    MODELS.build(conversion.meta['backbone']).load_state_dict(
        {key.removeprefix('backbone.'): value for key, value in conversion.state_dict.items()}
    )


def test_the_config_does_not_share_the_table_of_families():
    layout = detect_layout(released_weights(**SIZES, alpha=True))
    backbone, *_ = choose_backbone(layout, None, HEADS)
    backbone['attn_cfg']['proj_bias'] = True
    assert layout.family.parts['attn_cfg'] == dict(type='MSSA', proj_bias=False)


VIT_CFG = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=96),
    img_size=12,
    patch_size=4,
)


def strip(state_dict):
    return {key.removeprefix('backbone.'): value for key, value in state_dict.items()}


@pytest.mark.parametrize('target', ['CRATE', 'VisionTransformer'])
@torch.no_grad()
def test_a_vit_of_dino_gives_equal_keys_and_attention(target):
    vit, images = DINOViT(), torch.randn(2, 3, 12, 12)
    conversion = convert(vit.state_dict(), num_heads=3)
    assert (conversion.meta['layout'], conversion.meta['patch_size'], conversion.meta['img_size']) == ('ViT', 4, 12)
    assert any('VisionTransformer' in note for note in conversion.notes)
    backbone = MODELS.build(conversion.meta['backbone'] if target == 'CRATE' else VIT_CFG)
    backbone.load_state_dict(strip(conversion.state_dict))
    backbone.eval()
    with observe(backbone, range(3)) as seen:
        output = backbone(images)[0]
    expected, keys, maps = vit(images)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    for layer in range(3):
        torch.testing.assert_close(seen[layer].features, keys[layer], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(seen[layer].attention(slice(0, 1))[:, :, 0], maps[layer], atol=1e-5, rtol=1e-5)


def test_every_key_of_a_vit_is_used_once():
    weights = DINOViT().state_dict()
    conversion = convert(weights, num_heads=3)
    assert [source for source, _, _ in conversion.rows] == list(weights)
    assert sorted(target for _, target, _ in conversion.rows) == sorted(conversion.state_dict)
    weights['reg_token'] = weights.pop('blocks.1.norm2.bias')
    with pytest.raises(ConversionError, match=r'^unknown keys: reg_token; missing keys: blocks\.1\.norm2\.bias$'):
        convert(weights, num_heads=3)


@torch.no_grad()
def test_a_vit_with_a_classifier():
    """Timm's and DeiT's files: the same keys and ``head``."""
    vit, images = DINOViT(num_classes=5), torch.randn(2, 3, 12, 12)
    conversion = convert(vit.state_dict(), num_heads=3, head=True)
    model = build(conversion, num_classes=5)
    torch.testing.assert_close(model(images), vit(images)[0], atol=1e-5, rtol=1e-5)
    left_out = [source for source, target, _ in convert(vit.state_dict(), num_heads=3).rows if target == LEFT_OUT]
    assert left_out == ['head.weight', 'head.bias']
    with pytest.raises(ConversionError, match='missing keys: head.weight, head.bias'):
        convert(DINOViT().state_dict(), num_heads=3, head=True)


def test_the_teacher_of_a_dino_training():
    teacher, student = DINOViT(), DINOViT()
    head = nn.ModuleDict(dict(mlp=nn.Sequential(nn.Linear(24, 8)), last_layer=nn.Linear(8, 4, bias=False)))

    def wrapped(vit, prefix):
        parts = {f'{prefix}backbone.{key}': value for key, value in vit.state_dict().items()}
        return parts | {f'{prefix}head.{key}': value for key, value in head.state_dict().items()}

    for prefix in ('', 'module.'):
        checkpoint = dict(student=wrapped(student, 'module.'), teacher=wrapped(teacher, prefix), epoch=100)
        conversion = convert(unwrapped(checkpoint), num_heads=3)
        expected = convert(teacher.state_dict(), num_heads=3).state_dict
        assert conversion.state_dict.keys() == expected.keys()
        assert all(torch.equal(conversion.state_dict[key], value) for key, value in expected.items())
        assert [source for source, target, _ in conversion.rows if target == LEFT_OUT] == [
            'head.mlp.0.weight',
            'head.mlp.0.bias',
            'head.last_layer.weight',
        ]


@pytest.mark.parametrize('num_registers', [0, 4])
@pytest.mark.parametrize('size', [(20, 20), (28, 12), (8, 16)])
@torch.no_grad()
def test_a_vit_of_dinov2_gives_equal_tokens(num_registers, size):
    vit, images = DINOv2ViT(num_registers=num_registers), torch.randn(2, 3, *size)
    conversion = convert(vit.state_dict(), num_heads=3)
    backbone = MODELS.build({**conversion.meta['backbone'], 'out_type': 'raw'})
    backbone.load_state_dict(strip(conversion.state_dict))
    torch.testing.assert_close(backbone.eval()(images)[0], vit(images), atol=1e-5, rtol=1e-5)
    assert [source for source, _, _ in conversion.rows] == list(vit.state_dict())
    assert conversion.meta['layout'] == 'DINOv2' and conversion.meta['img_size'] == 20
    assert any('VisionTransformer' in note for note in conversion.notes) == (not num_registers)


def test_a_training_of_dinov2():
    """SimDINOv2's files: two heads, and blocks in chunks whose numbers go on counting."""
    vit = DINOv2ViT()
    plain = convert(vit.state_dict(), num_heads=3).state_dict
    names = {
        key: key.replace('blocks.2.', 'blocks.1.2.').replace('blocks.0.', 'blocks.0.0.') for key in vit.state_dict()
    }
    names = {
        key: name.replace('blocks.1.', 'blocks.0.1.') if '.1.2.' not in name else name for key, name in names.items()
    }
    teacher = {f'backbone.{names[key]}': value for key, value in vit.state_dict().items()}
    teacher |= {f'{head}.mlp.0.weight': torch.zeros(2, 2) for head in ('dino_head', 'ibot_head')}
    found = convert(unwrapped(dict(teacher=teacher)), num_heads=3)
    assert found.state_dict.keys() == plain.keys()
    assert all(torch.equal(found.state_dict[key], value) for key, value in plain.items())
    assert [key for key, target, _ in found.rows if target == LEFT_OUT] == [
        'head.dino.mlp.0.weight',
        'head.ibot.mlp.0.weight',
    ]


@pytest.mark.parametrize(('dim', 'heads', 'patch', 'side'), [(384, 6, 8, 28), (768, 12, 8, 28), (768, 12, 16, 14)])
def test_heads_of_the_released_vits_are_known(dim, heads, patch, side):
    with torch.device('meta'):
        weights = DINOViT(dim=dim, depth=12, heads=heads, patch=patch, side=side).state_dict()
    meta = convert(weights).meta
    assert (meta['num_heads'], meta['patch_size'], meta['img_size']) == (heads, patch, 224)
    weights = {key: value for key, value in weights.items() if not key.startswith('blocks.11.')}
    with pytest.raises(ConversionError, match='give --heads N: .* no model was released'):
        convert(weights)


def test_the_table_of_released_models_agrees_with_the_archs():
    families = [(CRATE, CRATE_FAMILY), (ALPHA, ALPHA_FAMILY)]
    released = {name: (*sizes, family) for ours, family in families for name, *sizes in ours.released if name}
    assert released.items() <= ARCHS.items()  # an arch need not be released
    assert ALPHA.parts == ALPHA_FAMILY and not any(name for name, *_ in VIT.released)
