from dataclasses import replace

import pytest
import torch
from operators import Record
from tiny_models import ARCH, build, classifier, crate, images

from projects.crate.models import layers, observe
from projects.crate.models.layers import MSSA

ATTENTIONS = ['MSSA', 'MHSA', 'TSSA']


def backbone(attention='MSSA', **options):
    return crate(attn_cfg=dict(type=attention), **options).eval()


def vit(name='VisionTransformer', **options):
    """The ViT of mmpretrain for the same images."""
    arch = {**ARCH, 'feedforward_channels': 96}
    model = build('mmpretrain', dict(type=name, arch=arch, img_size=(8, 12), patch_size=4, **options))
    model.eval()  # returns None
    return model


def hooks_of(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def layer_inputs(model, x):
    """What enters each layer's attention, by running the layers one by one."""
    z, grid = model.patch_embed(x)
    z = torch.cat([model.cls_token.expand(len(z), -1, -1), z], dim=1) + model.pos_embed
    inputs = []
    for layer in model.layers:
        inputs.append(layer.ln1(z))
        z = layer(z)
    return inputs


@pytest.mark.parametrize('attention', ATTENTIONS)
@torch.no_grad()
def test_features_are_the_projections_of_what_enters_the_layer(attention):
    model, x = backbone(attention), images()
    with observe(model, [0, 2]) as seen:
        model(x)
    assert list(seen) == [0, 2]
    inputs = layer_inputs(model, x)
    for index in (0, 2):
        attn = model.layers[index].attn
        projected = inputs[index] @ attn.qkv.weight.T + (0 if attn.qkv.bias is None else attn.qkv.bias)
        expected = projected[..., 24:48] if attention == 'MHSA' else projected
        torch.testing.assert_close(seen[index].features, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('attention', ATTENTIONS)
@torch.no_grad()
def test_attention_maps(attention):
    model = backbone(attention)
    with observe(model, [-1]) as seen:
        model(images())
    layer = seen[-1]
    whole = layer.attention()
    assert whole.shape == (2, 3, 7, 7)
    torch.testing.assert_close(layer.attention(slice(0, 1)), whole[:, :, :1])
    sums = whole.sum(1) if attention == 'TSSA' else whole.sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    maps = layer.cls_attention()
    assert maps.shape == (2, 3, 6)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 3))
    torch.testing.assert_close(maps * whole[:, :, 0, 1:].sum(-1, keepdim=True), whole[:, :, 0, 1:])


@torch.no_grad()
def test_the_attention_is_the_one_of_the_forward_pass():
    """attention x features, through the output projection, is what the attention module returned."""
    model = backbone()
    outputs = []
    handle = model.layers[1].attn.register_forward_hook(lambda _, __, output: outputs.append(output))
    with observe(model, [1]) as seen:
        model(images())
    handle.remove()
    mixed = seen[1].attention() @ seen[1].features.unflatten(-1, (3, 8)).transpose(1, 2)
    torch.testing.assert_close(model.layers[1].attn.proj(mixed.transpose(1, 2).flatten(2)), outputs[0])


@pytest.mark.parametrize('options', [{}, dict(window_size=2, global_attn_indexes=(), out_type='featmap')], ids=str)
@torch.no_grad()
def test_an_attention_is_added_by_one_class_and_one_entry(monkeypatch, options):
    """Attention with the negative of the projection is MSSA up to the sign of the result."""

    class Opposite(MSSA):
        def query_key_value(self, projected):
            return tuple(-w for w in super().query_key_value(projected))

    monkeypatch.setitem(layers.ATTENTIONS, 'Opposite', Opposite)
    new, old = backbone('Opposite', **options), backbone(**options)
    old.load_state_dict(new.state_dict())
    for layer in old.layers:
        layer.attn.proj.weight.neg_()
    x = images()
    with observe(new, [1]) as seen:
        output = new(x)[0]
    with observe(old, [1]) as expected:
        torch.testing.assert_close(output, old(x)[0])
    torch.testing.assert_close(seen[1].cls_attention(), expected[1].cls_attention())
    torch.testing.assert_close(seen[1].features, expected[1].features)


def test_no_hook_stays_behind():
    model = backbone()
    with observe(model, [0, 1, 2]):
        assert hooks_of(model) == 6  # of each layer, and of its projection
    assert hooks_of(model) == 0
    with pytest.raises(RuntimeError), observe(model, [0, 1]):
        model(torch.randn(2, 5, 8, 12))  # five channels
    assert hooks_of(model) == 0
    with pytest.raises(IndexError, match=r'^CRATE has no layer 7: it has 3 layers'), observe(model, [0, 7]):
        pass
    assert hooks_of(model) == 0


@torch.no_grad()
def test_a_second_pass_replaces_the_first():
    model, x = backbone(), images()
    with observe(model, [0]) as seen:
        model(x)
        first = seen[0].features
        model(x[:1])
        assert seen[0].features.shape[0] == 1
    torch.testing.assert_close(seen[0].features, first[:1])


