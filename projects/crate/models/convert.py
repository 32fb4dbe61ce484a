"""Released checkpoints of CRATE and of DINO's ViT, in the key names of their code, as checkpoints of this project.

Layouts, told apart by their keys:

- CRATE (arXiv 2306.01129, 2308.16271): ``to_patch_embedding.{1,2,3}`` and ``fn.weight``; the base models of the second
  paper may have a head of two layers, ``mlp_head.1`` and ``head``.
- CRATE-alpha (arXiv 2405.20299): ``conv1``, ``fn.D`` and ``fn.D1``.
- ViT as DINO (arXiv 2104.14294), DeiT and timm name it: ``patch_embed.proj``, ``blocks``; converted, it is both a CRATE
  of ViT parts and a VisionTransformer of mmpretrain.

The weights may be bare or in the wrappers that ``checkpoints/read.py`` knows. Nothing in a file is executed.
"""

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import Weights, read_weights
from ..errors import UserError
from ..files import atomic, make_folder, sha256
from .crate import ALPHA_FAMILY, ARCHS, CRATE, CRATE_FAMILY, resolve_arch
from .patch_embed import square_grid

LEFT_OUT = '(left out; --head keeps a classifier)'
NORM = LINEAR = ('weight', 'bias')
# The ViT of DINO, made of CRATE's ablations.
VIT_FAMILY = dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)
# Name in ARCHS, or None, and (d, K, L, family) of every released model. A name that only ARCHS has says nothing about a
# released file. Without a name: the 6-head 'demo' model of arXiv 2308.16271, DINO's ViT-S and ViT-B.
RELEASED = (
    *((name, *ARCHS[name]) for name in ('tiny', 'small', 'base', 'large')),
    *((f'emergence-{size}', *ARCHS[f'emergence-{size}']) for size in ('tiny', 'small', 'base')),
    *((f'alpha-{size}', *ARCHS[f'alpha-{size}']) for size in ('tiny', 'small', 'base', 'large')),
    (None, 768, 6, 12, CRATE_FAMILY),
    (None, 384, 6, 12, VIT_FAMILY),
    (None, 768, 12, 12, VIT_FAMILY),
)
# Patch of the released models of a paper, which tells apart two names of one network.
EMERGENCE_PATCH = 8


class ConversionError(UserError):
    """A file or an option does not fit what was released; the message names it."""


@dataclass(frozen=True)
class Naming:
    """Names that tell the layouts apart.

    Attributes:
        name: The layout in words.
        family: What its models have in common.
        stem: Key of the tensor that holds the size of a patch.
        positions: Key of the position table.
        classifier: Name of the classification layer.
    """

    name: str
    family: dict
    stem: str
    positions: str
    classifier: str


CRATE_NAMING = Naming('CRATE', CRATE_FAMILY, 'to_patch_embedding.1.weight', 'pos_embedding', 'mlp_head.1')
ALPHA_NAMING = Naming('CRATE-alpha', ALPHA_FAMILY, 'conv1.weight', 'pos_embedding', 'mlp_head.1')
VIT_NAMING = Naming('ViT', VIT_FAMILY, 'patch_embed.proj.weight', 'pos_embed', 'head')


