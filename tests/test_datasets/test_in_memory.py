"""ImagesInMemory: what batches hold, against the files and against one image at a time."""

import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

SIZE = (12, 16)  # h, w
COUNT = 6


@pytest.fixture
def folder(tmp_path):
    """Three classes of two images, each of one colour per half: left and right are told apart."""
    for index in range(COUNT):
        image = np.full((*SIZE, 3), 20 * index, np.uint8)
        image[:, SIZE[1] // 2 :] = 20 * index + 10
        mmcv.imwrite(image, str(tmp_path / 'train' / f'n{index // 2}' / f'{index}.png'))
    return tmp_path


def make(folder, loading=(), **changes):
    init_default_scope('mmpretrain')
    pipeline = [dict(type='LoadImageOrSkip', **dict(loading)), dict(type='PackInputs')]
    paths = dict(data_root=str(folder), data_prefix='train', pipeline=pipeline)
    dataset = DATASETS.build(dict(type='ImagesInMemory', size=SIZE, **paths, **changes))
    dataset.full_init()
    return dataset


WHOLE = dict(crop_ratio_range=(1, 1), aspect_ratio_range=(SIZE[1] / SIZE[0],) * 2)


def test_whole_images_are_those_on_disk(folder):
    dataset = make(folder, flip_prob=0, **WHOLE)
    batch = dataset.__getitems__([4, 1])
    for image, index in zip(batch['inputs'], [4, 1]):
        expected = dataset.dataset[index]['inputs'].float()
        # points at the border of the two halves are averages of both
        inner = [*range(7), *range(9, 16)]
        torch.testing.assert_close(image[..., inner], expected[..., inner], atol=1e-3, rtol=0)
    (labels,) = batch['data_samples']
    assert labels.gt_label.tolist() == [2, 0]


def test_flip_exchanges_left_and_right(folder):
    never, always = (make(folder, flip_prob=prob, **WHOLE).__getitems__([3])['inputs'] for prob in (0, 1))
    assert torch.equal(always, never.flip(3))
    assert never[0, 0, 0, 0] < never[0, 0, 0, -1]


def test_crops_have_the_area_and_the_aspect_that_were_asked_for(folder):
    dataset = make(folder, crop_ratio_range=(0.3, 0.6), aspect_ratio_range=(0.8, 1.25))
    number, x1, y1, x2, y2 = dataset._draw_boxes(2000, SIZE).T
    assert number.tolist() == [*range(2000)]
    area, aspect = (x2 - x1) * (y2 - y1) / (SIZE[0] * SIZE[1]), (x2 - x1) / (y2 - y1)
    fits = y2 - y1 < SIZE[0]  # the others were cut to the height
    assert fits.float().mean() > 0.8
    assert area.max() <= 0.6 + 1e-5 and area[fits].min() >= 0.3 - 1e-5
    assert aspect[fits].min() >= 0.8 - 1e-5 and aspect.max() <= 1.25 + 1e-5
    assert area.max() > 0.59 and aspect[fits].min() < 0.81  # all of the range
    assert x1.min() >= 0 and y1.min() >= 0 and x2.max() <= SIZE[1] + 1e-4 and y2.max() <= SIZE[0] + 1e-4
    assert x2.max() > SIZE[1] - 0.2 and y2.max() > SIZE[0] - 0.2 and x1.min() < 0.2  # all places


def test_size_is_height_and_width_and_may_change(folder):
    dataset = make(folder)
    dataset.size = (6, 10)
    assert dataset.__getitems__([0, 1, 2])['inputs'].shape == (3, 3, 6, 10)
    dataset.size = 8
    assert dataset.__getitems__([0])['inputs'].shape == (1, 3, 8, 8)


def test_small_images_are_averages(folder):
    dataset = make(folder, flip_prob=0, **WHOLE)
    dataset.size = (SIZE[0] // 2, SIZE[1] // 2)
    small = dataset.__getitems__([5])['inputs'][0, 0]
    assert small[:, :4].unique().tolist() == [100] and small[:, 4:].unique().tolist() == [110]


def test_a_classifier_trains_on_its_batches(folder):
    """Head and preprocessor of mmpretrain read one data sample for all; the loss is that of a list of samples."""
    from mmengine.registry import MODELS

    dataset = make(folder, flip_prob=0, **WHOLE)
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            dataset=dataset,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='torch.utils.data.default_convert'),
        )
    )
    first, second = loader
    assert [len(batch['inputs']) for batch in (first, second)] == [4, 2]
    backbone = dict(type='CRATE', arch=dict(embed_dims=8, num_heads=2, num_layers=1), img_size=SIZE, patch_size=4)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            head=dict(type='LinearClsHead', num_classes=3, in_channels=8),
            data_preprocessor=dict(mean=[100.0] * 3, std=[50.0] * 3, to_rgb=True, num_classes=3),
        )
    )
    inputs = model.data_preprocessor(first, training=True)
    together = model(**inputs, mode='loss')['loss']
    (sample,) = inputs['data_samples']
    samples = [type(sample)(gt_label=label[None]) for label in sample.gt_label]
    assert torch.equal(together, model(inputs['inputs'], samples, mode='loss')['loss'])


def test_class_names_are_those_of_the_data_set(folder):
    dataset = make(folder)
    assert [*dataset.CLASSES] == [*dataset.metainfo['classes']] == ['n0', 'n1', 'n2']
    assert len(dataset) == COUNT


def test_images_of_two_sizes_are_named(folder):
    mmcv.imwrite(np.zeros((16, 12, 3), np.uint8), str(folder / 'train' / 'n1' / '9.png'))
    with pytest.raises(ValueError, match=r'n1/9\.png has .*\(3, 16, 12\) and the first image \(3, 12, 16\)'):
        make(folder)


def test_floats_are_refused(folder):
    with pytest.raises(ValueError, match=r'the pipeline gives torch\.float32; images must be uint8'):
        make(folder, loading=dict(to_float32=True))


def test_workers_are_refused(folder):
    loader = torch.utils.data.DataLoader(make(folder), batch_size=2, num_workers=1, collate_fn=lambda batch: batch)
    with pytest.raises(RuntimeError, match='num_workers=0'):
        next(iter(loader))
