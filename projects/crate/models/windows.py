"""Attention within windows of the token grid, for the large images of detectors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (projected tokens (B, N, C), rows) -> output of the attention for the tokens ``rows``, (B, rows, d)
Attend = Callable[[Tensor, slice], Tensor]


@dataclass(frozen=True, eq=False)  # torch.compile hashes it before it has its fields
class Windows:
    """Every patch attends to its window and to [CLS]; [CLS] attends to all tokens (windows: ViTDet, arXiv 2203.16527).

    Patch (i, j) of the grid belongs to window (i // h, j // w), where ``size`` = (h, w). The cost grows with N h w
    instead of N^2. Departures from ViTDet: nothing is padded; windows at the lower and right edge may be smaller. [CLS]
    takes part, so that its row of the attention can be read in every layer.

    Attributes:
        grid: (height, width) of the patches in tokens.
        size: (height, width) of a window in tokens.
        num_extra_tokens: Tokens in front of the patches.
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    num_extra_tokens: int

    def __call__(self, attend: Attend, projected: Tensor) -> Tensor:
        """Attend within each window: projected tokens (B, N, C) -> (B, N, d), in the same order."""
        extra, patches = projected[:, : self.num_extra_tokens], projected[:, self.num_extra_tokens :]
        patches = patches.unflatten(1, self.grid)
        rows = [
            torch.cat([self._attend_alike(attend, extra, part) for part in divide(row, 2, self.size[1])], dim=2)
            for row in divide(patches, 1, self.size[0])
        ]
        outputs = torch.cat(rows, dim=1).flatten(1, 2)
        if not self.num_extra_tokens:
            return outputs
        return torch.cat([attend(projected, slice(self.num_extra_tokens)), outputs], dim=1)

    def _attend_alike(self, attend: Attend, extra: Tensor, patches: Tensor) -> Tensor:
        """Attend within windows of one size, which cover ``patches``: (B, h, w, C) -> (B, h, w, d)."""
        height, width = (min(side, window) for side, window in zip(patches.shape[1:3], self.size))
        windows = patches.unflatten(2, (-1, width)).unflatten(1, (-1, height)).transpose(2, 3)
        shape = windows.shape[:5]  # (B, rows of windows, windows in a row, height, width)
        windows = windows.flatten(3, 4)  # (B, rows, columns, tokens, C)
        if self.num_extra_tokens:
            windows = torch.cat([extra[:, None, None].expand(-1, *shape[1:3], -1, -1), windows], dim=3)
        outputs = attend(windows.flatten(0, 2), slice(self.num_extra_tokens, None))
        # -1: the older ONNX exporter makes a constant of the batch
        return (
            outputs.unflatten(1, shape[3:]).unflatten(0, (-1, *shape[1:3])).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        )


def divide(tensor: Tensor, dim: int, size: int) -> list[Tensor]:
    """Split a dimension into the part that ``size`` divides and the rest; leave out empty parts."""
    length = tensor.shape[dim]
    whole = length - length % size
    return [part for part in tensor.split([whole, length - whole], dim) if part.shape[dim]]
