"""Images from disk, and the data sets that models are measured on."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..datasets.image_list import list_images, spread_evenly
from ..datasets.label_maps import check_labels, read_label_map
from ..datasets.loading import LoadImageOrSkip
from ..engine.launch import read_config
from ..errors import UserError
from ..evaluation.coco_file import check_names, read_coco
from ..files import printable
from ..model_index import config_root
from ..progress import Progress
from ..registration import installed_libraries
from ..sample_set.coats import SEGMENTATION_METAINFO
from ..sample_set.write import MARKER
from .checkpoint_model import CheckpointModel
from .observer import normalisation

VOC_CONFIG = Path('segmentation', 'coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py')
COCO_CONFIG = Path('maskcut', 'maskcut_crate-emergence-small-p8_1xb8_coco.py')
SALIENCY_CONFIG = Path('discovery', 'saliency_vit-small-p16_dino-pre-1xb1_ecssd.py')
VOC_FOLDERS = ('.', 'VOC2012', 'VOCdevkit/VOC2012')
VOC_LIST = 'ImageSets/Segmentation/val.txt'
SALIENT_LIST = 'ImageSets/Segmentation/val_horses.txt'  # images with one object each
COCO_FOLDERS = ('.', 'coco')
VOID = 255
LABELLED = dict(above=0, ignore_index=VOID)  # every labelled pixel is the object
NUM_PICTURES = 5
# package -> file in it -> title, author and licence, as the package states them
PHOTOGRAPHS = dict(
    sklearn={
        'datasets/images/flower.jpg': 'Flower: vultilion, CC BY 2.0, in scikit-learn',
        'datasets/images/china.jpg': 'Summer palace: danielbuechele, CC BY 2.0, in scikit-learn',
    },
    skimage={
        'data/rocket.jpg': 'Rocket: SpaceX, public domain, in scikit-image',
        'data/chelsea.png': 'Cat: Stefan van der Walt, CC0, in scikit-image',
        'data/coffee.png': 'Coffee: Rachel Michetti, CC0, in scikit-image',
        'data/astronaut.png': 'Eileen Collins: NASA, public domain, in scikit-image',
        'data/camera.png': 'Photographer: Lav Varshney, CC0, in scikit-image',
    },
    matplotlib={'mpl-data/sample_data/grace_hopper.jpg': 'Grace Hopper: U.S. Navy, public domain, in matplotlib'},
)


@dataclass(frozen=True)
class ImageSet:
    """A data set on disk, and the images of it that are measured."""

    config: Path  # its protocol, below the config root
    changes: dict  # changes of the config's test_dataloader.dataset
    images: list[Path]  # files of all images
    targets: list[Path]  # label maps of all images; empty for a data set without label maps
    chosen: list[int]  # positions of the images that are measured, evenly spaced

    @property
    def classes(self) -> Sequence[str]:
        """Return the names of the classes of ``targets``."""
        from mmseg.datasets import PascalVOCDataset  # here: it takes seconds, and not everyone has it

        return (self.changes.get('metainfo') or PascalVOCDataset.METAINFO)['classes']

    def read(self, index: int, size: Sequence[int]) -> np.ndarray:
        """Return image ``index``, resized to ``size`` (H, W): (H, W, 3) uint8 RGB."""
        return read_images(self.images[index], size)[0][1]

    def read_objects(self, index: int, size: Sequence[int]) -> np.ndarray:
        """Return where image ``index`` has a class, (H, W) bool; nowhere without label maps."""
        if not self.targets:
            return np.zeros(size, bool)
        labels = Image.fromarray(read_label_map(str(self.targets[index]), str(self.images[index])))
        labels = np.asarray(labels.resize((size[1], size[0]), Image.Resampling.NEAREST))
        return (labels > 0) & (labels != VOID)

    def measurement(self, model: CheckpointModel, size: Sequence[int], num_workers: int) -> Config:
        """Return the config that measures a model on the chosen images, resized to ``size`` (H, W)."""
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
            if transform.type == 'LoadImageOrSkip' and cfg.model.backbone.get('in_channels') == 1:
                transform.color_type = 'grayscale'
            if transform.type == 'Resize':
                transform.scale = (size[1], size[0])
        if self.config == SALIENCY_CONFIG:  # its protocol has images of their own size
            resize = dict(type='Resize', scale=(size[1], size[0]), backend='pillow', interpolation='lanczos')
            loader.dataset.pipeline.insert(1, resize)  # before the label map, which keeps its size
            loader.batch_size, cfg.model.layer = 8, -1
            cfg.test_evaluator = [dict(type='Saliency', **LABELLED), dict(type='CorLoc', from_map=True, **LABELLED)]
        return cfg


@dataclass(frozen=True)
class StudyImages:
    """The images that every model is measured on, and the pictures that are shown."""

    size: tuple[int, int]  # (H, W) that images are resized to
    voc: ImageSet | None  # data set in VOC layout, for coarse segmentation
    coco: ImageSet | None  # data set in COCO layout, for MaskCut
    pictures: list[np.ndarray]  # some of the images, of VOC's if there are any, (H, W, 3) uint8 RGB each
    objects: list[np.ndarray]  # where an object is in each of them, (H, W) bool; nowhere if the data set does not say


def find_images(roots: Sequence[Path], size: Sequence[int], max_images: int | None = None) -> StudyImages:
    """Find the first data set of each layout below some folders; of each at most ``max_images``, resized to ``size``.

    No data set, or no library that reads it, is a UserError.
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
    pictures, objects = ([read(i, size) for i in shown] for read in (data.read, data.read_objects))
    return StudyImages(tuple(size), voc, coco, pictures, objects)


