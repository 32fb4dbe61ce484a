"""Convert released checkpoints of CRATE and of DINO's ViT to the key names of this project.

The keys of a file tell its layout:

- CRATE (arXiv 2306.01129, 2308.16271): ``to_patch_embedding.{1,2,3}`` and ``fn.weight``. Base models of the second
  paper may have a head of two layers, ``mlp_head.1`` and ``head``.
- CRATE-alpha (arXiv 2405.20299): ``conv1``, ``fn.D`` and ``fn.D1``.
- ViT as in DINO (arXiv 2104.14294), SimDINO, DeiT and timm: ``patch_embed.proj``, ``blocks``. The converted file fits a
  CRATE of ViT parts and mmpretrain's VisionTransformer.
- DINOv2 (arXiv 2304.07193), SimDINOv2, DINOv2 with registers (arXiv 2309.16588): the same, and ``blocks.0.ls1.gamma``.
  LayerScale is folded: gamma (W x + b) = (diag(gamma) W) x + gamma b. The number of registers and the interpolation of
  positions become arguments of CRATE.

The weights may be bare or in the wrappers that ``read.py`` knows. Nothing in a file is executed.
"""

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..files import atomic, make_folder, sha256
from .fill import count_weights
from .read import Weights, read_weights

LEFT_OUT = '(left out; --head keeps a classifier)'
FOLDED = '(folded into the layer before it)'
TRAINING_ONLY = '(left out; for masked training alone)'
CHUNK = re.compile(r'^blocks\.\d+\.(?=\d)')
OTHER_HEADS = re.compile(r'^(dino|ibot)_head\.')
EMERGENCE_PATCH = 8  # of the released models of arXiv 2308.16271; tells two names of one network apart
Shapes = dict[str, tuple[int, ...]]


class ConversionError(UserError):
    """A file or an option does not fit any released model; the message names it."""


@dataclass(frozen=True)
class Family:
    """The released models of one layout.

    Attributes:
        name: Name of the layout.
        parts: Arguments with which a CRATE of any size has the parts of these models.
        stem: Key of the tensor that tells the size of a patch.
        positions: Key of the position table.
        classifier: Name of the classification layer.
        released: (``arch`` or None, d, K, L) of every released model.
    """

    name: str
    parts: dict
    stem: str
    positions: str
    classifier: str
    released: tuple[tuple[str | None, int, int, int], ...]


CRATE = Family(
    'CRATE',
    {},  # the parts that CRATE has anyway
    'to_patch_embedding.1.weight',
    'pos_embedding',
    'mlp_head.1',
    (
        *(('tiny', 384, 6, 12), ('small', 576, 12, 12), ('base', 768, 12, 12), ('large', 1024, 16, 24)),
        *(('emergence-tiny', 192, 3, 12), ('emergence-small', 384, 6, 12), ('emergence-base', 768, 12, 12)),
        (None, 768, 6, 12),  # the 'demo' model of arXiv 2308.16271
    ),
)
ALPHA = Family(
    'CRATE-alpha',
    dict(attn_cfg=dict(type='MSSA', proj_bias=False), ffn_cfg=dict(type='ODL'), patch_embed='conv', norm_eps=1e-6)
    | dict(init='alpha'),
    'conv1.weight',
    'pos_embedding',
    'mlp_head.1',
    (
        ('alpha-tiny', 192, 3, 12),
        ('alpha-small', 384, 6, 12),
        ('alpha-base', 768, 12, 12),
        ('alpha-large', 1024, 16, 24),
    ),
)
VIT = Family(
    'ViT',
    dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6),
    'patch_embed.proj.weight',
    'pos_embed',
    'head',
    ((None, 384, 6, 12), (None, 768, 12, 12)),
)
DINOV2 = replace(
    VIT,
    name='DINOv2',
    parts=VIT.parts | dict(interpolation=dict(offset=0.1)),
    released=((None, 384, 6, 12), (None, 768, 12, 12), (None, 1024, 16, 24)),
)
RELEASED_ARCHS = tuple(name for family in (CRATE, ALPHA, VIT) for name, *_ in family.released if name)


