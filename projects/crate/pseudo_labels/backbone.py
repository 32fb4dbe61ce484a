"""The config of MaskCut around a pretrained ViT of another library."""

from collections.abc import Sequence

from mmengine.config import Config
from torch import nn

from ..engine.launch import read_config
from ..model_index import config_root
from ..models import load_vit
from ..models.features import patch_size

SIDE = 480  # of the images, as in the protocol of MaskCut; rounded up to whole patches
MOST_PATCHES = 60  # per side, as in the protocol: time and memory grow with the fourth power


def protocol_size(backbone: nn.Module) -> tuple[int, int]:
    """Return (height, width) of the images for a ViT: 480 pixels or the next whole patch, and at most 60 patches."""
    height, width = (min(-(-SIDE // patch), MOST_PATCHES) * patch for patch in patch_size(backbone))
    return height, width


def backbone_config(name: str, options: Sequence[str] = ()) -> Config:
    """Return the config that cuts the last layer of a pretrained ViT.

    Images are resized to :func:`protocol_size`. Their normalisation is the library's. The digest of the weights is
    ``weights_sha256``.

    Args:
        name: See :func:`projects.crate.models.load_vit`.
        options: Changes 'KEY=VALUE'.

    Raises:
        UserError: See :func:`projects.crate.models.load_vit`.
    """
    vit = load_vit(name)
    height, width = protocol_size(vit.module)
    settings = [
        'model.layer=-1',
        f'model.data_preprocessor.mean={vit.mean}',
        f'model.data_preprocessor.std={vit.std}',
        f'test_dataloader.dataset.pipeline.1.scale=({width},{height})',
    ]
    path = config_root() / '_base_/recipes/maskcut_coco.py'
    cfg = read_config(str(path), [*(setting.replace(' ', '') for setting in settings), *options])
    cfg.model.backbone = dict(type='LibraryViT', name=name)
    cfg.weights_sha256 = vit.sha256
    return cfg
