"""One table of all ViTs whose attention can be read: class -> adapter.

Nothing else in the project asks what kind of ViT it has. An adapter says where a ViT keeps its layers and projections,
and how many tokens stand in front of the patches. It also says what happens to query and key before their product.

A ViT from elsewhere is added from outside, before it is observed:

>>> @register('my_package.MyViT')  # or the class itself; subclasses are covered, too
... class MyAdapter(Adapter):
...     def layers(self, backbone):
...         return backbone.blocks

Methods that are not overridden are right for a ViT with ``layer.attn.qkv``, one Linear that gives query, key and value
side by side. Names of classes stand in the table, so that no library is imported before it is used.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ArgumentError, ArgumentTypeError
from .layers import ATTENTIONS, split_heads
from .patch_embed import pad_to_patches
from .unwrap import plain_linear, unwrap

FACETS = ('key', 'query', 'value', 'token')
MMPRETRAIN = 'mmpretrain.models.backbones'
HUGGING_FACE = 'transformers.models'


@dataclass
class Call:
    """One call of a layer's attention: what went in, and what its projections returned.

    Attributes:
        layer, attn: The layer and its attention.
        arguments: {name: value} of the arguments that the adapter needs.
        outputs: {name of a projection: its output, (B, N, d) or (B, N, 3 d)}.
        num_extra_tokens: Number of tokens in front of the patches.
    """

    layer: nn.Module
    attn: nn.Module
    arguments: Mapping = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    num_extra_tokens: int = 1


class Adapter:
    """How to read a ViT with ``layers[i].attn.qkv``; subclasses say what differs. Tokens are (B, N, d), extra first.

    Attributes:
        projections: Names, in the attention, of one Linear for query, key and value, or of one for each.
        attentions: Names of the classes of attention whose formula this is; empty: any.
        arguments: Names of the arguments of :meth:`caller` that the other methods need.
    """

    projections: tuple[str, ...] = ('qkv',)
    attentions: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def layers(self, backbone: nn.Module) -> Sequence[nn.Module]:
        """Return the layers."""
        return backbone.layers

    def attention(self, layer: nn.Module) -> nn.Module:
        """Return the attention of a layer."""
        return layer.attn

    def caller(self, layer: nn.Module) -> nn.Module:
        """Return the module whose arguments are recorded for the other methods: the layer, or its attention."""
        return layer

    def recorded(self, attn: nn.Module) -> tuple[str, ...]:
        """Return the names of the projections whose outputs are recorded."""
        return self.projections

    def fits(self, attn: nn.Module | None) -> bool:
        """Return True if an attention has the class and the projections that the formulas are about."""
        linears = [plain_linear(getattr(attn, name, None)) for name in self.projections]
        is_known = not self.attentions or type(attn).__name__ in self.attentions
        proj = plain_linear(getattr(attn, 'proj', None))
        is_whole = len(linears) > 1 or (proj and linears[0] and linears[0].out_features == 3 * proj.in_features)
        return bool(is_known and all(linears) and is_whole)

    def num_heads(self, attn: nn.Module) -> int:
        """Return the number of heads K."""
        return attn.num_heads

    def num_extra_tokens(self, backbone: nn.Module) -> int:
        """Return the number of tokens in front of the patches: [CLS], distillation, registers."""
        return backbone.num_extra_tokens

    def has_cls(self, backbone: nn.Module) -> bool:
        """Return True if the first of the extra tokens is [CLS]."""
        return self.num_extra_tokens(backbone) > 0

    def patch_size(self, backbone: nn.Module) -> tuple[int, int]:
        """Return (height, width) of a patch in pixels."""
        return tuple(backbone.patch_embed.projection.stride)

    def last_layer(self, backbone: nn.Module) -> int:
        """Return the number of the last layer that a forward pass runs."""
        return len(self.layers(backbone)) - 1

    def run(self, backbone: nn.Module, images: Tensor) -> object:
        """Run a forward pass of images (B, 3, H, W)."""
        return backbone(images)

    def default_facet(self, backbone: nn.Module) -> str:
        """Return the facet for MaskCut: keys; values for a ViT with LayerScale (DINOv2), whose keys are all alike."""
        names = (type(part).__name__ for part in self.layers(backbone)[0].modules())
        return 'value' if any(name.endswith('LayerScale') for name in names) else 'key'

    def query_key_value(self, call: Call) -> Sequence[Tensor]:
        """Return query, key and value, all heads side by side, (B, N, d) each, as the projections gave them."""
        parts = [call.outputs[name] for name in self.projections]
        return parts[0].chunk(3, dim=-1) if len(parts) == 1 else parts

    def token(self, output: Any) -> Tensor:
        """Return the tokens (B, N, d) in the output of a layer."""
        return output[0] if isinstance(output, tuple) else output

    def multiplied(self, call: Call) -> tuple[Tensor, Tensor]:
        """Return query and key as they are multiplied, (B, K, N, p) each: after norms and rotations."""
        query, key, _ = (split_heads(part, self.num_heads(call.attn)) for part in self.query_key_value(call))
        return query, key

    def bias(self, call: Call, rows: slice, columns: slice) -> Tensor | float:
        """Return what is added to the scores before the softmax, for some rows and columns."""
        return 0.0

    def is_windowed(self, call: Call) -> bool:
        """Return True if patches attended within windows."""
        return False

    def attention_map(self, call: Call, rows: slice, columns: slice = slice(None)) -> Tensor:
        """Return softmax(Q K^T / sqrt(p) + bias) of ``rows`` and ``columns`` alone, (B, K, rows, columns)."""
        query, key = self.multiplied(call)
        scale = getattr(call.attn, 'scale', query.shape[-1] ** -0.5)
        scores = query[:, :, rows] @ key[:, :, columns].mT * scale
        return (scores + self.bias(call, rows, columns)).softmax(-1)


TABLE: dict[str, Adapter] = {}


def register(*classes: type | str) -> Callable[[type[Adapter]], type[Adapter]]:
    """Enter an adapter for classes of ViTs, or for their full names, into the table; a later entry replaces it."""

    def enter(adapter: type[Adapter]) -> type[Adapter]:
        TABLE.update({each if isinstance(each, str) else _name(each): adapter() for each in classes})
        return adapter

    return enter


def adapter_of(backbone: nn.Module) -> Adapter:
    """Return the adapter of a ViT, without wrappers around it; its nearest base class in the table counts.

    Raises:
        TypeError: No base class is in the table, or an attention is not what the adapter expects.
    """
    names = [_name(each) for each in type(backbone).__mro__]
    adapter = next((TABLE[name] for name in names if name in TABLE), None)
    if adapter is None:
        raise ArgumentTypeError(
            f'{names[0].rpartition(".")[2]}: its attention cannot be read: write an Adapter and register it for '
            f'{names[0]!r} (projects/crate/models/features.py, docs/attention.md)'
        )
    for number, layer in enumerate(adapter.layers(backbone)):
        attn = adapter.attention(layer)
        if not adapter.fits(attn):
            raise ArgumentTypeError(
                f'{type(backbone).__name__}: the attention {type(attn).__name__} of layer {number} is not what '
                f'{type(adapter).__name__} reads: write an Adapter and register it for {names[0]!r}'
            )
    return adapter


def _name(cls: type) -> str:
    return f'{cls.__module__}.{cls.__qualname__}'


def all_layers(backbone: nn.Module) -> Sequence[nn.Module]:
    """Return the layers of a backbone."""
    backbone = unwrap(backbone)
    return adapter_of(backbone).layers(backbone)


def choose_facet(backbone: nn.Module, facet: str | None) -> str:
    """Return a facet, or for None the default of the backbone's class; raise ArgumentError for another name."""
    if facet not in (None, *FACETS):
        raise ArgumentError(f'facet must be one of {", ".join(FACETS)}, not {facet!r}')
    backbone = unwrap(backbone)
    return facet or adapter_of(backbone).default_facet(backbone)