@dataclass(frozen=True)
class Layout:
    """Sizes of a released checkpoint, from its keys and shapes.

    Attributes:
        family: ``CRATE``, ``ALPHA``, ``VIT`` or ``DINOV2``.
        dim: Token width d.
        depth: Number of layers L.
        patch_size: Side of a patch in pixels.
        img_size: Side of the training images in pixels.
        two_layer_head: Whether ``head`` follows ``mlp_head.1``.
        num_registers: Number of registers.
    """

    family: Family
    dim: int
    depth: int
    patch_size: int
    img_size: int
    two_layer_head: bool
    num_registers: int = 0

    @property
    def name(self) -> str:
        """Name of the layout."""
        return self.family.name + (' with a two-layer head' if self.two_layer_head else '')


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint.

    Attributes:
        state_dict: 'backbone.*', and 'head.fc.*' or 'released_head.*' where a head is kept.
        meta: ``layout``, ``arch``, ``num_heads``, ``patch_size``, ``img_size``; ``backbone`` is the config to build.
        rows: (source key, target key or ``LEFT_OUT``, shape) of every source key, in the order of the source.
        notes: Assumptions, and entries that were left out.
    """

    state_dict: dict[str, Tensor]
    meta: dict
    rows: list[tuple[str, str, tuple[int, ...]]]
    notes: list[str]


def convert_file(
    src: str | Path, dst: str | Path, arch: str | None = None, num_heads: int | None = None, head: bool = False
) -> Conversion:
    """Convert the released checkpoint ``src`` and write it to ``dst`` in one step.

    Args:
        src: File of a released checkpoint.
        dst: File to write, *.pth; a missing folder is made.
        arch: See :func:`convert`.
        num_heads: See :func:`convert`.
        head: See :func:`convert`.

    Returns:
        The conversion. Its ``meta`` also has ``source`` and ``source_sha256``: name and SHA-256 of ``src``.

    Raises:
        ConversionError: The weights or the arguments are wrong; the message begins with the file.
        CheckpointError: The file cannot be read.
    """
    src, dst = Path(src), Path(dst)
    if dst.suffix != '.pth':
        raise ConversionError(f'{dst}: the converted checkpoint must be named *.pth')
    if dst.resolve() == src.resolve():
        raise ConversionError(f'{dst}: source and destination are the same file')
    try:
        conversion = convert(source_weights(read_weights(str(src))), arch, num_heads, head)
    except ConversionError as error:
        raise ConversionError(f'{src}: {error}') from error
    conversion.meta.update(source=src.name, source_sha256=sha256(src))
    make_folder(dst.parent)
    with atomic(dst) as part:
        torch.save(dict(state_dict=conversion.state_dict, meta=conversion.meta), part)
    return conversion


def convert(
    source: Mapping[str, Tensor], arch: str | None = None, num_heads: int | None = None, head: bool = False
) -> Conversion:
    """Convert the weights of a released checkpoint; use every key once and check every shape.

    The number of heads is not in the weights. Give ``arch`` or ``num_heads`` where models of this size were released
    with different numbers, or where none was released.

    Args:
        source: Tensors by released key.
        arch: One of ``RELEASED_ARCHS``.
        num_heads: Number of heads, in place of ``arch``.
        head: Also convert the classification layer, to the key names of mmpretrain's LinearClsHead.

    Raises:
        ConversionError: Keys are unknown or missing, or shapes are wrong (all are listed); or a number of heads is
            needed or does not fit.
    """
    layout = detect_layout(source)
    backbone, heads, notes = choose_backbone(layout, arch, num_heads)
    places = _backbone_places(layout, source, heads) | _head_places(layout, source, head)
    _check(source, places)
    if layout.two_layer_head:
        notes.append(
            'the head has two layers, and no released code says what stands between them: the backbone is converted, '
            'both layers are kept as they are under released_head.*, and there is no head.fc'
        )
    if layout.family in (VIT, DINOV2) and not layout.num_registers:
        notes.append("the keys are also those of mmpretrain's VisionTransformer, which loads this file as well")
    sizes = dict(num_heads=heads, patch_size=layout.patch_size, img_size=layout.img_size)
    targets = {key: places[key][0] for key in source}
    kept = {key: target for key, target in targets.items() if target not in (LEFT_OUT, FOLDED, TRAINING_ONLY)}
    folded = fold_layer_scale(source) if layout.family is DINOV2 else source
    return Conversion(
        state_dict={target: folded[key] for key, target in kept.items()},
        meta=dict(layout=layout.name, arch=backbone['arch'], **sizes, backbone=backbone),
        rows=[(key, targets[key], tuple(value.shape)) for key, value in source.items()],
        notes=notes,
    )


def source_weights(weights: Weights) -> dict[str, Tensor]:
    """Return the weights of a released file, without the ``backbone.`` of a DINO training.

    Raises:
        ConversionError: The state dict holds entries that are not tensors, or a weight is NaN or infinite.
    """
    if weights.left_out:
        raise ConversionError(f'its state dict holds entries that are not tensors: {", ".join(weights.left_out)}')
    for key, value in weights.tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ConversionError(f'{key} holds NaN or infinity')
    prefix = 'backbone.' if any(key.startswith('backbone.blocks.') for key in weights.tensors) else ''
    found = {key.removeprefix(prefix): value for key, value in weights.tensors.items()}
    # a training of DINOv2 has heads of other names, and its blocks in chunks: blocks.CHUNK.NUMBER
    return {CHUNK.sub('blocks.', OTHER_HEADS.sub(r'head.\1.', key)): value for key, value in found.items()}


def fold_layer_scale(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply the last projection of each branch by its LayerScale: gamma (W x + b) = (diag(gamma) W) x + gamma b."""
    folded = dict(source)
    for branch, projection in (('ls1', 'attn.proj'), ('ls2', 'mlp.fc2')):
        for key, gamma in source.items():
            if key.endswith(f'{branch}.gamma'):
                name = key.removesuffix(f'{branch}.gamma') + projection
                folded[f'{name}.weight'] = source[f'{name}.weight'] * gamma[:, None]
                folded[f'{name}.bias'] = source[f'{name}.bias'] * gamma
    return folded


