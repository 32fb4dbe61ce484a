"""The two patch embeddings, and the interpolation of position tables."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ArgumentError


def is_free(*sizes: int) -> bool:
    """Return True if ``torch.export`` leaves a size open. No choice in Python may depend on such a size."""
    return any(isinstance(size, torch.SymInt) for size in sizes)


def pad_to_patches(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """Pad with zeros below and to the right to a multiple of the patch: (B, C, H, W) -> (B, C, h ph, w pw)."""
    (height, width), (patch_h, patch_w) = images.shape[-2:], patch_size
    if not is_free(height, width) and not (height % patch_h or width % patch_w):
        return images
    # h ph - H, not -H % ph: so torch.export sees that the patch divides the sum; ONNX rounds a negative H // ph up
    down = (height + patch_h - 1) // patch_h * patch_h - height
    right = (width + patch_w - 1) // patch_w * patch_w - width
    return F.pad(images, (0, right, 0, down))


class LinearPatchEmbed(nn.Module):
    """LayerNorm-Linear-LayerNorm of patches flattened as row, column, channel (released code of arXiv 2306.01129).

    Args:
        in_channels: Channels of the image.
        dim: Token width d.
        patch_size: (height, width) of a patch in pixels.
        norm_eps: epsilon of both norms.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: tuple[int, int], norm_eps: float) -> None:
        super().__init__()
        self.patch_size = patch_size
        patch_dim = in_channels * patch_size[0] * patch_size[1]
        self.ln1 = nn.LayerNorm(patch_dim, eps=norm_eps)
        self.projection = nn.Linear(patch_dim, dim)
        self.ln2 = nn.LayerNorm(dim, eps=norm_eps)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed an image (B, C, H, W); return tokens (B, h w, d) and the grid (h, w)."""
        patch_h, patch_w = self.patch_size
        x = pad_to_patches(images, self.patch_size).permute(0, 2, 3, 1)  # (B, H, W, C)
        x = x.unflatten(2, (-1, patch_w)).unflatten(1, (-1, patch_h))  # (B, h, ph, w, pw, C)
        grid = (x.shape[1], x.shape[3])
        x = x.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, h w, ph pw C)
        return self.ln2(self.projection(self.ln1(x))), grid


class ConvPatchEmbed(nn.Module):
    """A strided convolution with bias (ViT, CRATE-alpha).

    Args:
        in_channels: Channels of the image.
        dim: Token width d.
        patch_size: (height, width) of a patch in pixels.
    """

    def __init__(self, in_channels: int, dim: int, patch_size: tuple[int, int]) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed an image (B, C, H, W); return tokens (B, h w, d) and the grid (h, w)."""
        x = self.projection(pad_to_patches(images, self.patch_size))
        return x.flatten(2).transpose(1, 2), tuple(x.shape[-2:])


def resize_positions(
    table: Tensor,
    source: tuple[int, int],
    target: tuple[int, int],
    num_extra: int,
    offset: float = 0.0,
    antialias: bool = False,
) -> Tensor:
    """Interpolate a position table bicubically: (1, num_extra + h w, d) -> (1, num_extra + h' w', d).

    Args:
        table: Position table.
        source: Its grid (h, w).
        target: Grid (h', w') of the image.
        num_extra: Number of rows before the grid, such as the row of [CLS]; they are kept.
        offset: Number that is added to the target's sides in the scale alone: 0.1 in DINOv2.
        antialias: Whether to smooth where the target is smaller: in DINOv2 with registers.
    """
    if not is_free(*target) and source == target:
        return table
    extra, positions = table.split([num_extra, source[0] * source[1]], dim=1)
    positions = positions.transpose(1, 2).unflatten(2, source)  # (1, d, h, w)
    to = dict(scale_factor=[(t + offset) / s for s, t in zip(source, target)]) if offset else dict(size=target)
    positions = F.interpolate(positions.float(), mode='bicubic', align_corners=False, antialias=antialias, **to)
    return torch.cat([extra, positions.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def square_grid(num_patches: int) -> tuple[int, int]:
    """Return the grid of a position table whose file does not record it; raise ArgumentError if it is no square."""
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ArgumentError(
            f'pos_embed of the checkpoint has {num_patches} patch positions, which is not a square grid: '
            'build the backbone with the img_size and patch_size the checkpoint was trained with'
        )
    return side, side
