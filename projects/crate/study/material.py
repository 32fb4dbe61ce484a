"""The images that models are measured on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from ..datasets.choice import spread_evenly
from ..datasets.coats import SEGMENTATION_METAINFO
from ..datasets.label_maps import check_labels, read_label_map
from ..datasets.sample import MARKER
from ..engine.launch import read_config
from ..errors import UserError
from ..evaluation.coco_file import read_coco
from ..model_index import config_root
from ..registration import installed_libraries
from .observer import normalisation, read_images
from .trained import TrainedModel

VOC_CONFIG = Path('segmentation', 'coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py')
COCO_CONFIG = Path('maskcut', 'maskcut_crate-emergence-small-p8_1xb8_coco.py')
VOC_FOLDERS = ('.', 'VOC2012', 'VOCdevkit/VOC2012')
VOC_LIST = 'ImageSets/Segmentation/val.txt'
COCO_FOLDERS = ('.', 'coco')
VOID = 255
NUM_PICTURES = 5


@dataclass(frozen=True)
class DataSet:
    """A data set on disk, and which of its images are looked at.

    Attributes:
        config: Whose protocol is followed, below the config root.
        changes: What is different in its ``test_dataloader.dataset``.
        images: The files of all images.
        targets: The masks of their classes; empty where there are none.
        chosen: Positions of the images that are looked at, evenly spaced.
    """

    config: Path
    changes: dict
    images: list[Path]
    targets: list[Path]
    chosen: list[int]

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes of ``targets``."""
        from mmseg.datasets import PascalVOCDataset  # here: it takes seconds, and not everyone has it

        return (self.changes.get('metainfo') or PascalVOCDataset.METAINFO)['classes']

    def read(self, index: int, size: Sequence[int]) -> np.ndarray:
        """Image ``index``, resized to ``size`` (H, W): (H, W, 3) uint8 RGB."""
        return read_images(self.images[index], size)[0][1]

    def measurement(self, model: TrainedModel, size: Sequence[int], num_workers: int) -> Config:
        """The config that measures a model on the chosen images, resized to ``size`` (H, W)."""
        cfg = read_config(str(config_root() / self.config))
        cfg.model.backbone = model.config.model.backbone
        preprocessor = normalisation(model.config.model.data_preprocessor)
        cfg.model.data_preprocessor = dict(type='ImgDataPreprocessor', **preprocessor)
        del cfg.default_hooks.visualization  # nothing is drawn there, and mmseg's hook warns of that
        loader = cfg.test_dataloader
        loader.num_workers = num_workers
        loader.dataset.update(self.changes, indices=self.chosen)
        if 'ann_file' in cfg.test_evaluator:
            cfg.test_evaluator.ann_file = str(Path(self.changes['data_root'], self.changes['ann_file']))
        for transform in loader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (size[1], size[0])
        return cfg


@dataclass(frozen=True)
class Material:
    """What every model is measured on, and what it is shown.

    Attributes:
        size: (H, W) that images are resized to.
        voc: For coarse segmentation, if there is a data set in VOC layout.
        coco: For MaskCut, if there is a data set in COCO layout.
        pictures: Some of the images, of VOC's if there are any, (H, W, 3) uint8 RGB each.
        objects: Where an object is in each of them, (H, W) bool; nowhere if the data set does not say.
    """

    size: tuple[int, int]
    voc: DataSet | None
    coco: DataSet | None
    pictures: list[np.ndarray]
    objects: list[np.ndarray]


def gather(roots: Sequence[Path], size: Sequence[int], max_images: int | None = None) -> Material:
    """What there is below some folders.

    Args:
        roots: Folders; of each layout the first data set counts.
        size: (H, W) that images are resized to.
        max_images: Of each data set; default: all.

    Raises:
        UserError: There is nothing, or the library that reads it is not installed.
    """
    voc, coco = find_voc(roots, max_images), find_coco(roots, max_images)
    if voc is None and coco is None:
        raise UserError(
            f'no data below --data-root: neither {VOC_LIST} (VOC layout) nor annotations/instances_*.json beside a '
            'folder of its images (COCO layout); tools/make_sample_set.py makes both'
        )
    for data, library in ((voc, 'mmseg'), (coco, 'mmdet')):
        if data is not None and library not in installed_libraries():
            raise UserError(f'{data.changes["data_root"]}: {library}, which reads it, is not installed')
    data = voc or coco
    shown = [data.chosen[i] for i in spread_evenly(len(data.chosen), NUM_PICTURES)]
    return Material(
        size=tuple(size),
        voc=voc,
        coco=coco,
        pictures=[data.read(i, size) for i in shown],
        objects=[_object(data, i, size) if data.targets else np.zeros(size, bool) for i in shown],
    )


def find_voc(roots: Iterable[Path], max_images: int | None = None) -> DataSet | None:
    """The first data set in VOC layout below one of the folders: itself, ``VOC2012`` or ``VOCdevkit/VOC2012``."""
    for root in (Path(root, folder) for root in roots for folder in VOC_FOLDERS):
        if (root / VOC_LIST).is_file():
            names = (root / VOC_LIST).read_text().split()
            changes = dict(data_root=str(root), ann_file=VOC_LIST)
            if (root.parent / MARKER).is_file():  # PascalVOCDataset knows no classes but VOC's
                changes.update(type='BaseSegDataset', metainfo=SEGMENTATION_METAINFO)
            images = [root / 'JPEGImages' / f'{name}.jpg' for name in names]
            targets = [root / 'SegmentationClass' / f'{name}.png' for name in names]
            return DataSet(VOC_CONFIG, changes, images, targets, spread_evenly(len(names), max_images))
    return None


def find_coco(roots: Iterable[Path], max_images: int | None = None) -> DataSet | None:
    """The first data set in COCO layout below one of the folders, itself or ``coco``; validation before training."""
    for root in (Path(root, folder) for root in roots for folder in COCO_FOLDERS):
        for file in sorted(root.glob('annotations/instances_*.json'), reverse=True):
            split = file.stem.removeprefix('instances_')
            if (root / split).is_dir():
                names = [image['file_name'] for image in read_coco(str(file), masks=True)['images']]
                changes = dict(
                    data_root=str(root), ann_file=f'annotations/{file.name}', data_prefix=dict(img=f'{split}/')
                )
                images = [root / split / name for name in names]
                return DataSet(COCO_CONFIG, changes, images, [], spread_evenly(len(names), max_images))
    return None


def object_shares(voc: DataSet) -> list[dict[str, float]]:
    """Of each chosen image, {class: share of the pixels that are not void}: the IoU of a mask of the whole image."""
    names, shares = voc.classes, []
    for i in voc.chosen:
        labels = read_label_map(str(voc.targets[i]), str(voc.images[i]))
        check_labels(labels, str(voc.targets[i]), len(names), VOID)
        found, counts = np.unique(labels[labels != VOID], return_counts=True)
        shares.append({names[index]: count / counts.sum() for index, count in zip(found, counts) if index})
    return shares


def whole_image(shares: Sequence[Mapping[str, float]]) -> float:
    """The mIoU of a mask of the whole image, in percent, from what :func:`object_shares` found."""
    return 100 * float(np.mean([np.mean([*image.values()]) for image in shares if image]))


def _object(data: DataSet, index: int, size: Sequence[int]) -> np.ndarray:
    """Where image ``index`` has a class, (H, W) bool."""
    labels = Image.fromarray(read_label_map(str(data.targets[index]), str(data.images[index])))
    labels = np.asarray(labels.resize((size[1], size[0]), Image.Resampling.NEAREST))
    return (labels > 0) & (labels != VOID)
