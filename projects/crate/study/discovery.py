"""From masks without labels to a detector: the configs of its trainings, its evaluation, and the page at the end."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, MODELS, init_default_scope
from pycocotools import mask as coco_mask

from ..datasets.image_list import quote
from ..engine.launch import read_config
from ..engine.resume import last_checkpoint
from ..errors import UserError
from ..evaluation.coco_file import check_names, read_coco
from ..files import atomic
from ..models.features import patch_size
from ..pseudo_labels import backbone_config, count_sources
from ..pseudo_labels.merge import count_entries
from ..pseudo_labels.parts import read_by_image
from .comparison import masks_figure
from .curves import curve_figure, read_scalars
from .images import read_images as read_pixels
from .page import write_page
from .tables import Table, with_interval

NUM_RESAMPLES = 1000  # draws of the images behind the intervals of AP
NUM_PICTURES = 6
ITEMS = {'mAP_50': 'AP50', 'mAP_75': 'AP75', 'mAP': 'AP', 'AR@100': 'AR100'}


def write_once(path: Path, text: str) -> None:
    """Write a file, unless it is there with this text. Another text is of a run with other settings: a UserError."""
    if not path.exists():
        with atomic(path) as part:
            part.write_text(text, encoding='utf-8', errors='surrogateescape')
    elif path.read_text(encoding='utf-8', errors='surrogateescape') != text:
        raise UserError(f'{path} is of a run with other settings: choose another --out, or remove its folder')


def frozen_backbone(name: str | None, config: str | None, checkpoint: str | None) -> dict:
    """Return the model settings of a detector on a ``FrozenViT``, such as our default, for the ViT that cuts the masks.

    Strides of the pyramid are half a patch and its doubles. The arguments are ``--backbone``, or else ``--config`` and
    ``--checkpoint``, of ``tools/maskcut.py``.
    """
    cfg = backbone_config(name) if name else read_config(str(config))
    if cfg.model.type != 'MaskCutDetector':
        raise UserError(f'{config}: no config of configs/maskcut; name a detector with --detector')
    vit = cfg.model.backbone.to_dict()  # plain: its ``repr`` goes into a config
    if checkpoint:
        vit['init_cfg'] = dict(type='Pretrained', checkpoint=str(Path(checkpoint).resolve()), prefix='backbone.')
    init_default_scope('mmdet')
    frozen = MODELS.build(dict(type='FrozenViT', backbone={**vit, 'init_cfg': None} if checkpoint else vit))
    patch = patch_size(frozen.backbone)[0]
    width = frozen(torch.zeros(1, 3, 2 * patch, 2 * patch))[0].shape[1]
    finest = patch if patch % 2 else patch // 2
    strides = [finest << octave for octave in range(5)]
    roi = dict(featmap_strides=strides[:4], finest_scale=14 * finest)
    return dict(
        data_preprocessor={key: cfg.model.data_preprocessor[key] for key in ('mean', 'std', 'bgr_to_rgb')},
        backbone=dict(backbone=dict(_delete_=True, **vit)),
        neck=dict(in_channels=width, in_stride=patch, out_strides=strides),
        rpn_head=dict(anchor_generator=dict(strides=strides)),
        roi_head=dict(bbox_roi_extractor=roi, mask_roi_extractor=roi),
    )


def write_config(
    path: Path, base: str, images: Path, labels: Path, source: Sequence[str | None], load_from: Path | None
) -> None:
    """Write the config of one training: a detector's config on the masks of a folder of images, without validation.

    If the detector has the backbone ``FrozenViT``, that becomes the ViT that cut the masks.

    ``base`` is the config of the detector, with any data set of mmdet's ``CocoDataset``; ``labels`` is the COCO file of
    the masks, ``source`` the arguments of :func:`frozen_backbone`, and ``load_from`` a checkpoint to start from.
    """
    cfg = read_config(base)
    data = dict(
        data_root=str(images.resolve()),
        ann_file=str(labels.resolve()),
        data_prefix=dict(img=''),
        metainfo=dict(classes=('object',), palette=[(220, 20, 60)]),
    )
    dataset = cfg.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset, data = dataset.dataset, dict(dataset=data)
    settings = dict(
        _base_=str(Path(base).resolve()),
        model=frozen_backbone(*source) if cfg.model.backbone.type == 'FrozenViT' else {},
        train_dataloader=dict(dataset=data),
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
        load_from=load_from and str(load_from.resolve()),
    )
    lines = [f'{key} = {value!r}' for key, value in settings.items() if value != {}]
    write_once(path, '\n'.join(['# Written by tools/discover.py.', *lines, '']))


def write_image_list(truth: Path, path: Path) -> None:
    """Write the names of the images of a COCO file as a list for tools/maskcut.py."""
    write_once(path, ''.join(f'{quote(name)}\n' for name in _named_images(truth)))


def _named_images(truth: Path) -> dict[str, int | str]:
    """Return {name: id} of the images of a COCO file with masks."""
    content = read_coco(str(truth), masks=True)
    check_names(content, str(truth))
    ids = {image['file_name']: image['id'] for image in content['images']}
    if len(ids) < len(content['images']):
        raise UserError(f'{truth}: two of its images have one file_name, so their masks cannot be told apart')
    return ids


def evaluate(predictions: Path, truth: Path) -> dict[str, float]:
    """Compare a file of tools/maskcut.py with annotations, class-agnostically, by the names of the images.

    The result is that of ``ClassAgnosticCocoMetric``, with intervals: 'bbox_mAP_50', 'bbox_mAP_50_low', ... Files whose
    images differ are a UserError.
    """
    ids = _named_images(truth)
    settings = dict(metric=['bbox', 'segm'], metric_items=list(ITEMS), num_resamples=NUM_RESAMPLES)
    metric = METRICS.build(dict(type='ClassAgnosticCocoMetric', ann_file=str(truth), **settings))
    for image, here in read_by_image(predictions):
        if image['file_name'] not in ids:
            raise UserError(f'{truth}: no image {image["file_name"]!r}')
        boxes = torch.tensor([one['bbox'] for one in here], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = dict(
            bboxes=boxes,
            scores=torch.tensor([one['score'] for one in here], dtype=torch.float32),
            labels=torch.zeros(len(here), dtype=torch.long),
            masks=[one['segmentation'] for one in here],
        )
        size = image['height'], image['width']
        metric.process({}, [dict(img_id=ids.pop(image['file_name']), ori_shape=size, pred_instances=instances)])
    if ids:
        raise UserError(
            f'{predictions}: no image {next(iter(ids))!r}, one of {len(ids)} of {truth} that could not be read: mend '
            f'them, and remove {predictions}'
        )
    metric.dataset_meta = dict(classes=('object',))
    results = metric.evaluate(len(metric.results))
    return {key.removeprefix('coco/'): float(value) for key, value in results.items()}


def discovery_page(
    out: Path,
    images: Path,
    labels: Mapping[str, Path],
    predictions: Mapping[str, Path],
    trainings: Mapping[str, Path],
    results: Mapping[str, Mapping[str, float]],
    commands: Sequence[str],
) -> Path:
    """Write ``out/index.html`` and return its path.

    By 'MaskCut' and the rounds, ``labels`` are the masks that the next training learnt from, and ``predictions`` what
    the masks of a round were made from. ``trainings`` are the work folders of the detectors, and ``results``, which may
    be empty, what :func:`evaluate` returned for MaskCut and the detectors.
    """
    counts = {name: count_entries(path) for name, path in labels.items()}
    sources = {name: count_sources(labels[name], path) for name, path in predictions.items()}
    rows = [
        [name, number, masks, f'{masks / number:.2f}', *sources.get(name, ('', ''))]
        for name, (number, masks) in counts.items()
    ]
    columns = 'masks', 'images', 'masks in all', 'masks per image', 'predictions kept', 'old masks that stayed'
    losses = {name: read_scalars(folder, 'loss') for name, folder in trainings.items()}
    kinds = dict(bbox='box', segm='mask')
    header = ['', *(f'{kind} {item}' for kind in kinds.values() for item in ITEMS.values())]
    page = out / 'index.html'
    write_page(
        page,
        'discovery',
        images=str(images),
        counts=Table(columns, rows),
        results=Table(header, [[name, *_cells(found, kinds)] for name, found in results.items()]),
        has_results=bool(results),
        losses=curve_figure(losses, 'iteration', 'training loss'),
        pictures=_pictures(images, labels, counts['MaskCut'][0]),
        commands=commands,
    )
    return page


def _cells(found: Mapping[str, float], kinds: Sequence[str]) -> Iterator[str]:
    for kind in kinds:
        for item in ITEMS:
            yield with_interval([100 * found[f'{kind}_{item}{end}'] for end in ('', '_low', '_high')], '.1f')


def _pictures(images: Path, labels: Mapping[str, Path], number: int) -> object:
    """Draw evenly spaced images, of a number of them, under the masks of each file."""
    places = {int(place) for place in np.linspace(0, number - 1, min(NUM_PICTURES, number))}
    pixels, masks = {}, {}
    for name, path in labels.items():
        masks[name] = []
        for place, (image, annotations) in enumerate(read_by_image(path)):
            if place in places:
                if place not in pixels:
                    pixels[place] = read_pixels(images / image['file_name'])[0][1]
                masks[name].append([coco_mask.decode(one['segmentation']).astype(bool) for one in annotations])
    return masks_figure([*pixels.values()], masks)


def is_finished(work_dir: Path, config: Path) -> bool:
    """Return whether the last checkpoint of a training is that of its last epoch or iteration."""
    if not (work_dir / 'last_checkpoint').is_file():
        return False
    loop = Config.fromfile(config).train_cfg
    kind, length = ('epoch', loop.get('max_epochs')) if loop.get('max_epochs') else ('iter', loop.get('max_iters'))
    return last_checkpoint(work_dir).name == f'{kind}_{length}.pth'