@torch.no_grad()
def test_observing_changes_neither_outputs_nor_work():
    model, x = backbone(), images()
    model(x)  # ISTA has seen its weights
    with Record() as plain:
        expected = model(x)[0]
    with Record() as watched, observe(model, [0, 1, 2]) as seen:
        outputs = model(x)[0]
    assert torch.equal(outputs, expected)
    assert watched.calls == plain.calls
    with Record() as reading:
        seen[1].cls_attention()
    assert not [shape for _, shapes in reading.calls for shape in shapes if shape.count(7) > 1]


def test_reads_gradients_too():
    model = backbone().train()
    with observe(model, [1]) as seen:
        model(images())
    seen[1].cls_attention().square().sum().backward()
    assert model.layers[1].attn.qkv.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_inside_a_classifier():
    model = classifier(dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4), 24).eval()
    with observe(model.backbone, [1]) as seen:
        model(images())
    assert seen[1].cls_attention().shape == (2, 3, 6)


@torch.no_grad()
def test_without_cls_token_there_is_no_cls_attention():
    model = backbone(with_cls_token=False, out_type='featmap')
    with observe(model, [1]) as seen:
        model(images())
    assert seen[1].features.shape == (2, 6, 24)
    with pytest.raises(ValueError, match='with_cls_token=False'):
        seen[1].cls_attention()


@pytest.mark.parametrize('out_type', ['cls_token', 'raw', 'featmap', 'avg_featmap'])
@torch.no_grad()
def test_keys_and_attention_of_a_vision_transformer(out_type):
    """The same as a CRATE of ViT parts with the same weights, and what its attention module returned."""
    model, x = vit(out_type=out_type), images()
    torch.nn.init.normal_(model.cls_token)
    twin = backbone('MHSA', ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
    twin.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith('ln2')})
    outputs = []
    handle = model.layers[1].attn.register_forward_hook(lambda _, __, output: outputs.append(output))
    with observe(model, [0, 1, -1]) as seen:
        model(x)
    handle.remove()
    with observe(twin, [0, 1, -1]) as expected:
        twin(x)
    for layer in (0, 1, -1):
        torch.testing.assert_close(seen[layer].features, expected[layer].features)
        assert torch.equal(seen[layer].patch_features, seen[layer].features[:, 1:])
        torch.testing.assert_close(seen[layer].cls_attention(), expected[layer].cls_attention())
    value = seen[1].projected[..., 48:].unflatten(-1, (3, 8)).transpose(1, 2)
    mixed = (seen[1].attention() @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(model.layers[1].attn.proj(mixed), outputs[0])
    assert hooks_of(model) == 0


@pytest.mark.parametrize(
    ('name', 'options', 'num_extra'),
    [
        ('VisionTransformer', dict(with_cls_token=False, out_type='featmap'), 0),
        ('DistilledVisionTransformer', {}, 2),
    ],
)
@torch.no_grad()
def test_extra_tokens_of_a_vision_transformer(name, options, num_extra):
    model = vit(name, **options)
    with observe(model, [-1]) as seen:
        model(images())
    assert seen[-1].features.shape == (2, num_extra + 6, 24)
    assert torch.equal(seen[-1].patch_features, seen[-1].features[:, num_extra:])
    if num_extra:
        assert seen[-1].cls_attention().shape == (2, 3, 6)


def test_a_layer_that_did_not_run_is_named():
    model = backbone(out_indices=[1])
    with observe(model, [1, -1]) as seen:
        model(images())
    assert set(seen) == {1}
    for layer in (-1, 0):
        with pytest.raises(LookupError, match=f'^layer {layer} was not observed: .* out_indices') as error:
            seen[layer]
        assert '\n' not in str(error.value)


def test_other_backbones_are_refused():
    model = build('mmpretrain', dict(type='ResNet', depth=18))
    with pytest.raises(TypeError, match=r'^ResNet: .* register it .*resnet\.ResNet') as error, observe(model, [0]):
        pass
    assert '\n' not in str(error.value)
    model = backbone()
    model.layers[1].attn.qkv = torch.nn.Identity()
    with pytest.raises(TypeError, match='^CRATE: the attention MSSA of layer 1 is not'), observe(model, [0]):
        pass
    model = vit()
    model.layers[2].attn.qkv = torch.nn.Linear(24, 24)
    with pytest.raises(TypeError, match='^VisionTransformer: the attention MultiheadA'), observe(model, [0]):
        pass


@torch.no_grad()
def test_a_cls_token_that_attends_to_itself_alone():
    """Its own column must not take all the precision from those of the patches."""
    model = backbone()
    with observe(model, [0]) as seen:
        model(images())
    projected = seen[0].projected.clone()
    projected[:, 0] *= 50
    longer = replace(seen[0], call=replace(seen[0].call, outputs=dict(qkv=projected)))
    w = projected.unflatten(-1, (3, 8)).transpose(1, 2).double()
    expected = (w[:, :, :1] @ w[:, :, 1:].mT / 8**0.5).softmax(-1)[:, :, 0]
    assert longer.attention(slice(0, 1))[..., 1:].sum() == 0  # the case is there
    torch.testing.assert_close(longer.cls_attention().double(), expected, rtol=1e-3, atol=1e-6)


def test_an_attention_that_does_not_call_its_projection_has_not_run():
    model = backbone()
    model.layers[0].attn.forward = lambda x: x
    with observe(model, [0]) as seen:
        model(images())
    with pytest.raises(LookupError, match='^layer 0 was not observed'):
        seen[0]
