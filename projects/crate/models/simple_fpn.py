"""Feature pyramid for detectors, from one map of a plain backbone."""

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import ArgumentError, UserError
from ..registration import register, register_model
from .unwrap import unwrap

# Coarser maps are subsampled from the level before, as in the feature pyramid of ResNets.
COARSEST_CONVOLVED = 32
# Parts of mmdet's models with the stride of another map: the semantic branch of HTC, DetectoRS and SCNet, and the masks
# of CondInst and BoxInst.
OWN_MAP = ('semantic_roi_extractor', 'mask_head')
LARGEST_IMAGE = 4096  # pixels per side that strides of a fixed image size are looked for


class StridesError(UserError):
    """A head has other strides than the neck; the message names the head and both."""


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map, (B, C, H, W); ``norm_cfg=dict(type='LN2d')`` for heads of mmdet."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the channels: (B, C, H, W) -> (B, C, H, W)."""
        y = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return y if x.is_contiguous(memory_format=torch.channels_last) else y.contiguous()  # as operators of torch do


register(MODELS, LayerNorm2d, 'LN2d')


@register_model
class SimpleFPN(BaseModule):
    """Simple feature pyramid (ViTDet, arXiv 2203.16527, section 3): each level from the backbone's last map alone.

    Up by 2: transposed convolution 2 x 2, which halves the channels; LayerNorm and GELU between two of them. Down by
    2^k: max pooling. Then a 1 x 1 and a 3 x 3 convolution to ``out_channels``, each with a LayerNorm. Levels of stride
    64 and more are every second value of the level before. A head with other strides would train on boxes in the wrong
    places: see :func:`check_strides`.

    Args:
        in_channels: Channels of the backbone's map: its ``embed_dims``.
        out_channels: Channels of each level.
        in_stride: Stride of the backbone's map: its ``patch_size``.
        out_strides: Strides of the levels. Mask R-CNN: (4, 8, 16, 32, 64); RetinaNet, FCOS: (8, 16, 32, 64, 128);
            DINO-DETR with four scales: (8, 16, 32, 64).
        init_cfg: Initialisation, as in mmengine.

    Raises:
        ValueError: Strides do not ascend, are no power of two times ``in_stride``, or have none of 32 or less.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        in_stride: int = 16,
        out_strides: Sequence[int] = (4, 8, 16, 32, 64),
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_stride, self.out_strides = in_stride, tuple(out_strides)
        octaves = [math.log2(in_stride / stride) for stride in self.out_strides]
        if not all(octave.is_integer() for octave in octaves) or list(octaves) != sorted(set(octaves), reverse=True):
            raise ArgumentError(
                f'SimpleFPN: out_strides={self.out_strides} must ascend, each in_stride={in_stride} times a power of 2'
            )
        if not octaves or self.out_strides[0] > COARSEST_CONVOLVED:
            raise ArgumentError(f'SimpleFPN: out_strides={self.out_strides} must begin at {COARSEST_CONVOLVED} or less')
        self.levels = nn.ModuleList(
            nn.Sequential(*resampling(in_channels, octave), *projection(in_channels >> max(octave, 0), out_channels))
            for octave, stride in zip(map(int, octaves), self.out_strides)
            if stride <= COARSEST_CONVOLVED
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one map (B, out_channels, h', w') per stride, from the last map of the backbone, (B, C, h, w)."""
        x = maps[-1].contiguous(memory_format=torch.channels_last)  # faster
        pyramid = [level(x) for level in self.levels]
        for finer, coarser in zip(self.out_strides, self.out_strides[1:]):
            if coarser > COARSEST_CONVOLVED:
                step = coarser // finer
                pyramid.append(pyramid[-1][..., ::step, ::step])
        return tuple(level.contiguous() for level in pyramid)  # mmcv's RoIAlign takes no heed of strides


def resampling(channels: int, octave: int) -> list[nn.Module]:
    """Return layers that change the stride by 2^-octave; each doubling of the resolution halves the channels."""
    if octave < 0:
        return [nn.MaxPool2d(2**-octave, ceil_mode=True)]
    layers = []
    for step in range(octave):
        if step:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
        channels //= 2
    return layers


def projection(channels: int, out_channels: int) -> list[nn.Module]:
    """Return a 1 x 1 and a 3 x 3 convolution to ``out_channels``, each normalised."""
    return [
        nn.Conv2d(channels, out_channels, kernel_size=1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    ]


def check_strides(model: nn.Module, ignore: Sequence[str] = ()) -> None:
    """Refuse a detector whose backbone or heads have other strides than its :class:`SimpleFPN`.

    ``in_stride`` must be the backbone's ``patch_size``. Dense heads read every level (``prior_generator.strides``), RoI
    extractors the first levels (``featmap_strides``). A head may give the strides of one image size instead: see
    :func:`agree`.

    Args:
        model: Detector, or a module that contains one: a wrapper, a teacher and its student.
        ignore: Names of parts that are not checked, such as 'bbox_head'. A name includes the parts below it.

    Raises:
        StridesError: Strides differ; the message names the part and both strides.
    """
    neck = next((module for module in model.modules() if isinstance(module, SimpleFPN)), None)
    if neck is None:
        return
    for name, part in model.named_modules():
        if any(f'{name}.'.startswith(f'{other}.') for other in ignore):
            continue
        patch_size = getattr(unwrap(part), 'patch_size', None) if name.endswith('backbone') else None
        if patch_size not in (None, (neck.in_stride, neck.in_stride)):
            raise StridesError(f'SimpleFPN: in_stride={neck.in_stride} must be the patch_size of {name}, {patch_size}')
        wanted = [] if name.endswith(OWN_MAP) else strides_of(part)
        have = neck.out_strides if not hasattr(part, 'featmap_strides') else neck.out_strides[: len(wanted)]
        if wanted and not agree(wanted, have):
            shown = tuple(round(stride, 2) for stride in wanted)
            raise StridesError(
                f'{name} ({type(part).__name__}) has strides {shown}, SimpleFPN gives {have}: '
                'set neck.out_strides, or the strides of the head; if both are meant, '
                f"set default_hooks.strides=dict(type='CheckStridesHook', ignore=['{name}'])"
            )


def agree(wanted: Sequence[float], have: Sequence[float]) -> bool:
    """Return True if a head may have strides w on levels of strides h: w_i = h_i, or w_i = S / ceil(S / h_i).

    The second form divides one image size S by the number of cells. YOLACT has it, with S = 550: (7.97, 15.71, ...).
    S is at least the largest h, so every w lies in (h / 2, h]: a level too high or too low never agrees.
    """
    if len(wanted) != len(have):
        return False
    return tuple(wanted) == tuple(have) or any(
        all(math.isclose(stride, size / math.ceil(size / level)) for stride, level in zip(wanted, have))
        for size in range(math.ceil(have[-1]), LARGEST_IMAGE + 1)
    )


def strides_of(part: nn.Module) -> list[int]:
    """Return the strides of a head or a RoI extractor; [] for anything else."""
    strides = getattr(part, 'featmap_strides', None) or getattr(getattr(part, 'prior_generator', None), 'strides', [])
    return [stride[0] if isinstance(stride, Sequence) else stride for stride in strides]