def patch_size(backbone: nn.Module) -> tuple[int, int]:
    """Return the (height, width) of a patch in pixels."""
    backbone = unwrap(backbone)
    return adapter_of(backbone).patch_size(backbone)


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Return (h, w) in tokens for (H, W) in pixels; images are padded to whole patches."""
    height, width = (-(-side // patch) for side, patch in zip(size, patch_size(backbone)))
    return height, width


@register('projects.crate.models.crate.CRATE')
class CrateAdapter(Adapter):
    """CRATE with any attention of ``layers.py``. MSSA and TSSA have one facet: query, key and value are U^T z."""

    arguments = ('windows',)

    def fits(self, attn: nn.Module | None) -> bool:
        """Return True for the attentions that know their own formulas."""
        return type(attn) in ATTENTIONS.values() and plain_linear(attn.qkv) is not None

    def patch_size(self, backbone: nn.Module) -> tuple[int, int]:
        return backbone.patch_size

    def has_cls(self, backbone: nn.Module) -> bool:
        """Return True if there is a [CLS] in front of the registers."""
        return backbone.cls_token is not None

    def last_layer(self, backbone: nn.Module) -> int:
        """Return the last of the layers that are returned: later ones do not run."""
        return backbone.out_indices[-1]

    def query_key_value(self, call: Call) -> Sequence[Tensor]:
        """Return three parts of the projection, or three times the only one."""
        projected = call.outputs['qkv']
        features = call.attn.features(projected)
        return [features] * 3 if features.shape == projected.shape else projected.chunk(3, dim=-1)

    def is_windowed(self, call: Call) -> bool:
        """Return True where the layer got windows; [CLS] attends to all tokens in any case."""
        return call.arguments.get('windows') is not None

    def attention_map(self, call: Call, rows: slice, columns: slice = slice(None)) -> Tensor:
        return call.attn.attention(call.outputs['qkv'], rows, columns)


@register(f'{MMPRETRAIN}.vision_transformer.VisionTransformer')
class MmpretrainAdapter(Adapter):
    """VisionTransformer of mmpretrain, DistilledVisionTransformer, and the ViTs of MAE and MoCo v3."""

    attentions: tuple[str, ...] = ('MultiheadAttention',)

    def run(self, backbone: nn.Module, images: Tensor) -> object:
        """Run a forward pass without the mask that a ViT in masked pre-training (MAE) draws."""
        return backbone(images, **dict.fromkeys({'mask'} & inspect.signature(backbone.forward).parameters.keys()))


@register(f'{MMPRETRAIN}.vit_eva02.ViTEVA02')
class Eva02Adapter(MmpretrainAdapter):
    """ViTEVA02 of mmpretrain: query and key of the patches are rotated."""

    attentions = ('AttentionWithRoPE',)
    arguments = ('patch_resolution',)

    def multiplied(self, call: Call) -> tuple[Tensor, Tensor]:
        """Return query and key, rotated where there is no [CLS]."""
        number, resolution = call.num_extra_tokens, call.arguments['patch_resolution']
        parts = super().multiplied(call)
        if not call.attn.rope:
            return parts
        query, key = (torch.cat([x[:, :, :number], call.attn.rope(x[:, :, number:], resolution)], 2) for x in parts)
        return query, key


class BiasedAdapter(Adapter):
    """An attention that takes the weights of ``qkv`` and adds biases of its own, so that ``qkv`` itself never runs."""

    def qkv_bias(self, attn: nn.Module) -> Tensor | None:
        """Return the biases side by side, (3 d,); None where ``qkv`` runs."""
        raise NotImplementedError

    def caller(self, layer: nn.Module) -> nn.Module:
        """Return the attention: its input is projected again."""
        return self.attention(layer)

    def recorded(self, attn: nn.Module) -> tuple[str, ...]:
        return self.projections if self.qkv_bias(attn) is None else ()

    def query_key_value(self, call: Call) -> Sequence[Tensor]:
        bias = self.qkv_bias(call.attn)
        if bias is None:
            return super().query_key_value(call)
        return F.linear(call.arguments['x'], call.attn.qkv.weight, bias).chunk(3, dim=-1)


@register(f'{MMPRETRAIN}.beit.BEiTViT')
class BeitAdapter(BiasedAdapter, MmpretrainAdapter):
    """BEiTViT of mmpretrain (BEiT, BEiT v2): scores have a bias by relative position."""

    attentions = ('BEiTAttention',)
    arguments = ('x', 'rel_pos_bias')

    def qkv_bias(self, attn: nn.Module) -> Tensor | None:
        """Return the biases of query and value; the key has none."""
        return torch.cat([attn.q_bias, torch.zeros_like(attn.v_bias), attn.v_bias]) if attn.bias == 'qv_bias' else None

    def bias(self, call: Call, rows: slice, columns: slice) -> Tensor | float:
        """Return the layer's own bias, plus the one that layers share, (K, rows, columns)."""
        table, shared = call.attn.relative_position_bias_table, call.arguments.get('rel_pos_bias')
        own = 0.0 if table is None else table[call.attn.relative_position_index[rows, columns]].movedim(-1, 0)
        return own if shared is None else own + shared[:, rows, columns]