def detect_layout(source: Mapping[str, Tensor]) -> Layout:
    """Return the layout of released weights, and its sizes.

    Raises:
        ConversionError: The tensors that tell the sizes are missing, or no released model has their shapes.
    """
    family = next((family for family in (VIT, ALPHA) if family.stem in source), CRATE)
    if family is VIT and any(key.endswith('.ls1.gamma') for key in source):
        family = DINOV2
    missing = [key for key in (family.stem, family.positions) if key not in source]
    if missing:
        found = ', '.join(list(source)[:4])
        raise ConversionError(
            f'not a released checkpoint of CRATE or a ViT: no {" and no ".join(missing)}, but {found}, ...'
        )
    table, stem = source[family.positions], source[family.stem]
    # (d, 3, p, p) of a convolution, or (3 p p,) of a norm over the numbers of a patch
    if table.ndim != 3 or stem.ndim != (1 if family is CRATE else 4):
        raise ConversionError(
            f'no released model has {family.positions} {tuple(table.shape)} and {family.stem} {tuple(stem.shape)}'
        )
    patch_size = max(math.isqrt(stem.numel() // 3), 1) if family is CRATE else stem.shape[-1]
    patches = table.shape[1] - 1
    side = math.isqrt(max(patches, 0))
    if side**2 != patches:
        raise ConversionError(f'{family.positions} has {patches} patches, which is not a square grid')
    numbers = [re.match(r'(?:transformer\.layers|blocks)\.(\d+)\.', key) for key in source]
    return Layout(
        family=family,
        dim=table.shape[-1],
        depth=max((int(number[1]) for number in numbers if number), default=-1) + 1,
        patch_size=patch_size,
        img_size=side * patch_size,
        two_layer_head=family in (CRATE, ALPHA) and 'head.weight' in source,
        num_registers=source['register_tokens'].shape[1] if 'register_tokens' in source and family is DINOV2 else 0,
    )


def choose_backbone(layout: Layout, arch: str | None, num_heads: int | None) -> tuple[dict, int, list[str]]:
    """Return the config of the backbone with this layout, its number of heads, and the assumptions.

    Raises:
        ConversionError: The number of heads is needed, or ``arch`` or ``num_heads`` does not fit the weights.
    """
    size = layout.dim, layout.depth
    released = [(name, heads) for name, dim, heads, depth in layout.family.released if (dim, depth) == size]
    names = [name for name, _ in released if name]
    notes = []
    if arch is None:
        if num_heads is None:
            numbers = sorted({heads for _, heads in released})
            if len(numbers) != 1:
                known = f'released models have {" or ".join(map(str, numbers))}' if numbers else 'no model was released'
                raise ConversionError(
                    f'give --heads N{" or --arch " + names[0] if names else ""}: the number of heads is not in the '
                    f'file, and for width {layout.dim} with {layout.depth} layers {known}'
                )
            (num_heads,) = numbers
            known = f' ({", ".join(names)})' if names else ''
            notes.append(f'{num_heads} heads, as in every released {layout.name} of this size{known}')
        arch = _name_or_sizes(layout, [name for name, heads in released if name and heads == num_heads], num_heads)
    elif arch not in names:
        raise ConversionError(
            f'--arch {arch} does not fit {layout.name} weights of width {layout.dim} with {layout.depth} layers: '
            + (f'these have {" or ".join(names)}' if names else 'no name has this size, give --heads instead')
        )
    else:
        num_heads = dict(released)[arch]
    backbone = dict(type='CRATE', arch=arch, img_size=layout.img_size, patch_size=layout.patch_size)
    if isinstance(arch, dict):
        backbone.update(copy.deepcopy(layout.family.parts))
    if layout.num_registers:
        backbone.update(num_registers=layout.num_registers, interpolation=dict(antialias=True))
    return backbone, num_heads, notes


def _name_or_sizes(layout: Layout, names: list[str], num_heads: int) -> str | dict:
    """Return ``arch``: one of ``names``, the released models with this number of heads, if there are any."""
    if num_heads < 1 or layout.dim % num_heads:
        raise ConversionError(f'--heads {num_heads} does not divide the width {layout.dim}')
    if not names:
        return dict(embed_dims=layout.dim, num_heads=num_heads, num_layers=layout.depth)
    emergence = layout.patch_size == EMERGENCE_PATCH
    return next((name for name in names if name.startswith('emergence') == emergence), names[0])


def _backbone_places(
    layout: Layout, source: Mapping[str, Tensor], num_heads: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return {released key: (key here, shape)} of all weights but those of the head."""
    is_vit = layout.family in (VIT, DINOV2)
    modules = _vit_modules(layout) if is_vit else _crate_modules(layout, num_heads)
    positions = 1 + (layout.img_size // layout.patch_size) ** 2
    tables = {
        'cls_token': ('backbone.cls_token', (1, 1, layout.dim)),
        layout.family.positions: ('backbone.pos_embed', (1, positions, layout.dim)),
    }
    if layout.family is DINOV2:
        tables |= {'mask_token': (TRAINING_ONLY, (1, layout.dim))} if 'mask_token' in source else {}
        for index in range(layout.depth):
            tables |= {f'blocks.{index}.{name}.gamma': (FOLDED, (layout.dim,)) for name in ('ls1', 'ls2')}
    if layout.num_registers:
        tables['register_tokens'] = ('backbone.register_tokens', (1, layout.num_registers, layout.dim))
    return tables | {
        f'{source}.{name}': (f'backbone.{target}.{name}', shape)
        for source, target, shapes in modules
        for name, shape in shapes.items()
    }


def _vit_modules(layout: Layout) -> Iterator[tuple[str, str, Shapes]]:
    """Yield (released module, module here, shapes) of a ViT."""
    d = layout.dim
    yield 'patch_embed.proj', 'patch_embed.projection', _affine(d, 3, layout.patch_size, layout.patch_size)
    for index in range(layout.depth):
        source, target = f'blocks.{index}', f'layers.{index}'
        yield f'{source}.norm1', f'{target}.ln1', _affine(d)
        yield f'{source}.attn.qkv', f'{target}.attn.qkv', _affine(3 * d, d)
        yield f'{source}.attn.proj', f'{target}.attn.proj', _affine(d, d)
        yield f'{source}.norm2', f'{target}.ln2', _affine(d)
        yield f'{source}.mlp.fc1', f'{target}.ffn.layers.0.0', _affine(4 * d, d)
        yield f'{source}.mlp.fc2', f'{target}.ffn.layers.1', _affine(d, 4 * d)
    yield 'norm', 'ln1', _affine(d)


def _crate_modules(layout: Layout, num_heads: int) -> Iterator[tuple[str, str, Shapes]]:
    """Yield (released module, module here, shapes) of CRATE and CRATE-alpha; with one head, no output projection."""
    d, p, is_alpha = layout.dim, layout.patch_size, layout.family is ALPHA
    if is_alpha:
        yield 'conv1', 'patch_embed.projection', _affine(d, 3, p, p)
    else:
        yield 'to_patch_embedding.1', 'patch_embed.ln1', _affine(3 * p * p)
        yield 'to_patch_embedding.2', 'patch_embed.projection', _affine(d, 3 * p * p)
        yield 'to_patch_embedding.3', 'patch_embed.ln2', _affine(d)
    matrix = dict(weight=(d, d))
    for index in range(layout.depth):
        source, target = f'transformer.layers.{index}', f'layers.{index}'
        yield f'{source}.0.norm', f'{target}.ln1', _affine(d)
        yield f'{source}.0.fn.qkv', f'{target}.attn.qkv', matrix
        if num_heads > 1:
            yield f'{source}.0.fn.to_out.0', f'{target}.attn.proj', matrix if is_alpha else _affine(d, d)
        yield f'{source}.1.norm', f'{target}.ln2', _affine(d)
        yield f'{source}.1.fn', f'{target}.ffn', dict(D=(d, 4 * d), D1=(d, 4 * d)) if is_alpha else matrix
    yield 'mlp_head.0', 'ln1', _affine(d)


def _affine(*shape: int) -> Shapes:
    """Return the shapes of a norm (d), a linear layer (outputs, inputs) or a convolution (d, channels, p, p)."""
    return dict(weight=shape, bias=shape[:1])


def _head_places(layout: Layout, source: Mapping[str, Tensor], head: bool) -> dict[str, tuple[str, tuple | None]]:
    """Return {released key: (key here, shape)} of the head; the number of classes is free."""
    classifier = layout.family.classifier
    if layout.two_layer_head:
        layers = [(name, f'released_head.{name}') for name in ('mlp_head.1', 'head')]
    elif head:
        layers = [(classifier, 'head.fc')]
    else:
        return {key: (LEFT_OUT, None) for key in source if key.startswith(f'{classifier}.')}
    places, width = {}, layout.dim
    for name, target in layers:
        rows = source[f'{name}.bias'].numel() if f'{name}.bias' in source else 0
        places |= {f'{name}.{key}': (f'{target}.{key}', shape) for key, shape in _affine(rows, width).items()}
        width = rows
    return places


def _check(source: Mapping[str, Tensor], places: Mapping[str, tuple[str, tuple | None]]) -> None:
    """Refuse other keys than those of ``places``, other shapes, and integers in place of weights."""
    wrong = {
        'unknown keys': [key for key in source if key not in places],
        'missing keys': [key for key in places if key not in source],
    }
    if any(wrong.values()):
        raise ConversionError('; '.join(f'{what}: {", ".join(keys)}' for what, keys in wrong.items() if keys))
    others = [
        f'{key} {tuple(value.shape)} instead of {places[key][1]}'
        for key, value in source.items()
        if places[key][1] not in (None, tuple(value.shape))
    ]
    if others:
        raise ConversionError(f'wrong shapes: {", ".join(others)}')
    integers = [key for key, value in source.items() if places[key][1] is not None and not value.is_floating_point()]
    if integers:  # of a quantised file: torch converts them without their scale
        raise ConversionError(f'{count_weights(integers)} of integers in place of floats')