@dataclass(frozen=True)
class Layout:
    """What keys and shapes say about a released checkpoint.

    Attributes:
        naming: ``CRATE_NAMING``, ``ALPHA_NAMING`` or ``VIT_NAMING``.
        dim: Token width d.
        depth: Number of layers L.
        patch_size: Side of a patch in pixels.
        img_size: Side of the training images in pixels.
        two_layer_head: Whether ``head`` follows ``mlp_head.1``.
    """

    naming: Naming
    dim: int
    depth: int
    patch_size: int
    img_size: int
    two_layer_head: bool

    @property
    def family(self) -> dict:
        """What the released models of this layout have in common."""
        return self.naming.family

    @property
    def name(self) -> str:
        """The layout in words."""
        return self.naming.name + (' with a two-layer head' if self.two_layer_head else '')


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint and how it came about.

    Attributes:
        state_dict: 'backbone.*' and, where asked for or kept aside, 'head.fc.*' or 'released_head.*'.
        meta: ``layout``, ``arch``, ``num_heads``, ``patch_size``, ``img_size``; ``backbone`` is the config to build.
        rows: (source key, target key or ``LEFT_OUT``, shape), one per source key, in the order of the source.
        notes: What a reader must know: what was assumed, what was kept aside.
    """

    state_dict: dict[str, Tensor]
    meta: dict
    rows: list[tuple[str, str, tuple[int, ...]]]
    notes: list[str]


def convert_file(
    src: str | Path, dst: str | Path, arch: str | None = None, num_heads: int | None = None, head: bool = False
) -> Conversion:
    """Convert the released checkpoint ``src`` and write it to ``dst``, whole or not at all.

    Args:
        src: A file that ``torch.save`` wrote.
        dst: A .pth file; its folder is made if missing.
        arch: As for ``convert``.
        num_heads: As for ``convert``.
        head: As for ``convert``.

    Returns:
        The conversion; its ``meta`` has ``source`` and ``source_sha256``, the file's name and sum, too.

    Raises:
        ConversionError: Something is wrong with the weights or the arguments; the message begins with the file.
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
    """Convert the weights of a released checkpoint; every key is used exactly once and every shape is checked.

    Args:
        source: Released key -> tensor.
        arch: A name of ``ARCHS``. The number of heads is not in the weights: where models of this size were released
            with different numbers, or none was released, ``arch`` or ``num_heads`` must say it.
        num_heads: Number of heads, in place of ``arch``.
        head: Convert the classification layer, too, to the key names of mmpretrain's LinearClsHead.

    Returns:
        The conversion.

    Raises:
        ConversionError: Unknown or missing keys or wrong shapes, all of them listed; or a number of heads that is
            needed or does not fit.
    """
    layout = detect_layout(source)
    backbone, notes = choose_backbone(layout, arch, num_heads)
    heads = resolve_arch(backbone['arch'])[1]
    targets = key_map(layout, heads, head)
    if not head and not layout.two_layer_head:
        targets.update((key, LEFT_OUT) for key in source if key.startswith(f'{layout.naming.classifier}.'))
    _check_keys(source, targets)
    _check_shapes(source, targets, backbone)
    if layout.two_layer_head:
        notes.append(
            'the head has two layers, and no released code says what stands between them: the backbone is converted, '
            'both layers are kept as they are under released_head.*, and there is no head.fc'
        )
    if layout.naming is VIT_NAMING:
        notes.append("the keys are also those of mmpretrain's VisionTransformer, which loads this file as well")
    sizes = dict(num_heads=heads, patch_size=layout.patch_size, img_size=layout.img_size)
    return Conversion(
        state_dict={targets[key]: value for key, value in source.items() if targets[key] != LEFT_OUT},
        meta=dict(layout=layout.name, arch=backbone['arch'], **sizes, backbone=backbone),
        rows=[(key, targets[key], tuple(value.shape)) for key, value in source.items()],
        notes=notes,
    )


def source_weights(weights: Weights) -> dict[str, Tensor]:
    """Return the weights of a released file, without the ``backbone.`` of a DINO training.

    Raises:
        ConversionError: The file has more than weights in its state dict, or a weight is NaN or infinite.
    """
    if weights.left_out:
        raise ConversionError(f'its state dict holds entries that are not tensors: {", ".join(weights.left_out)}')
    for key, value in weights.tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ConversionError(f'{key} holds NaN or infinity')
    prefix = 'backbone.' if any(key.startswith('backbone.blocks.') for key in weights.tensors) else ''
    return {key.removeprefix(prefix): value for key, value in weights.tensors.items()}


