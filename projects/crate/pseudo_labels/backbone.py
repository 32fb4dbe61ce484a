"""The config of MaskCut around a pretrained ViT of another library."""

from collections.abc import Sequence

from mmengine.config import Config

from ..engine.launch import read_config
from ..model_index import config_root
from ..models import load_vit
from ..models.features import patch_size

SIDE = 480  # of the images, as in the protocol of MaskCut; rounded up to whole patches


def backbone_config(name: str, options: Sequence[str] = ()) -> Config:
    """Return the config that cuts the last layer of a pretrained ViT.

    Images are resized to 480 x 480, or to the next multiple of the patch. Their normalisation is the library's. The
    digest of the weights is ``weights_sha256``.

    Args:
        name: See :func:`projects.crate.models.load_vit`.
        options: Changes 'KEY=VALUE'.

    Raises:
        UserError: See :func:`projects.crate.models.load_vit`.
    """
    vit = load_vit(name)
    height, width = (-(-SIDE // patch) * patch for patch in patch_size(vit.module))
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
