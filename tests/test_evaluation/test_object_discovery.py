"""CorLoc on boxes made by hand, saliency beside loops over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import METRICS

from projects.crate.errors import ArgumentError, UserError
from projects.crate.evaluation import CorLoc, Saliency
from projects.crate.evaluation.object_discovery import image_saliency


def evaluate(metric, samples):
    metric.process({}, samples)
    return metric.compute_metrics(metric.results)


def sample(found, truth, ignored=(), scores=None):
    boxes = [torch.tensor(one, dtype=torch.float32).reshape(-1, 4) for one in (found, truth, ignored)]
    scores = torch.ones(len(found)) if scores is None else torch.tensor(scores)
    return dict(
        pred_instances=dict(bboxes=boxes[0], scores=scores),
        gt_instances=dict(bboxes=boxes[1]),
        ignored_instances=dict(bboxes=boxes[2]),
    )


A, B, HALF_OF_A = (0, 0, 10, 10), (20, 20, 40, 30), (0, 0, 10, 5)


@pytest.mark.parametrize(
    'one, expected',
    [
        (sample([A], [B, A]), 100),
        (sample([HALF_OF_A], [A]), 100),  # an IoU of 0.5 is enough
        (sample([(0, 0, 10, 4.9)], [A]), 0),
        (sample([], [A]), 0),
        (sample([B, A], [A]), 0),  # of equal scores, the first
        (sample([B, A], [A], scores=[0.1, 0.2]), 100),
        (sample([A], [B], ignored=[A]), 0),
    ],
)
def test_an_image_is_correct_or_not(one, expected):
    assert evaluate(METRICS.build(dict(type='CorLoc')), [one]) == dict(CorLoc=expected)


def test_difficult_objects_count_if_told():
    assert evaluate(CorLoc(count_ignored=True), [sample([A], [B], ignored=[A])]) == dict(CorLoc=100)


def test_images_without_an_annotated_box_are_left_out():
    samples = [sample([A], []), sample([A], [A]), sample([B], [A]), sample([B], [A])]
    assert evaluate(CorLoc(), samples) == dict(CorLoc=pytest.approx(100 / 3))
    with pytest.raises(ArgumentError, match='no image with an annotated box'):
        evaluate(CorLoc(), samples[:1])
    with pytest.raises(ArgumentError, match='iou must be above 0'):
        CorLoc(iou=0)


def test_the_box_of_a_map():
    """The object is labelled 3, void pixels around it do not belong to it, and a map without an object is left out."""
    labels = torch.zeros(1, 20, 30, dtype=torch.uint8)
    labels[0, 2:6, 10:20], labels[0, 6:9, 10:20] = 3, 255
    one = dict(sample([(10, 2, 20, 6)], []), gt_sem_seg=dict(data=labels))
    wide = dict(sample([(10, 2, 20, 16)], []), gt_sem_seg=dict(data=labels))
    empty = dict(sample([A], []), gt_sem_seg=dict(data=torch.zeros_like(labels)))
    assert evaluate(CorLoc(from_map=True), [one, wide, empty]) == dict(CorLoc=50)
    with pytest.raises(ArgumentError, match='no image with an annotated box'):
        evaluate(CorLoc(from_map=True, above=3), [one])


def counted(found, truth, step):
    """Return true positives, false positives and false negatives of {found >= step / 255}, pixel by pixel."""
    pairs = [(round(255 * value) >= step, bool(is_object)) for value, is_object in zip(found.flat, truth.flat)]
    return [pairs.count(pair) for pair in ((True, True), (True, False), (False, True))]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([1, 3, 255]))
def test_an_image_beside_loops(seed, levels):
    """Maps of 256 grey values, of four, and of 0 and 1 alone."""
    rng = np.random.default_rng(seed)
    truth = rng.random((7, 5)) < rng.random()
    found = (rng.integers(0, levels + 1, (7, 5)) / levels).astype(np.float32)
    iou, accuracy, measures = image_saliency(found, truth)
    hits, false, missed = counted(found, truth, 128)
    assert accuracy == pytest.approx(1 - (false + missed) / 35)
    assert iou == pytest.approx(hits / (hits + false + missed) if hits + false + missed else 1)
    for step in (1, 2, 127, 128, 254, 255):
        hits, false, missed = counted(found, truth, step)
        precision, recall = hits / max(hits + false, 1), hits / max(hits + missed, 1)
        expected = 1.3 * precision * recall / (0.3 * precision + recall) if hits else 0
        assert measures[step - 1] == pytest.approx(expected)


def truth_of(values):
    return dict(data=torch.tensor(values, dtype=torch.uint8)[None])


def test_the_threshold_is_the_same_for_all_images():
    """The first image is best at 0.9, the second at 0.3; alone, both would have F = 1."""
    samples = [
        dict(gt_sem_seg=truth_of([[255, 0]]), pred_saliency=torch.tensor([[0.9, 0.6]])),
        dict(gt_sem_seg=truth_of([[255, 255]]), pred_saliency=torch.tensor([[0.9, 0.3]])),
    ]
    found = evaluate(METRICS.build(dict(type='Saliency')), samples)
    half = 1.3 * 0.5 / (0.3 * 0.5 + 1)  # P = 1/2, R = 1
    assert found == dict(IoU=50.0, accuracy=50.0, max_F=pytest.approx(100 * max((half + 1) / 2, (1 + 1.3 / 1.6) / 2)))


def test_the_union_of_the_masks_counts_and_void_pixels_do_not():
    masks = torch.tensor([[[True, False, False, True]], [[False, True, False, False]]])
    one = dict(gt_sem_seg=truth_of([[13, 13, 13, 255]]), pred_instances=dict(masks=masks))
    found = evaluate(Saliency(above=0, ignore_index=255), [one])
    assert (found['IoU'], found['accuracy']) == (pytest.approx(200 / 3), pytest.approx(200 / 3))
    nothing = dict(one, pred_instances=dict(masks=masks[:0]))
    assert evaluate(Saliency(above=0), [nothing]) == dict(IoU=0, accuracy=0, max_F=0)
    with pytest.raises(UserError, match=r'a.png: a prediction of \(1, 3\) for a map of \(1, 4\)'):
        evaluate(Saliency(), [dict(one, img_path='a.png', pred_instances=dict(masks=masks[..., :3]))])
    with pytest.raises(ArgumentError, match='no image was evaluated'):
        Saliency().compute_metrics([])