@register(f'{MMPRETRAIN}.vit_sam.ViTSAM')
class SamAdapter(MmpretrainAdapter):
    """ViTSAM of mmpretrain: a grid without extra tokens, windows in most layers, decomposed relative positions."""

    attentions = ('Attention',)
    arguments = ('x',)

    def num_extra_tokens(self, backbone: nn.Module) -> int:
        return 0

    def query_key_value(self, call: Call) -> Sequence[Tensor]:
        """Return the parts of the projection; those of windows are put back on the grid."""
        projected, size = call.outputs['qkv'], call.layer.window_size
        if size:
            grid = call.arguments['x'].shape[1:3]
            padded = tuple(-(-side // size) * size for side in grid)
            projected = sys.modules[type(call.layer).__module__].window_unpartition(projected, size, padded, grid)
        return projected.flatten(1, 2).chunk(3, dim=-1)

    def token(self, output: Any) -> Tensor:
        """Return the grid (B, h, w, d) as tokens."""
        return output.flatten(1, 2)

    def bias(self, call: Call, rows: slice, columns: slice) -> Tensor | float:
        """Return <q_i, r_h(i, j)> + <q_i, r_w(i, j)>, (B, K, rows, columns)."""
        attn, grid = call.attn, call.arguments['x'].shape[1:3]
        if not attn.use_rel_pos:
            return 0.0
        get_rel_pos = sys.modules[type(attn).__module__].get_rel_pos
        query = self.multiplied(call)[0].unflatten(2, grid)
        tables = (get_rel_pos(side, side, table) for side, table in zip(grid, (attn.rel_pos_h, attn.rel_pos_w)))
        by_row = torch.einsum('bkhwc,hic->bkhwi', query, next(tables)).flatten(2, 3)[:, :, rows]
        by_column = torch.einsum('bkhwc,wjc->bkhwj', query, next(tables)).flatten(2, 3)[:, :, rows]
        return (by_row[..., None] + by_column[..., None, :]).flatten(3)[..., columns]

    def is_windowed(self, call: Call) -> bool:
        return call.layer.window_size > 0


@register('timm.models.vision_transformer.VisionTransformer')
class TimmAdapter(BiasedAdapter):
    """VisionTransformer of timm: supervised, DINO, DINOv2 (also with registers), CLIP."""

    attentions: tuple[str, ...] = ('Attention',)

    def layers(self, backbone: nn.Module) -> Sequence[nn.Module]:
        return backbone.blocks

    def num_extra_tokens(self, backbone: nn.Module) -> int:
        return backbone.num_prefix_tokens

    def has_cls(self, backbone: nn.Module) -> bool:
        """Return True if there is a class token in front of the registers."""
        return backbone.cls_token is not None

    def patch_size(self, backbone: nn.Module) -> tuple[int, int]:
        return tuple(backbone.patch_embed.patch_size)

    def run(self, backbone: nn.Module, images: Tensor) -> object:
        """Run a forward pass of images padded to whole patches."""
        return backbone(pad_to_patches(images, self.patch_size(backbone)))

    def qkv_bias(self, attn: nn.Module) -> Tensor | None:
        return None  # ``qkv`` has its bias

    def multiplied(self, call: Call) -> tuple[Tensor, Tensor]:
        """Return query and key after their norms."""
        query, key = super().multiplied(call)
        return call.attn.q_norm(query), call.attn.k_norm(key)


@register('dinov2.models.vision_transformer.DinoVisionTransformer', 'vision_transformer.VisionTransformer')
class TorchHubAdapter(TimmAdapter):
    """ViTs of the repositories facebookresearch/dinov2 and facebookresearch/dino, by torch.hub."""

    attentions = ('Attention', 'MemEffAttention')

    def num_extra_tokens(self, backbone: nn.Module) -> int:
        return 1 + getattr(backbone, 'num_register_tokens', 0)

    def patch_size(self, backbone: nn.Module) -> tuple[int, int]:
        """Return (height, width) of a patch in pixels: one number in DINO, two in DINOv2."""
        return _pair(backbone.patch_embed.patch_size)

    def multiplied(self, call: Call) -> tuple[Tensor, Tensor]:
        """Return query and key as they are."""
        return Adapter.multiplied(self, call)


@register('timm.models.eva.Eva')
class TimmEvaAdapter(TimmAdapter):
    """Eva of timm: EVA-02, DINOv3, rotary CLIP."""

    attentions = ('EvaAttention', 'AttentionRope')
    arguments = ('x', 'rope')

    def fits(self, attn: nn.Module | None) -> bool:
        """Return True also where query, key and value have a projection each."""
        return type(attn).__name__ in self.attentions and (attn.qkv is None or super().fits(attn))

    def default_facet(self, backbone: nn.Module) -> str:
        """Return values for a ViT with LayerScale (DINOv3)."""
        return 'key' if getattr(self.layers(backbone)[0], 'gamma_1', None) is None else 'value'

    def recorded(self, attn: nn.Module) -> tuple[str, ...]:
        return super().recorded(attn) if attn.qkv is not None else ('q_proj', 'k_proj', 'v_proj')

    def qkv_bias(self, attn: nn.Module) -> Tensor | None:
        has_bias = getattr(attn, 'q_bias', None) is not None
        return torch.cat([attn.q_bias, attn.k_bias, attn.v_bias]) if has_bias else None

    def query_key_value(self, call: Call) -> Sequence[Tensor]:
        """Return query, key and value of either kind of projection."""
        is_split = call.attn.qkv is None
        return [call.outputs[name] for name in self.recorded(call.attn)] if is_split else super().query_key_value(call)

    def multiplied(self, call: Call) -> tuple[Tensor, Tensor]:
        """Return query and key after norm and rotation; extra tokens are not rotated."""
        parts, rope, number = super().multiplied(call), call.arguments.get('rope'), call.attn.num_prefix_tokens
        if rope is None:
            return parts
        rotate, half = sys.modules[type(call.attn).__module__].apply_rot_embed_cat, call.attn.rotate_half
        query, key = (torch.cat([x[:, :, :number], rotate(x[:, :, number:], rope, half=half)], dim=2) for x in parts)
        return query, key


@register(
    f'{HUGGING_FACE}.vit.modeling_vit.ViTModel',
    f'{HUGGING_FACE}.dinov2.modeling_dinov2.Dinov2Model',
    f'{HUGGING_FACE}.dinov2_with_registers.modeling_dinov2_with_registers.Dinov2WithRegistersModel',
)
class HuggingFaceAdapter(Adapter):
    """ViT, DINOv2 and DINOv2 with registers of transformers."""

    projections = ('query', 'key', 'value')

    def layers(self, backbone: nn.Module) -> Sequence[nn.Module]:
        return backbone.encoder.layer

    def attention(self, layer: nn.Module) -> nn.Module:
        return layer.attention.attention

    def num_heads(self, attn: nn.Module) -> int:
        return attn.num_attention_heads

    def num_extra_tokens(self, backbone: nn.Module) -> int:
        return 1 + getattr(backbone.config, 'num_register_tokens', 0)

    def patch_size(self, backbone: nn.Module) -> tuple[int, int]:
        return _pair(backbone.config.patch_size)

    def run(self, backbone: nn.Module, images: Tensor) -> object:
        """Run a forward pass of images padded to whole patches; positions are interpolated where they are a table."""
        accepted = inspect.signature(backbone.forward).parameters.keys()
        options = dict.fromkeys({'interpolate_pos_encoding'} & accepted, True)
        return backbone(pixel_values=pad_to_patches(images, self.patch_size(backbone)), **options)


@register(
    f'{HUGGING_FACE}.clip.modeling_clip.CLIPVisionModel', f'{HUGGING_FACE}.clip.modeling_clip.CLIPVisionTransformer'
)
class ClipAdapter(HuggingFaceAdapter):
    """Vision model of CLIP in transformers."""

    projections = ('q_proj', 'k_proj', 'v_proj')

    def layers(self, backbone: nn.Module) -> Sequence[nn.Module]:
        return getattr(backbone, 'vision_model', backbone).encoder.layers

    def attention(self, layer: nn.Module) -> nn.Module:
        return layer.self_attn

    def num_heads(self, attn: nn.Module) -> int:
        return attn.num_heads


@register(f'{HUGGING_FACE}.dinov3_vit.modeling_dinov3_vit.DINOv3ViTModel')
class Dinov3Adapter(ClipAdapter):
    """DINOv3 of transformers: query and key of the patches are rotated."""

    arguments = ('position_embeddings',)

    def layers(self, backbone: nn.Module) -> Sequence[nn.Module]:
        return backbone.layer

    def attention(self, layer: nn.Module) -> nn.Module:
        return layer.attention

    def multiplied(self, call: Call) -> tuple[Tensor, Tensor]:
        """Return query and key after the rotation, which leaves out the extra tokens."""
        rotate = sys.modules[type(call.attn).__module__].apply_rotary_pos_emb
        return rotate(*super().multiplied(call), *call.arguments['position_embeddings'])


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
