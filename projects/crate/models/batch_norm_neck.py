"""A batch normalisation between a frozen backbone and a linear head."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from ..registration import register_model


@register_model
class BatchNormNeck(BaseModule):
    """Normalise each channel of a backbone's last map over the batch, then scale and shift it.

    Source: ``BNHead`` of DINOv2 (arXiv 2304.07193), whose linear probe for segmentation is this and a 1 x 1
    convolution: mmseg's ``FCNHead`` with ``num_convs=0, concat_input=False, dropout_ratio=0.``. Statistics are over
    all processes.

    Args:
        in_channels: Channels of the map: the backbone's ``embed_dims``.
        init_cfg: Initialisation, as in mmengine.
    """

    def __init__(self, in_channels: int, init_cfg: dict | list | None = None) -> None:
        super().__init__(init_cfg)
        self.norm = nn.SyncBatchNorm(in_channels)  # mmengine's runner makes it BatchNorm2d where there is one process

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Return the last map of the backbone, (B, C, h, w), normalised."""
        return (self.norm(maps[-1]),)
