"""What was written is read back by the host libraries' own data sets and pipelines, and compared with the drawings."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from projects.crate.sample_set.coats import METAINFO, SEGMENTATION_METAINFO
from projects.crate.sample_set.write import SampleSpec, make_sample_set, render_sample

SINGLE = SampleSpec(train=16, val=8, size=(32, 24), max_objects=1, seed=1)
SCENES = SampleSpec(train=24, val=8, size=(48, 64), max_objects=4, seed=1)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('sample')
    for layout, spec in (('imagenet', SINGLE), ('voc', SCENES), ('coco', SCENES)):
        make_sample_set(out, layout, spec)
    return out


def drawn_classes(sample):
    """(H, W): class + 1 of each pixel."""
    return ((sample.labels + 1)[:, None, None] * sample.masks).sum(0)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmpretrain_reads_the_imagenet_layout(root, split):
    datasets = pytest.importorskip('mmpretrain.datasets')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    dataset = datasets.ImageNet(data_root=str(root / 'imagenet'), split=split, metainfo=METAINFO, pipeline=pipeline)
    assert len(dataset) == getattr(SINGLE, split)
    assert tuple(dataset.CLASSES) == tuple(METAINFO['classes'])
    for entry in dataset:
        index = int(entry['data_samples'].img_path[-10:-4])
        sample = render_sample(SINGLE, split, index)
        assert entry['data_samples'].gt_label.item() == sample.labels[0]
        assert np.array_equal(entry['inputs'].permute(1, 2, 0).numpy()[..., ::-1], sample.image)


def test_folder_names_alone_give_the_same_labels(root):
    datasets = pytest.importorskip('mmpretrain.datasets')
    dataset = datasets.CustomDataset(data_root=str(root / 'imagenet'), data_prefix='val')
    assert tuple(dataset.CLASSES) == tuple(METAINFO['classes'])


def load_segmentation(dataset):
    for entry in dataset:
        packed = entry['data_samples']
        yield packed.img_path, entry['inputs'].permute(1, 2, 0).numpy()[..., ::-1], packed.gt_sem_seg.data[0].numpy()


SEGMENTATION_PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]


def test_mmseg_reads_the_masks_beside_the_imagenet_layout(root):
    datasets = pytest.importorskip('mmseg.datasets')
    init_default_scope('mmseg')
    dataset = datasets.BaseSegDataset(
        data_root=str(root / 'imagenet'),
        data_prefix=dict(img_path='val', seg_map_path='masks/val'),
        img_suffix='.png',
        metainfo=SEGMENTATION_METAINFO,
        pipeline=SEGMENTATION_PIPELINE,
    )
    assert len(dataset) == SINGLE.val
    for path, image, mask in load_segmentation(dataset):
        sample = render_sample(SINGLE, 'val', int(path[-10:-4]))
        assert np.array_equal(image, sample.image)
        assert np.array_equal(mask, drawn_classes(sample))


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize(
    'name, metainfo', [('BaseSegDataset', SEGMENTATION_METAINFO), ('PascalVOCDataset', None)], ids=['ours', 'voc']
)
def test_mmseg_reads_the_voc_layout(root, split, name, metainfo):
    datasets = pytest.importorskip('mmseg.datasets')
    init_default_scope('mmseg')
    dataset = getattr(datasets, name)(
        data_root=str(root / 'VOCdevkit' / 'VOC2012'),
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file=f'ImageSets/Segmentation/{split}.txt',
        metainfo=metainfo,
        pipeline=SEGMENTATION_PIPELINE,
    )
    assert len(dataset) == getattr(SCENES, split)
    for index, (_, image, mask) in enumerate(load_segmentation(dataset)):
        sample = render_sample(SCENES, split, index)
        assert np.array_equal(mask, drawn_classes(sample))
        assert np.abs(image.astype(int) - sample.image).mean() < 4  # JPEG


def test_object_masks_number_the_objects_of_the_voc_layout(root):
    image = pytest.importorskip('PIL.Image')
    several = 0
    for index in range(SCENES.train):
        sample = render_sample(SCENES, 'train', index)
        path = root / 'VOCdevkit' / 'VOC2012' / 'SegmentationObject' / f'train_{index:06d}.png'
        with image.open(path) as objects:
            found = np.array(objects)
        for number, mask in enumerate(sample.masks, start=1):
            assert np.array_equal(found == number, mask)
        several += len(sample.masks) > 1
    assert several > 5


@pytest.mark.parametrize('split', ['train', 'val'])
def test_mmdet_reads_the_coco_layout(root, split):
    datasets = pytest.importorskip('mmdet.datasets')
    init_default_scope('mmdet')
    dataset = datasets.CocoDataset(
        data_root=str(root / 'coco'),
        data_prefix=dict(img=f'{split}2017/'),
        ann_file=f'annotations/instances_{split}2017.json',
        metainfo=METAINFO,
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs'),
        ],
    )
    assert len(dataset) == getattr(SCENES, split)
    for index, entry in enumerate(dataset):
        sample = render_sample(SCENES, split, index)
        truth = entry['data_samples'].gt_instances
        assert entry['data_samples'].img_id == index + 1
        assert truth.labels.tolist() == sample.labels.tolist()
        assert np.array_equal(truth.masks.masks, sample.masks)
        for box, mask in zip(truth.bboxes.tensor.tolist(), sample.masks):
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(entry['inputs'].permute(1, 2, 0).numpy()[..., ::-1].astype(int) - sample.image).mean() < 4


def test_pycocotools_agrees_with_its_own_masks_on_areas_and_boxes(root):
    coco = pytest.importorskip('pycocotools.coco').COCO(str(root / 'coco' / 'annotations' / 'instances_train2017.json'))
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(METAINFO['classes'])
    annotations = coco.loadAnns(coco.getAnnIds())
    assert {(image['height'], image['width']) for image in coco.imgs.values()} == {SCENES.size}
    assert len(annotations) > SCENES.train
    for annotation in annotations:
        mask = coco.annToMask(annotation)
        assert mask.shape == SCENES.size
        assert annotation['area'] == mask.sum() and annotation['iscrowd'] == 0
        x, y, width, height = (int(value) for value in annotation['bbox'])
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
        assert mask[y].any() and mask[y + height - 1].any() and mask[:, x].any() and mask[:, x + width - 1].any()


def test_a_perfect_detector_scores_one(root):
    """Evaluation end to end: the annotations, given as results, have AP 1 for boxes and masks."""
    coco_module, evaluation = pytest.importorskip('pycocotools.coco'), pytest.importorskip('pycocotools.cocoeval')
    truth = coco_module.COCO(str(root / 'coco' / 'annotations' / 'instances_val2017.json'))
    results = [dict(one, score=0.9) for one in truth.dataset['annotations']]
    found = truth.loadRes(
        [{key: one[key] for key in ('image_id', 'category_id', 'segmentation', 'score')} for one in results]
    )
    scorer = evaluation.COCOeval(truth, found, 'segm')
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    assert scorer.stats[0] == pytest.approx(1.0)
