import itertools
import logging

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement, PixelData
from oracle_coarse_seg import averages, masks_of, pixel_iou, token_labels

from projects.crate.evaluation import coarse_segmentation

NAMES = ('background', 'cat', 'dog', 'bird')
PATCH = (4, 3)


def evaluator(**options):
    built = Evaluator(dict(type='BestHeadIoU', **options))
    built.dataset_meta = dict(classes=NAMES, reduce_zero_label=False)
    return built


def sample(maps, target, image, **meta):
    """A prediction of AttentionSegmentor for an image that was resized to ``image``, (height, width)."""
    element = BaseDataElement(metainfo=dict(img_shape=image, patch_size=PATCH, seg_map_path='7.png', **meta))
    element.cls_attention = {layer: torch.from_numpy(heads) for layer, heads in maps.items()}
    element.gt_sem_seg = PixelData(data=torch.from_numpy(target)[None])
    return element


def random_samples(layers=(2, 5), labels=(0, 1, 3, 255)):
    """Images of several sizes, the last of them without a class."""
    rng = np.random.default_rng(0)
    cases = []
    for image, size in [((12, 12), (17, 23)), ((11, 16), (8, 9)), ((8, 6), (8, 6))]:
        grid = tuple(-(-side // step) for side, step in zip(image, PATCH))
        maps = {layer: rng.random((2, *grid), dtype=np.float32) ** 3 for layer in layers}
        cases.append((maps, rng.choice(labels, size), image))
    return [*cases, (cases[-1][0], np.zeros((8, 6), int), (8, 6))]


def expected_of(cases, layer, rule, resolution):
    """The slow version, on one layer."""
    scores = []
    for maps, target, image in cases:
        masks = masks_of(maps[layer], rule, 0.6)
        if resolution == 'token':
            target = token_labels(target, masks.shape[1:], image, PATCH)
        else:
            masks = masks.repeat(PATCH[0], 1).repeat(PATCH[1], 2)[:, : image[0], : image[1]]
        scores.append(pixel_iou(masks, target))
    return averages(scores, NAMES)


@pytest.mark.parametrize('resolution', ['image', 'token'])
@pytest.mark.parametrize('rule', ['mass', 'top'])
def test_equals_the_slow_version(rule, resolution):
    metric, cases = evaluator(rule=rule, resolution=resolution), random_samples()
    for start in (0, 2):
        metric.process([sample(*case) for case in cases[start : start + 2]])
    expected = {
        f'coarse_seg/layer_{layer}/{key}': value
        for layer in (2, 5)
        for key, value in expected_of(cases, layer, rule, resolution).items()
    }
    assert metric.evaluate(len(cases)) == pytest.approx(expected)
    assert set(expected) >= {'coarse_seg/layer_5/mIoU', 'coarse_seg/layer_2/head_1', 'coarse_seg/layer_2/bird'}


def test_a_hand_made_case():
    """Two heads, two classes, two images; every number by mental arithmetic."""
    left, right = [[1.0, 0.0]], [[0.0, 1.0]]
    first = sample({0: np.array([left, right])}, np.array([[1, 1, 3, 3]]), (4, 6))  # head 0 the cat, head 1 the bird
    second = sample({0: np.array([left, left])}, np.array([[0, 255, 3, 3]]), (4, 6))  # both heads miss the bird
    metric = evaluator()
    metric.process([first, second])
    found = {key.removeprefix('coarse_seg/layer_0/'): value for key, value in metric.evaluate(2).items()}
    assert found == dict(mIoU=50, head_0=25, head_1=25, cat=100, bird=50)


@pytest.fixture
def log():
    """What is logged, as one text."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_instance('test_coarse_segmentation', log_level='INFO')
    logger.addHandler(handler)
    yield lambda: '\n'.join(lines)
    logger.removeHandler(handler)


def test_the_log_tells_what_was_chosen(log):
    metric, cases = evaluator(rule='top', share=0.5), random_samples()
    metric.process([sample(*case) for case in cases])
    found = metric.evaluate(len(cases))
    assert "rule 'top', share 0.5, image resolution; images without a class, left out: 1\n" in log()
    row = next(line for line in log().splitlines() if 'layer 5' in line)
    numbers = [found[f'coarse_seg/layer_5/{key}'] for key in ('mIoU', 'head_0', 'head_1')]
    assert row.replace('│', ' ').split() == ['layer', '5', *(f'{value:.1f}' for value in numbers)]


def test_the_log_tells_what_it_cost(log, monkeypatch):
    """A clock that advances by a second whenever it is read; the first batch and the time between runs do not count."""
    monkeypatch.setattr(coarse_segmentation, 'now', itertools.count().__next__)
    metric = evaluator()
    for batches, share in [(2, '33.3%'), (3, '40.0%')]:
        for _ in range(batches):
            metric.process([sample(*random_samples()[0])])
        metric.evaluate(batches)
        assert log().count(f'metric: {share} of the time') == 1


def test_evaluates_again_from_nothing():
    metric, cases = evaluator(), random_samples()
    for chosen in (cases[:1], cases[1:2], cases[:1]):
        metric.process([sample(*case) for case in chosen])
        found = metric.evaluate(1)
        assert found['coarse_seg/layer_2/mIoU'] == pytest.approx(expected_of(chosen, 2, 'mass', 'image')['mIoU'])


def test_no_image_with_a_class():
    metric = evaluator()
    metric.process([sample(*random_samples()[-1])])
    with pytest.raises(ValueError, match='none of the 1 images has a class'):
        metric.evaluate(1)


def test_a_label_without_a_name_is_reported_with_its_file():
    with pytest.raises(ValueError, match=r'^7.png: label 9 is not a class'):
        evaluator().process([sample(*random_samples(labels=(0, 9))[0])])


def test_background_must_be_a_label_of_its_own():
    metric = evaluator()
    metric.dataset_meta = dict(classes=NAMES, reduce_zero_label=True)
    with pytest.raises(ValueError, match='reduce_zero_label=False'):
        metric.process([sample(*random_samples()[0])])


@pytest.mark.parametrize('options', [dict(rule='most'), dict(share=1.5), dict(resolution='pixel')])
def test_bad_arguments_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        evaluator(**options)