def detect_layout(source: Mapping[str, Tensor]) -> Layout:
    """Which released layout this is, and its sizes.

    Raises:
        ConversionError: It is none: the tensors that tell the sizes are missing or have shapes that none has.
    """
    naming = next((naming for naming in (VIT_NAMING, ALPHA_NAMING) if naming.stem in source), CRATE_NAMING)
    missing = [key for key in (naming.stem, naming.positions) if key not in source]
    if missing:
        found = ', '.join(list(source)[:4])
        raise ConversionError(
            f'not a released checkpoint of CRATE or a ViT: no {" and no ".join(missing)}, but {found}, ...'
        )
    table, kernel = source[naming.positions], source[naming.stem]
    is_convolution = naming is not CRATE_NAMING
    if table.ndim != 3 or kernel.ndim != (4 if is_convolution else 1):
        raise ConversionError(
            f'no released model has {naming.positions} {tuple(table.shape)} and {naming.stem} {tuple(kernel.shape)}'
        )
    # Patches are square in every released model: (d, 3, p, p), or a norm over the 3 p p numbers of a patch.
    patch_size = kernel.shape[-1] if is_convolution else max(math.isqrt(kernel.numel() // 3), 1)
    try:
        side, _ = square_grid(table.shape[1] - 1)
    except ValueError as error:
        raise ConversionError(
            f'{naming.positions} has {table.shape[1] - 1} patches, which is not a square grid'
        ) from error
    numbers = [re.match(r'(?:transformer\.layers|blocks)\.(\d+)\.', key) for key in source]
    return Layout(
        naming=naming,
        dim=table.shape[-1],
        depth=max((int(number[1]) for number in numbers if number), default=-1) + 1,
        patch_size=patch_size,
        img_size=side * patch_size,
        two_layer_head=naming is not VIT_NAMING and 'head.weight' in source,
    )


def choose_backbone(layout: Layout, arch: str | None, num_heads: int | None) -> tuple[dict, list[str]]:
    """Config of the backbone with this layout, and what had to be assumed for it.

    Raises:
        ConversionError: The number of heads is needed, or what was given does not fit the weights.
    """
    size = (layout.dim, layout.depth, layout.family)
    released = [(name, heads) for name, dim, heads, depth, family in RELEASED if (dim, depth, family) == size]
    names = [name for name, _ in released if name]
    notes = []
    if arch is None:
        if num_heads is None:
            num_heads = _released_heads(layout, released)
            known = f' ({", ".join(names)})' if names else ''
            notes.append(f'{num_heads} heads, as in every released {layout.name} of this size{known}')
        arch = _name_or_sizes(layout, [name for name, heads in released if name and heads == num_heads], num_heads)
    elif arch not in ARCHS or (ARCHS[arch][0], *ARCHS[arch][2:]) != size:
        raise ConversionError(
            f'--arch {arch} does not fit {layout.name} weights of width {layout.dim} with {layout.depth} layers: '
            + (f'these have {" or ".join(names)}' if names else 'no name has this size, give --heads instead')
        )
    backbone = dict(type='CRATE', arch=arch, img_size=layout.img_size, patch_size=layout.patch_size)
    if isinstance(arch, dict) and layout.family is not CRATE_FAMILY:  # what a name would have said
        backbone.update(copy.deepcopy(layout.family))
    return backbone, notes


def _released_heads(layout: Layout, released: list[tuple[str | None, int]]) -> int:
    """The number of heads of every released model (name, heads) of this size."""
    names, numbers = [name for name, _ in released if name], {heads for _, heads in released}
    if len(numbers) == 1:
        return numbers.pop()
    known = f'released models have {" or ".join(map(str, sorted(numbers)))}' if numbers else 'no model was released'
    options = '--heads N' + (f' or --arch {names[0]}' if names else '')
    raise ConversionError(
        f'give {options}: the number of heads is not in the file, and for width {layout.dim} with {layout.depth} '
        f'layers {known}'
    )


def _name_or_sizes(layout: Layout, names: list[str], num_heads: int) -> str | dict:
    """What ``arch`` is for a number of heads: one of the names of released models that have it, if there are any."""
    if num_heads < 1 or layout.dim % num_heads:
        raise ConversionError(f'--heads {num_heads} does not divide the width {layout.dim}')
    if not names:
        return dict(embed_dims=layout.dim, num_heads=num_heads, num_layers=layout.depth)
    emergence = layout.patch_size == EMERGENCE_PATCH
    return next((name for name in names if name.startswith('emergence') == emergence), names[0])


def key_map(layout: Layout, num_heads: int, head: bool) -> dict[str, str]:
    """Every key a checkpoint of this layout has -> its name here.

    Args:
        layout: The layout.
        num_heads: Number of heads; a single one has no output projection.
        head: Include a one-layer head. One of two layers is always included.
    """
    if layout.naming is VIT_NAMING:
        modules = [*_vit_modules(layout)]
    else:
        modules = [
            *_embedding_modules(layout),
            *_layer_modules(layout, num_heads),
            ('mlp_head.0', 'backbone.ln1', NORM),
        ]
    if layout.two_layer_head:
        modules += [(name, f'released_head.{name}', LINEAR) for name in ('mlp_head.1', 'head')]
    elif head:
        modules.append((layout.naming.classifier, 'head.fc', LINEAR))
    tables = {'cls_token': 'backbone.cls_token', layout.naming.positions: 'backbone.pos_embed'}
    return tables | {f'{source}.{part}': f'{target}.{part}' for source, target, parts in modules for part in parts}


def _vit_modules(layout: Layout) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(source module, target module, parameters) of a ViT without its head."""
    yield 'patch_embed.proj', 'backbone.patch_embed.projection', LINEAR
    for index in range(layout.depth):
        source, target = f'blocks.{index}', f'backbone.layers.{index}'
        yield f'{source}.norm1', f'{target}.ln1', NORM
        yield f'{source}.attn.qkv', f'{target}.attn.qkv', LINEAR
        yield f'{source}.attn.proj', f'{target}.attn.proj', LINEAR
        yield f'{source}.norm2', f'{target}.ln2', NORM
        yield f'{source}.mlp.fc1', f'{target}.ffn.layers.0.0', LINEAR
        yield f'{source}.mlp.fc2', f'{target}.ffn.layers.1', LINEAR
    yield 'norm', 'backbone.ln1', NORM


def _embedding_modules(layout: Layout) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(source module, target module, parameters) of the patch embedding of CRATE and CRATE-alpha."""
    if layout.naming is ALPHA_NAMING:
        yield 'conv1', 'backbone.patch_embed.projection', LINEAR
    else:
        yield 'to_patch_embedding.1', 'backbone.patch_embed.ln1', NORM
        yield 'to_patch_embedding.2', 'backbone.patch_embed.projection', LINEAR
        yield 'to_patch_embedding.3', 'backbone.patch_embed.ln2', NORM


def _layer_modules(layout: Layout, num_heads: int) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(source module, target module, parameters) of the layers of CRATE and CRATE-alpha."""
    is_alpha = layout.naming is ALPHA_NAMING
    for index in range(layout.depth):
        source, target = f'transformer.layers.{index}', f'backbone.layers.{index}'
        yield f'{source}.0.norm', f'{target}.ln1', NORM
        yield f'{source}.0.fn.qkv', f'{target}.attn.qkv', ('weight',)
        if num_heads > 1:
            yield f'{source}.0.fn.to_out.0', f'{target}.attn.proj', ('weight',) if is_alpha else LINEAR
        yield f'{source}.1.norm', f'{target}.ln2', NORM
        yield f'{source}.1.fn', f'{target}.ffn', ('D', 'D1') if is_alpha else ('weight',)


def _check_keys(source: Mapping[str, Tensor], targets: Mapping[str, str]) -> None:
    """The keys must be exactly the layout's."""
    unknown = [key for key in source if key not in targets]
    missing = [key for key in targets if key not in source]
    if unknown or missing:
        parts = [
            f'{what}: {", ".join(keys)}'
            for what, keys in (('unknown keys', unknown), ('missing keys', missing))
            if keys
        ]
        raise ConversionError('; '.join(parts))


def _check_shapes(source: Mapping[str, Tensor], targets: Mapping[str, str], backbone: dict) -> None:
    """The shapes must be those of the model that ``backbone`` builds; the number of classes is free."""
    with torch.device('meta'):
        model = CRATE(**{name: value for name, value in backbone.items() if name != 'type'})
    shapes = {f'backbone.{key}': tuple(value.shape) for key, value in model.state_dict().items()}
    width = model.embed_dims
    for name in ('mlp_head.1', 'head'):
        if targets.get(f'{name}.weight', LEFT_OUT) != LEFT_OUT:
            rows = source[f'{name}.bias'].numel()
            shapes[targets[f'{name}.weight']], shapes[targets[f'{name}.bias']] = (rows, width), (rows,)
            width = rows
    wrong = [
        f'{key} {tuple(value.shape)} instead of {shapes[targets[key]]}'
        for key, value in source.items()
        if targets[key] != LEFT_OUT and tuple(value.shape) != shapes[targets[key]]
    ]
    if wrong:
        raise ConversionError(f'wrong shapes: {", ".join(wrong)}')