def find_voc(roots: Iterable[Path], max_images: int | None = None) -> ImageSet | None:
    """Return the first data set in VOC layout: in a folder, its ``VOC2012`` or ``VOCdevkit/VOC2012``."""
    for root in (Path(root, folder) for root in roots for folder in VOC_FOLDERS):
        if (root / VOC_LIST).is_file():
            names = [*filter(None, map(str.strip, (root / VOC_LIST).read_text().splitlines()))]  # may hold blanks
            changes = dict(data_root=str(root), ann_file=VOC_LIST)
            if (root.parent / MARKER).is_file():  # PascalVOCDataset knows no classes but VOC's
                changes.update(type='BaseSegDataset', metainfo=SEGMENTATION_METAINFO)
            return _voc_set(VOC_CONFIG, changes, names, max_images)
    return None


def _voc_set(config: Path, changes: dict, names: Sequence[str], max_images: int | None) -> ImageSet:
    root = Path(changes['data_root'])
    images = [root / 'JPEGImages' / f'{name}.jpg' for name in names]
    targets = [root / 'SegmentationClass' / f'{name}.png' for name in names]
    return ImageSet(config, changes, images, targets, spread_evenly(len(names), max_images))


def find_coco(roots: Iterable[Path], max_images: int | None = None) -> ImageSet | None:
    """Return the first data set in COCO layout, in a folder or its ``coco``; validation counts before training."""
    for root in (Path(root, folder) for root in roots for folder in COCO_FOLDERS):
        for file in sorted(root.glob('annotations/instances_*.json'), reverse=True):
            split = file.stem.removeprefix('instances_')
            if (root / split).is_dir():
                content = read_coco(str(file), masks=True)
                check_names(content, str(file))
                names = [image['file_name'] for image in content['images']]
                if not names:
                    raise UserError(f'{file}: has no images')
                ann_file, prefix = f'annotations/{file.name}', dict(img=f'{split}/')
                changes = dict(data_root=str(root), ann_file=ann_file, data_prefix=prefix)
                images = [root / split / name for name in names]
                return ImageSet(COCO_CONFIG, changes, images, [], spread_evenly(len(names), max_images))
    return None


