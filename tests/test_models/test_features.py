"""Every row of the table of ViTs against what the library itself computes."""

from importlib import import_module

import pytest
import torch
from tiny_models import ARCH, build
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from projects.crate.models import AttentionSegmentor, MaskCutDetector, observe
from projects.crate.models.features import (
    TABLE,
    Adapter,
    adapter_of,
    all_layers,
    patch_size,
    register,
    token_grid,
)
from projects.crate.models.unwrap import unwrap

SIZE, PATCH, GRID = (24, 32), 8, (3, 4)
MM_ARCH = {**ARCH, 'feedforward_channels': 48}
HF = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=48, image_size=32, patch_size=8)


def mmpretrain(kind, **options):
    return build('mmpretrain', dict(type=kind, arch=MM_ARCH, img_size=SIZE, patch_size=PATCH, **options))


def timm(kind, **options):
    """A tiny model of timm in its wrapper of mmpretrain."""
    pytest.importorskip('timm')
    sizes = dict(embed_dim=24, depth=3, num_heads=3, img_size=SIZE, patch_size=PATCH)
    return build('mmpretrain', dict(type='TIMMBackbone', model_name=kind, **sizes, **options))


def hugging_face(kind, **options):
    library = pytest.importorskip('transformers')
    config = getattr(library, f'{kind}Config')(**HF, **options)
    model = getattr(library, 'CLIPVisionModel' if kind == 'CLIPVision' else f'{kind}Model')
    return model._from_config(config, attn_implementation='eager')


def lora(backbone, *targets):
    targets = [dict(type=name) for name in targets]
    return build('mmpretrain', dict(type='LoRAModel', module=backbone, rank=2, alpha=4, targets=targets))


def peft(backbone, *targets):
    library = pytest.importorskip('peft')
    return library.get_peft_model(backbone, library.LoraConfig(r=2, target_modules=list(targets)))


def crate(attention, **options):
    cfg = dict(type='CRATE', arch=ARCH, img_size=SIZE, patch_size=PATCH, attn_cfg=dict(type=attention))
    return build('mmpretrain', {**cfg, **options})


SAM_ARCH = dict(arch={**MM_ARCH, 'global_attn_indexes': [1]}, img_size=SIZE, patch_size=PATCH, out_channels=0)

# name -> (function that builds, tokens in front of the patches, default facet)
ROWS = {
    'CRATE': (lambda: crate('MSSA'), 1, 'key'),
    'CRATE MHSA': (lambda: crate('MHSA'), 1, 'key'),
    'VisionTransformer': (lambda: mmpretrain('VisionTransformer'), 1, 'key'),
    'VisionTransformer, LayerScale': (lambda: mmpretrain('VisionTransformer', layer_scale_init_value=0.1), 1, 'value'),
    'DeiT, distilled': (lambda: mmpretrain('DistilledVisionTransformer'), 2, 'key'),
    'MAE': (lambda: mmpretrain('MAEViT'), 1, 'key'),
    'MoCo v3': (lambda: mmpretrain('MoCoV3ViT', stop_grad_conv1=False), 1, 'key'),
    'BEiT': (lambda: mmpretrain('BEiTViT'), 1, 'key'),
    'BEiT, shared': (lambda: mmpretrain('BEiTViT', use_rel_pos_bias=False, use_shared_rel_pos_bias=True), 1, 'key'),
    'BEiT, plain bias': (lambda: mmpretrain('BEiTViT', bias=True), 1, 'key'),
    'EVA-02': (lambda: mmpretrain('ViTEVA02'), 1, 'key'),
    'ViTSAM': (lambda: build('mmpretrain', dict(type='ViTSAM', window_size=2, use_rel_pos=True, **SAM_ARCH)), 0, 'key'),
    'timm ViT': (lambda: timm('vit_tiny_patch16_224'), 1, 'key'),
    'timm ViT, norms': (lambda: timm('vit_tiny_patch16_224', qk_norm=True), 1, 'key'),
    'timm DINOv2': (lambda: timm('vit_small_patch14_dinov2'), 1, 'value'),
    'timm DINOv2, registers': (lambda: timm('vit_small_patch14_reg4_dinov2'), 5, 'value'),
    'timm CLIP': (lambda: timm('vit_base_patch32_clip_224'), 1, 'key'),
    'timm DINOv3': (lambda: timm('vit_small_patch16_dinov3'), 5, 'value'),
    'timm EVA-02': (lambda: timm('eva02_tiny_patch14_224'), 1, 'key'),
    'timm EVA': (lambda: timm('eva_giant_patch14_224'), 1, 'key'),
    'transformers ViT': (lambda: hugging_face('ViT'), 1, 'key'),
    'transformers DINOv2': (lambda: hugging_face('Dinov2'), 1, 'value'),
    'transformers DINOv2, registers': (lambda: hugging_face('Dinov2WithRegisters'), 5, 'value'),
    'transformers DINOv3': (lambda: hugging_face('DINOv3ViT', num_register_tokens=4), 5, 'value'),
    'transformers CLIP': (lambda: hugging_face('CLIPVision'), 1, 'key'),
    'peft around DINOv2': (lambda: peft(hugging_face('Dinov2'), 'query', 'value'), 1, 'value'),
    'LoRA around EVA-02': (
        lambda: lora(dict(type='ViTEVA02', arch=MM_ARCH, img_size=SIZE, patch_size=PATCH), 'qkv'),
        1,
        'key',
    ),
    'LoRA around timm': (
        lambda: lora(
            dict(
                type='TIMMBackbone',
                model_name='vit_small_patch16_dinov3',
                **dict(embed_dim=24, depth=3, num_heads=3, img_size=SIZE, patch_size=PATCH),
            ),
            'qkv',
        ),
        5,
        'value',
    ),
}


