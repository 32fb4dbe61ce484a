"""Set up models that are not trained by the inference functions of mmdet and mmseg."""

from mmengine.config import Config, ConfigDict

IMAGES = 'LoadImageOrSkip'
CHECKS = ('skip', 'strict', 'max_pixels')  # arguments that the libraries' own loaders do not take


class LibraryModel:
    """A model that ``init_detector``, ``init_model``, ``DetInferencer`` and ``MMSegInferencer`` can set up.

    These functions give a model its config and its classes after it is built. They know one transform that loads
    images by its name, and put their own in its place, for arrays such as the frames of a video.
    """

    @property
    def cfg(self) -> Config:
        """Config that an inference function has set; its test pipelines load images as the libraries do."""
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: Config) -> None:
        use_stock_loading(cfg)
        self._cfg = cfg


def use_stock_loading(cfg: Config) -> None:
    """Load images in the test pipelines of a config by ``LoadImageFromFile``, in place.

    The inference functions of mmdet and mmseg look for this transform. Damaged images are then not named as
    ``LoadImageOrSkip`` names them.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    for owner, key in ((cfg, 'test_pipeline'), (dataset, 'pipeline')):
        if owner.get(key):
            owner[key] = [_stock(transform) for transform in owner[key]]


def _stock(transform: ConfigDict) -> ConfigDict:
    if transform.type != IMAGES:
        return transform
    kept = {key: value for key, value in transform.items() if key not in CHECKS}
    return ConfigDict(kept, type='LoadImageFromFile')