def salient_images(voc: ImageSet) -> ImageSet:
    """Return the images of a data set in VOC layout whose labelled pixels are one object each.

    They are in ``val_horses.txt``. Without that list, they are the measured images, and an object may have parts.
    """
    root = Path(voc.changes['data_root'])
    prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
    changes = dict(data_root=str(root), ann_file=voc.changes['ann_file'], data_prefix=prefix)
    if not (root / SALIENT_LIST).is_file():
        return replace(voc, config=SALIENCY_CONFIG, changes=changes)
    names = (root / SALIENT_LIST).read_text().split()
    return _voc_set(SALIENCY_CONFIG, dict(changes, ann_file=SALIENT_LIST), names, len(voc.chosen))


def object_shares(voc: ImageSet) -> list[dict[str, float]]:
    """Return of each chosen image {class: share of the pixels that are not void}: the IoU of a whole-image mask."""
    names, shares = voc.classes, []
    for i in voc.chosen:
        labels = read_label_map(str(voc.targets[i]), str(voc.images[i]))
        check_labels(labels, str(voc.targets[i]), len(names), VOID)
        found, counts = np.unique(labels[labels != VOID], return_counts=True)
        shares.append({names[index]: count / counts.sum() for index, count in zip(found, counts) if index})
    return shares


def whole_image_miou(shares: Sequence[Mapping[str, float]]) -> float:
    """Return the mIoU of a whole-image mask in percent, from the result of :func:`object_shares`."""
    return 100 * float(np.mean([np.mean([*image.values()]) for image in shares if image]))


def packaged_photographs() -> dict[Path, str]:
    """Return {file: title, author and licence} of the free photographs that lie in installed packages."""
    specs = {package: find_spec(package) for package in PHOTOGRAPHS}
    folders = {package: Path(spec.origin).parent for package, spec in specs.items() if spec and spec.origin}
    files = {folders[package] / name: text for package in folders for name, text in PHOTOGRAPHS[package].items()}
    return {path: text for path, text in files.items() if path.is_file()}


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with its longer side resized to ``side`` pixels by PIL's Lanczos filter."""
    return mmcv.imresize(image, fitted_size(image, side), interpolation='lanczos', backend='pillow')


def fitted_size(image: np.ndarray, side: int) -> tuple[int, int]:
    """Return (width, height) of an image (H, W, 3) whose longer side becomes ``side``; mmcv rounds one row to none."""
    height, width = (max(1, int(length * side / max(image.shape[:2]) + 0.5)) for length in image.shape[:2])
    return width, height


def read_images(source: Path, size: Sequence[int] | None = None) -> list[tuple[Path, np.ndarray]]:
    """Return all images at once; see :func:`iterate_images`."""
    return list(iterate_images(source, size))


def iterate_images(
    source: Path, size: Sequence[int] | None = None, report: Progress | None = None
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield path and image (H, W, 3) uint8 RGB, upright by its EXIF orientation, of one image after the other.

    Unreadable images are named, counted and left out. No readable image at all is a UserError.

    Args:
        source: An image, a folder (searched with all its folders, sorted by path) or a text file with a path per line.
        size: (H, W) that images are resized to by PIL's Lanczos filter, as in the protocol of MaskCut; default: none.
        report: Shows progress and names skipped images; default: only names them.
    """
    source, report = Path(source), report or Progress('images', shows_progress=False)
    if source.is_file() and source.name.lower().endswith(IMG_EXTENSIONS):
        paths = [source]
    else:
        listed = list_images(source, Path(tempfile.gettempdir()))
        paths = [listed.root / name for name in listed]
    unreadable = 0
    with report:
        report.begin(total=len(paths), done=0)
        for path in paths:
            try:
                image = LoadImageOrSkip(skip=False)(dict(img_path=str(path)))['img'][..., ::-1]
            except OSError as error:
                report.say(f'unreadable, left out: {printable(path)} ({error.__cause__ or error})')
                unreadable += 1
            else:
                if size is not None:
                    image = mmcv.imresize(image, (size[1], size[0]), interpolation='lanczos', backend='pillow')
                yield path, np.ascontiguousarray(image)
            report.advance(1)
    if unreadable == len(paths):
        raise UserError(f'no readable image in {source}')
    if unreadable:
        report.say(f'unreadable, left out: {unreadable} of {len(paths)} images')
