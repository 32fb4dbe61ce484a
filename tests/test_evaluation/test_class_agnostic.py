"""ClassAgnosticCocoMetric against pycocotools by hand, with useCats = 0."""

import copy
import itertools
import json
import sys

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.registry import METRICS
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import projects.crate  # noqa: F401  (registers)
from projects.crate.errors import UserError
from projects.crate.study.sweep import headline

SIZE = (150, 210)  # h, w: objects of all three sizes of COCO fit
CATEGORIES = [dict(id=9, name='cat'), dict(id=4, name='dog'), dict(id=30, name='cow')]
META = dict(classes=('cat', 'dog', 'cow'))
STATS = ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l']
STATS += ['AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000']


def ellipse(y, x, height, width):
    """A mask (H, W) within the box."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return ((rows - y - height / 2) / height) ** 2 + ((columns - x - width / 2) / width) ** 2 <= 0.25


def encode(mask):
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(code, counts=code['counts'].decode())


def annotation(mask, image, category, crowd=0):
    code = encode(mask)
    area, box = int(coco_mask.area(code)), coco_mask.toBbox(code).tolist()
    return dict(image_id=image, category_id=category, segmentation=code, bbox=box, area=area, iscrowd=crowd)


def write(path, annotations, images):
    content = dict(
        images=[dict(id=image, file_name=f'{image}.jpg', height=SIZE[0], width=SIZE[1]) for image in images],
        annotations=[dict(one, id=number) for number, one in enumerate(annotations, start=1)],
        categories=CATEGORIES,
    )
    path.write_text(json.dumps(content))
    return str(path)


def sample(image, masks, scores, labels):
    """What a model returns for an image, as the test loop gives it to a metric."""
    masks = np.array(masks, dtype=bool).reshape(-1, *SIZE)
    boxes = [coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))) for mask in masks]
    boxes = torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32)
    boxes[:, 2:] += boxes[:, :2]
    instances = dict(
        masks=torch.from_numpy(masks), bboxes=boxes, scores=torch.tensor(scores), labels=torch.tensor(labels).long()
    )
    return dict(img_id=image, ori_shape=SIZE, pred_instances=instances)


def draw_ellipse(rng):
    least, most = [(12, 30), (45, 90), (120, 148)][rng.integers(3)]  # small, medium, large for COCO
    height, width = rng.integers(least, most, 2)
    return ellipse(rng.integers(SIZE[0] - height), rng.integers(SIZE[1] - width), height, width)


def shifted(mask, rng):
    return np.roll(mask, rng.integers(-3, 4, 2), axis=(0, 1))


def draw_set(path, seed):
    """Annotations with overlaps between classes and crowds, and predictions with ties, misses and false alarms."""
    rng = np.random.default_rng(seed)
    annotations, samples = [], []
    images = [12, 3, 77, 5, 40, 8, 21, 20]
    for image in images:
        truth = [draw_ellipse(rng) for _ in range(rng.integers(2, 6))]
        truth.append(shifted(truth[0], rng))  # almost the same place, perhaps another class
        crowds = rng.random(len(truth)) < 0.2
        categories = rng.choice([9, 4, 30], len(truth))
        annotations += [annotation(*one) for one in zip(truth, [image] * 9, categories.tolist(), crowds.tolist())]
        masks = [shifted(mask, rng) for mask in truth if rng.random() < 0.8] + [draw_ellipse(rng) for _ in range(3)]
        order = rng.permutation(len(masks))
        scores = rng.choice([0.2, 0.5, 0.9, 1.0], len(masks)).tolist()
        samples.append(sample(image, np.array(masks)[order], scores, rng.integers(0, 3, len(masks))))
    return write(path, annotations, images), samples


def by_hand(ann_file, samples, kind):
    """The 12 numbers of pycocotools, with useCats = 0."""
    truth = COCO(ann_file)
    predictions = []
    for one in samples:
        instances = one['pred_instances']
        for mask, box, score in zip(instances['masks'], instances['bboxes'].tolist(), instances['scores'].tolist()):
            prediction = dict(image_id=one['img_id'], category_id=9, score=score)
            if kind == 'segm':
                prediction['segmentation'] = encode(mask.numpy())
            else:
                prediction['bbox'] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            predictions.append(prediction)
    evaluation = COCOeval(truth, truth.loadRes(predictions), kind)
    evaluation.params.useCats = 0
    evaluation.params.maxDets = [100, 300, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {f'{kind}_{name}': value for name, value in zip(STATS, evaluation.stats)}


def evaluate(metric, samples):
    """As the runner does, in two batches."""
    metric.dataset_meta = META
    samples = copy.deepcopy(samples)
    metric.process({}, samples[:2])
    metric.process({}, samples[2:])
    results = metric.evaluate(len(samples))
    return {name.removeprefix('coco/'): value for name, value in results.items()}


def build(ann_file, **options):
    options = {**dict(metric=['bbox', 'segm']), **options}
    return METRICS.build(dict(type='ClassAgnosticCocoMetric', ann_file=ann_file, **options))


@pytest.mark.parametrize('seed', range(3))
def test_equals_pycocotools_without_categories(tmp_path, seed):
    ann_file, samples = draw_set(tmp_path / 'truth.json', seed)
    before = (tmp_path / 'truth.json').read_bytes()
    expected = by_hand(ann_file, samples, 'bbox') | by_hand(ann_file, samples, 'segm')
    results = evaluate(build(ann_file, metric_items=STATS, order='as given'), samples)
    assert results == pytest.approx(expected, rel=1e-12, abs=0)
    assert all(0 < value < 1 for value in results.values())  # no trivial case
    assert any(round(value, 3) != value for value in results.values())
    assert (tmp_path / 'truth.json').read_bytes() == before

    aware = evaluate(CocoMetric(ann_file, metric=['bbox', 'segm']), samples)
    plain = evaluate(build(ann_file), samples)
    assert plain.keys() == {*aware, 'bbox_AR@100', 'segm_AR@100'}
    assert all(aware[f'{kind}_mAP'] < results[f'{kind}_mAP'] - 0.01 for kind in ('bbox', 'segm'))


def renumbered(path, samples, names):
    """The annotation file beside ``path`` and the predictions, with other image ids; the images come in their order."""
    content = json.loads(path.read_text())
    annotations = [dict(one, image_id=names[one['image_id']]) for one in content['annotations']]
    others = sorted((dict(one, img_id=names[one['img_id']]) for one in samples), key=lambda one: one['img_id'])
    return write(path.with_name('other.json'), annotations, sorted(names.values())), others


@pytest.mark.parametrize('seed', range(3))
def test_numbers_do_not_depend_on_image_ids(tmp_path, seed):
    """All scores are equal, as MaskCut's: by pycocotools' own order another numbering gives other numbers."""
    ann_file, samples = draw_set(tmp_path / 'truth.json', seed)
    for one in samples:
        one['pred_instances']['scores'][:] = 1
    rng, ids = np.random.default_rng(seed), [one['img_id'] for one in samples]
    expected, given = (evaluate(build(ann_file, order=order), samples) for order in ('expected', 'as given'))
    assert evaluate(build(ann_file), samples[::-1]) == evaluate(build(ann_file), samples) == expected
    found = []
    for _ in range(3):
        other_file, others = renumbered(tmp_path / 'truth.json', samples, dict(zip(ids, rng.permutation(ids).tolist())))
        assert evaluate(build(other_file), others) == expected
        found.append(evaluate(build(other_file, order='as given'), others)['segm_mAP'])
        assert found[-1] == by_hand(other_file, others, 'segm')['segm_mAP']
    values = [given['segm_mAP'], *found]
    assert len({*values}) > 1 and min(values) < expected['segm_mAP'] < max(values)


def test_few_images_have_the_mean_over_all_numberings(tmp_path):
    ann_file, samples = draw_set(tmp_path / 'truth.json', 0)
    content, samples = json.loads((tmp_path / 'truth.json').read_text()), samples[:4]
    ids = [one['img_id'] for one in samples]
    annotations = [one for one in content['annotations'] if one['image_id'] in ids]
    ann_file = write(tmp_path / 'truth.json', annotations, ids)
    found = []
    for order in itertools.permutations(ids):
        other_file, others = renumbered(tmp_path / 'truth.json', samples, dict(zip(ids, order)))
        found.append(by_hand(other_file, others, 'bbox'))
    expected = {name: np.mean([each[name] for each in found]) for name in found[0]}
    assert evaluate(build(ann_file, metric='bbox', metric_items=STATS), samples) == pytest.approx(expected, rel=1e-12)


def drawn_again(path, content, samples, draw):
    """An annotation file, and predictions, with the images in ``draw`` under new ids, each as often as it is there."""
    by_image = {one['img_id']: one for one in samples}
    annotations = [
        dict(entry, image_id=new)
        for new, old in enumerate(draw, start=1)
        for entry in content['annotations']
        if entry['image_id'] == old
    ]
    images = range(1, len(draw) + 1)
    return write(path, annotations, images), [dict(by_image[old], img_id=new) for new, old in zip(images, draw)]


def test_intervals_are_those_of_files_with_the_images_drawn_again(tmp_path):
    """Every draw is written as an annotation file of its own and evaluated from scratch."""
    ann_file, samples = draw_set(tmp_path / 'truth.json', 1)
    samples[0] = sample(samples[0]['img_id'], [], [], [])
    content = json.loads((tmp_path / 'truth.json').read_text())
    content['annotations'] = [one for one in content['annotations'] if one['image_id'] != 3]
    ann_file = write(tmp_path / 'truth.json', content['annotations'], [one['id'] for one in content['images']])
    results = evaluate(build(ann_file, metric_items=STATS, num_resamples=6, order='as given'), samples)

    images = sorted(one['img_id'] for one in samples)
    expected = []
    for draw in np.sort(np.random.default_rng(0).integers(len(images), size=(6, len(images)))):
        again, predictions = drawn_again(tmp_path / 'again.json', content, samples, [images[i] for i in draw])
        expected.append(by_hand(again, predictions, 'bbox') | by_hand(again, predictions, 'segm'))
    for name in expected[0]:
        limits = np.percentile([each[name] for each in expected if each[name] != -1], [2.5, 97.5])
        assert [results[f'{name}_low'], results[f'{name}_high']] == pytest.approx(limits.tolist(), rel=1e-12, abs=0)
        assert results[f'{name}_low'] < results[f'{name}_high']
    assert any(-1 in each.values() for each in expected)  # a draw without small objects


def test_intervals_are_beside_the_same_metrics(tmp_path):
    """And no figure takes them for APs of their own."""
    ann_file, samples = draw_set(tmp_path / 'truth.json', 0)
    plain = evaluate(build(ann_file), samples)
    results = evaluate(build(ann_file, num_resamples=5), samples)
    assert {name: results[name] for name in plain} == plain
    assert results.keys() - plain.keys() == {f'{name}_{side}' for name in plain for side in ('low', 'high')}
    assert headline(results) == headline(plain)
    assert evaluate(build(ann_file, num_resamples=5), samples) == results


def test_intervals_where_nothing_is_found_or_to_be_found(tmp_path):
    ann_file = write(tmp_path / 'truth.json', [annotation(ellipse(10, 10, 20, 20), 1, 9)], [1, 2])
    empty = [sample(image, [], [], []) for image in (1, 2)]
    results = evaluate(build(ann_file, metric='segm', metric_items=['mAP', 'mAP_l'], num_resamples=9), empty)
    assert results == dict.fromkeys(['segm_mAP', 'segm_mAP_low', 'segm_mAP_high'], 0) | dict.fromkeys(
        ['segm_mAP_l', 'segm_mAP_l_low', 'segm_mAP_l_high'], -1
    )
    ann_file = write(tmp_path / 'none.json', [], [1, 2])
    assert set(evaluate(build(ann_file, num_resamples=2), empty).values()) == {-1}


def test_labels_do_not_count(tmp_path):
    """Neither which they are, nor how many classes the model has, nor what the data set calls them."""
    ann_file, samples = draw_set(tmp_path / 'truth.json', 0)
    expected = evaluate(build(ann_file), samples)
    for one in samples:
        one['pred_instances']['labels'] += 77
    metric = build(ann_file)
    metric.process({}, samples)
    metric.dataset_meta = dict(classes=('object',))
    results = metric.evaluate(len(samples))
    assert results == {f'coco/{name}': value for name, value in expected.items()}


def test_hand_made_case(tmp_path):
    """Two objects side by side, another under a crowd; the model finds one, under a wrong name, and the crowd."""
    left, right, group = ellipse(10, 10, 40, 30), ellipse(10, 90, 50, 40), ellipse(70, 20, 40, 100)
    annotations = [annotation(left, 1, 9), annotation(right, 1, 4), annotation(group, 1, 30, crowd=1)]
    ann_file = write(tmp_path / 'truth.json', annotations, [1, 2])
    # the crowd swallows what lies in it; every score is the same: the first prediction ranks first
    inside = ellipse(75, 40, 30, 30)
    samples = [sample(1, [left, inside], [1.0, 1.0], [2, 0]), sample(2, [], [], [])]
    results = evaluate(build(ann_file, metric_items=['mAP', 'AR@100']), samples)
    # precision 1 up to a recall of a half, 0 beyond: 51 of the 101 points
    assert results == {f'{kind}_{name}': value for kind in ('bbox', 'segm') for name, value in expected_of_half()}
    samples[0] = sample(1, [ellipse(0, 0, 20, 20), left], [1.0, 1.0], [0, 0])  # a false alarm ranks before the hit
    results = evaluate(build(ann_file, metric='segm', metric_items=['mAP', 'AR@100']), samples)
    assert results == pytest.approx({'segm_mAP': 51 / 101 / 2, 'segm_AR@100': 0.5})


def expected_of_half():
    return ('mAP', pytest.approx(51 / 101)), ('AR@100', pytest.approx(0.5))


def test_no_prediction_is_zero(tmp_path):
    ann_file, samples = draw_set(tmp_path / 'truth.json', 1)
    samples = [sample(one['img_id'], [], [], []) for one in samples]
    results = evaluate(build(ann_file), samples)
    assert results == {f'{kind}_{name}': 0 for kind in ('bbox', 'segm') for name in STATS[:7]}


def test_only_images_that_were_evaluated_count(tmp_path):
    """The AP of a part of a set is that of an annotation file without the rest."""
    ann_file, samples = draw_set(tmp_path / 'truth.json', 1)
    part = samples[:5]
    kept = {one['img_id'] for one in part}
    content = json.loads((tmp_path / 'truth.json').read_text())
    annotations = [one for one in content['annotations'] if one['image_id'] in kept]
    expected = evaluate(build(write(tmp_path / 'part.json', annotations, kept)), part)
    assert evaluate(build(ann_file), part) == expected != evaluate(build(ann_file), samples)
    for one in part[:3]:  # images without a prediction were evaluated nevertheless
        one['pred_instances'] = sample(0, [], [], [])['pred_instances']
    assert evaluate(build(ann_file), part)['segm_mAP'] < expected['segm_mAP']


def test_no_image_is_an_error(tmp_path):
    ann_file, _ = draw_set(tmp_path / 'truth.json', 1)
    with pytest.raises(ValueError, match='^ClassAgnosticCocoMetric: no image was evaluated'):
        build(ann_file).evaluate(0)


def test_ground_truth_from_the_data_set(tmp_path):
    """Without an annotation file the samples bring it, as in any CocoMetric."""
    ann_file, samples = draw_set(tmp_path / 'truth.json', 2)
    expected = evaluate(build(ann_file, order='as given'), samples)
    annotations = json.loads((tmp_path / 'truth.json').read_text())['annotations']
    labels = {9: 0, 4: 1, 30: 2}
    for one in samples:
        one['instances'] = [
            dict(
                bbox=[*entry['bbox'][:2], *np.add(entry['bbox'][:2], entry['bbox'][2:]).tolist()],
                bbox_label=labels[entry['category_id']],
                ignore_flag=int(entry['iscrowd']),
                mask=entry['segmentation'],
            )
            for entry in annotations
            if entry['image_id'] == one['img_id']
        ]
    results = evaluate(build(None, order='as given'), samples)
    for name in ('mAP', 'mAP_50', 'mAP_75'):  # not by size: CocoMetric takes the area of the box here
        for kind in ('bbox', 'segm'):
            assert results[f'{kind}_{name}'] == pytest.approx(expected[f'{kind}_{name}'])


def test_predictions_are_kept_where_asked(tmp_path):
    ann_file, samples = draw_set(tmp_path / 'truth.json', 0)
    prefix = str(tmp_path / 'kept')
    assert evaluate(build(ann_file, format_only=True, outfile_prefix=prefix), samples) == {}
    kept = json.loads((tmp_path / 'kept.segm.json').read_text())
    assert len(kept) == sum(len(one['pred_instances']['scores']) for one in samples)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(metric='proposal'), ValueError, "metric='proposal'"),
        (dict(classwise=True), ValueError, 'classwise=True'),
        (dict(metric_items=['AP']), KeyError, r"\['AP'\] not among \['mAP'"),
        (dict(order='given'), UserError, "order must be one of expected, as given, not 'given'"),
        (dict(num_resamples=-1), ValueError, 'num_resamples=-1: must be 0'),
        (dict(proposal_nums=(1, 10, 300)), ValueError, r'proposal_nums=\[1, 10, 300\]: must be .* one of them 100'),
        (dict(proposal_nums=(10, 100)), ValueError, 'must be three ascending numbers'),
        (dict(proposal_nums=(1, 10, 50, 100)), ValueError, 'must be three ascending numbers'),
        (dict(proposal_nums=(1000, 300, 100)), ValueError, 'must be three ascending numbers'),
    ],
)
def test_what_it_does_not_do(tmp_path, options, error, message):
    ann_file, _ = draw_set(tmp_path / 'truth.json', 0)
    with pytest.raises(error, match=message):
        build(ann_file, **options)


def test_other_numbers_of_proposals_have_their_names(tmp_path):
    ann_file, samples = draw_set(tmp_path / 'truth.json', 0)
    items = ['AR@1', 'AR@10', 'AR@100', 'AR_l@100']
    few = evaluate(build(ann_file, metric='bbox', proposal_nums=(1, 10, 100), metric_items=items), samples)
    many = evaluate(build(ann_file, metric='bbox', metric_items=STATS), samples)
    assert few['bbox_AR@1'] < few['bbox_AR@10'] <= few['bbox_AR@100'] == many['bbox_AR@100']
    assert few['bbox_AR_l@100'] == many['bbox_AR_l@1000']


def test_annotations_without_iscrowd(tmp_path):
    """LVIS has none: nothing is a crowd then."""
    annotations = [annotation(ellipse(5, 5, 60, 60), 1, 9), annotation(ellipse(70, 90, 60, 60), 1, 4)]
    predictions = [sample(1, [ellipse(5, 5, 60, 60)], [0.5], [0])]
    with_it = write(tmp_path / 'with.json', annotations, [1, 2])
    for one in annotations:
        del one['iscrowd']
    without = write(tmp_path / 'without.json', annotations, [1, 2])
    assert evaluate(build(without), predictions) == evaluate(build(with_it), predictions)


@pytest.mark.parametrize('kind', ['ClassAgnosticCocoMetric', 'OptionalCrowdCocoMetric'])
@pytest.mark.parametrize('ids', [(0, 1), ('a', 'b'), (False, 7)])
def test_ids_of_annotations_do_not_count(tmp_path, kind, ids):
    """pycocotools counts the object of id 0 as not found, and takes no text."""
    mask = ellipse(10, 10, 40, 40)
    path = write(tmp_path / 'a.json', [annotation(mask, image, 9) for image in (1, 2)], [1, 2])
    content = json.loads((tmp_path / 'a.json').read_text())
    for one, key in zip(content['annotations'], ids):
        one['id'] = key
    (tmp_path / 'a.json').write_text(json.dumps(content))
    metric = METRICS.build(dict(type=kind, ann_file=path, metric=['bbox', 'segm']))
    metric.dataset_meta = META
    metric.process({}, [sample(image, [mask], [0.9], [0]) for image in (1, 2)])
    found = metric.evaluate(2)
    assert found['coco/bbox_mAP'] == found['coco/segm_mAP'] == 1


def test_a_file_is_checked_when_the_metric_is_built(tmp_path):
    bad = dict(annotation(ellipse(5, 5, 60, 60), 1, 9), segmentation=[[1, 2, 3, 4]])
    path = write(tmp_path / 'truth.json', [bad], [1])
    with pytest.raises(UserError, match=r'truth\.json: annotation 1: a polygon .* has 4 numbers'):
        build(path)
    assert evaluate(build(path, metric='bbox'), [sample(1, [], [], [])])['bbox_mAP'] == 0


def test_ground_truth_of_the_data_set_without_masks(tmp_path):
    one = dict(sample(1, [ellipse(5, 5, 60, 60)], [0.5], [0]), instances=[dict(bbox=[1, 1, 9, 9], bbox_label=0)])
    with pytest.raises(UserError, match='annotations of the data set: annotation 1: has no segmentation'):
        evaluate(build(None), [one])


def changed(key, value):
    """A prediction of one mask, of which one part is another."""
    one = sample(1, [ellipse(5, 5, 60, 60)], [0.5], [0])
    one['img_path'] = 'photo.jpg'
    if key in one:
        one[key] = value
    else:
        one['pred_instances'][key] = value
    return one


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('ori_shape', SIZE[::-1], 'photo.jpg: the image has 150 x 210 pixels, and the annotation file has 210 x 150'),
        ('img_id', 99, 'photo.jpg: id 99 is not among the images of ann_file'),
        ('bboxes', torch.full((1, 4), float('nan')), 'photo.jpg: the model predicts NaN or inf'),
        ('scores', torch.tensor([float('inf')]), 'photo.jpg: the model predicts NaN or inf'),
        ('masks', torch.zeros(1, 75, 105, dtype=torch.bool), r'masks of \(75, 105\) on an image of \(150, 210\)'),
    ],
)
def test_the_first_image_that_does_not_fit(tmp_path, key, value, message):
    metric = build(write(tmp_path / 'truth.json', [annotation(ellipse(5, 5, 60, 60), 1, 9)], [1]))
    with pytest.raises(UserError, match=message):
        metric.process({}, [changed(key, value)])


def test_a_model_without_masks(tmp_path):
    metric = build(write(tmp_path / 'truth.json', [annotation(ellipse(5, 5, 60, 60), 1, 9)], [1]))
    one = changed('labels', torch.zeros(1, dtype=torch.long))
    del one['pred_instances']['masks']
    with pytest.raises(UserError, match="the model predicts no masks: set metric='bbox'"):
        metric.process({}, [one])


def test_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet.evaluation', None)
    monkeypatch.delitem(sys.modules, 'projects.crate.evaluation.class_agnostic', raising=False)
    with pytest.raises(ImportError, match='ClassAgnosticCocoMetric needs mmdet and the compiled operators of mmcv'):
        build('unused.json')