def tiny(name):
    """The model of a row, its weights drawn again: many tables and biases start at zero."""
    if 'timm' in name:
        pytest.importorskip('timm')
    torch.manual_seed(0)
    model = ROWS[name][0]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    for part in model.modules():
        if hasattr(part, 'fused_attn'):
            part.fused_attn = False
    model.eval()
    return model


class Softmaxes(TorchDispatchMode):
    """Record the results of every softmax: the attention maps of a library, however it computes them."""

    def __init__(self):
        super().__init__()
        self.maps = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._softmax.default:
            self.maps.append(output)
        elif 'scaled_dot_product' in str(function):  # its result alone is seen; compute the map
            query, key = args[:2]
            self.maps.append((query @ key.mT * query.shape[-1] ** -0.5).softmax(-1))
        return output


@pytest.mark.parametrize('name', ROWS)
@torch.no_grad()
def test_attention_and_facets_are_those_of_the_library(name):
    model, extra = tiny(name), ROWS[name][1]
    inner = unwrap(model)
    adapter, layers = adapter_of(inner), all_layers(model)
    attended, tokens = [], []

    def keep(found):
        return lambda _, __, output: found.append(output[0] if isinstance(output, tuple) else output)

    for layer in layers:
        attn = adapter.attention(layer)
        attn.register_forward_hook(keep(attended))
        layer.register_forward_hook(keep(tokens))
    with Softmaxes() as library, observe(model, [0, 1, 2], outputs=True) as seen:
        adapter.run(inner, torch.randn(2, 3, *SIZE))
    assert len(library.maps) == len(attended) == 3
    assert patch_size(model) == (PATCH, PATCH) and token_grid(model, SIZE) == GRID
    count = extra + GRID[0] * GRID[1]
    for index in range(3):
        layer = seen[index]
        assert layer.num_extra_tokens == extra and layer.num_heads == 3
        for facet in ('query', 'key', 'value', 'token'):
            assert layer.facet(facet).shape == (2, count, 24)
        torch.testing.assert_close(layer.facet('token'), tokens[index].reshape(2, count, 24))
        if name == 'ViTSAM' and index != 1:  # windows
            continue
        maps = layer.attention()
        torch.testing.assert_close(maps, library.maps[index].reshape(maps.shape), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(layer.attention(slice(0, 2)), maps[:, :, :2])
        mixed = (maps @ layer.facet('value').unflatten(-1, (3, 8)).transpose(1, 2)).transpose(1, 2).flatten(2)
        torch.testing.assert_close(projected(layer.attn, mixed), attended[index].reshape(2, count, 24), **CLOSE)
        if extra:
            expected = maps[:, :, 0, extra:]
            torch.testing.assert_close(layer.cls_attention(), expected / expected.sum(-1, keepdim=True), **CLOSE)


CLOSE = dict(rtol=1e-4, atol=1e-5)


def projected(attn, mixed):
    """Apply what follows the mixture of values in the attention: a norm, the projection, the LayerScale."""
    for name in ('norm', 'proj', 'o_proj', 'out_proj', 'gamma1'):
        mixed = getattr(attn, name, nn.Identity())(mixed)
    return mixed


@torch.no_grad()
def test_windows_are_put_back_on_the_grid():
    model = tiny('ViTSAM')
    layer, inputs = model.layers[0], []
    layer.ln1.register_forward_hook(lambda _, __, output: inputs.append(output))
    with observe(model, [0]) as seen:
        model(torch.randn(2, 3, *SIZE))
    query, key, value = layer.attn.qkv(inputs[0]).flatten(1, 2).chunk(3, -1)
    for facet, expected in dict(query=query, key=key, value=value).items():
        torch.testing.assert_close(seen[0].facet(facet), expected)
    with pytest.raises(ValueError, match='within windows'):
        seen[0].attention()


@torch.no_grad()
def test_lora_around_a_pretrained_vit_of_transformers(tmp_path):
    """The adapted keys are those of merged weights."""
    plain = hugging_face('DINOv3ViT', num_register_tokens=4)
    plain.save_pretrained(tmp_path)
    model = lora(dict(type='LibraryViT', name=str(tmp_path)), 'k_proj')
    adapted = model.module.layer[1].attention.k_proj
    nn.init.normal_(adapted.lora_up.weight)
    plain.layer[1].attention.k_proj.weight += 2 * adapted.lora_up.weight @ adapted.lora_down.weight
    images = torch.randn(2, 3, *SIZE)
    with observe(model, [1]) as seen, observe(plain, [1]) as expected:
        unwrap(model).eval()(images)
        plain.eval()(images)
    torch.testing.assert_close(seen[1].facet('key'), expected[1].facet('key'), **CLOSE)
    torch.testing.assert_close(seen[1].cls_attention(), expected[1].cls_attention(), **CLOSE)


@pytest.mark.parametrize('name', ROWS)
def test_default_facet(name):
    model = unwrap(tiny(name))
    assert adapter_of(model).default_facet(model) == ROWS[name][2]


@pytest.mark.parametrize('name', ['MAE', 'timm DINOv3', 'transformers DINOv2, registers', 'transformers ViT'])
def test_measurements_work_with_every_library(name):
    model = tiny(name)
    sizes = (20, 30) if 'transformers' in name else SIZE  # padded to whole patches
    images = torch.randn(2, 3, *sizes)
    assert MaskCutDetector(model)(images).shape == (2, 3, *GRID)
    maps = AttentionSegmentor(model, layers='all')(images)
    assert [each.shape for each in maps.values()] == [(2, 3, *GRID)] * 3
    assert torch.equal(maps[2], AttentionSegmentor(model, layers=-1)(images)[2])  # nothing is drawn


def test_all_names_of_the_table_exist():
    for name in TABLE:
        module, _, cls = name.rpartition('.')
        if module in ('dinov2.models.vision_transformer', 'vision_transformer'):  # of repositories of torch.hub
            continue
        if module.startswith(('timm', 'transformers')):
            pytest.importorskip(module.split('.')[0])
        assert isinstance(getattr(import_module(module), cls), type), name


def test_an_adapter_from_outside(monkeypatch):
    """A ViT whose blocks keep query and key in one Linear and the value in another."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.both, self.third = nn.Linear(6, 12), nn.Linear(6, 6)

        def forward(self, x):
            query, key = self.both(x).chunk(2, -1)
            return (query @ key.mT / 6**0.5).softmax(-1) @ self.third(x)

    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 6, 4, 4)
            self.blocks = nn.ModuleList(nn.ModuleDict(dict(mix=Attention())) for _ in range(2))

        def forward(self, images):
            x = self.patches(images).flatten(2).mT
            for block in self.blocks:
                x = x + block['mix'](x)
            return x

    class Child(Toy):
        pass

    with pytest.raises(TypeError, match=r'^Child: .*write an Adapter and register it for .*Child') as error:
        MaskCutDetector(Child())
    assert '\n' not in str(error.value)
    for name in TABLE:
        monkeypatch.setitem(TABLE, name, TABLE[name])  # restored afterwards

    @register(Toy)
    class ToyAdapter(Adapter):
        projections = ('both', 'third')

        def layers(self, backbone):
            return backbone.blocks

        def attention(self, layer):
            return layer['mix']

        def caller(self, layer):
            return layer['mix']

        def num_heads(self, attn):
            return 1

        def num_extra_tokens(self, backbone):
            return 0

        def patch_size(self, backbone):
            return (4, 4)

        def query_key_value(self, call):
            return *call.outputs['both'].chunk(2, -1), call.outputs['third']

    try:
        model, images = Child(), torch.randn(1, 3, 8, 12)
        with torch.no_grad(), observe(model, [0]) as seen:
            output = model(images)
        x = model.patches(images).flatten(2).mT
        torch.testing.assert_close(seen[0].facet('value'), model.blocks[0]['mix'].third(x))
        first = x + seen[0].attention()[:, 0] @ seen[0].facet('value')
        torch.testing.assert_close(output, first + model.blocks[1]['mix'](first))
        assert MaskCutDetector(model)(images).shape == (1, 3, 2, 3)
    finally:
        del TABLE[f'{Toy.__module__}.{Toy.__qualname__}']
