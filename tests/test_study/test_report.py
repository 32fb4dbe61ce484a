import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from projects.crate.study import page
from projects.crate.study.checkpoint_model import CheckpointModel
from projects.crate.study.images import COCO_CONFIG, VOC_CONFIG, ImageSet, StudyImages, whole_image_miou
from projects.crate.study.measure import PRECISIONS, CoarseSegmentation, ModelMeasurements, bootstrap_interval
from projects.crate.study.report import (
    figure_groups,
    maskcut_figure,
    report_page,
)

SIZE = (24, 32)
SHARES = [dict(cat=0.2, dog=0.7), {}, dict(cat=0.1), dict(cat=0.5)]


@pytest.fixture
def undrawn(monkeypatch):
    """To draw pictures takes seconds."""
    monkeypatch.setattr(page, 'png', lambda figure: b'')


def coarse(rng, shift, heads=2):
    images = rng.uniform(10, 20, (3, 3)) + shift
    images[1] += 10  # the best layer
    classes = dict(cat=np.array([1.0, 2.0, 3.25]), dog=np.array([4.0, 5.0, 6.5]))
    return CoarseSegmentation(images.mean(1), rng.uniform(0, 10, (3, heads)), classes, images)


def report(name='A', shift=0.0, heads=2, patch=(4, 8), measured=('voc', 'coco'), layers=(2,)):
    rng = np.random.default_rng(0)
    grid = SIZE[0] // patch[0], SIZE[1] // patch[1]
    precisions = {
        f'{key}{end}': np.arange(len(layers)) / 100 + value
        for key in PRECISIONS.values()
        for end, value in (('', 0.01234), ('_low', 0.008), ('_high', 0.017))
    }
    return ModelMeasurements(
        model=CheckpointModel(name, Path('runs', f'{name}.pth'), 'abcd' * 16, Config(), 'crate-toy', '3 epochs'),
        architecture='3 layers of MSSA and ISTA',
        num_parameters=12345,
        patch_size=patch,
        coarse={rule: coarse(rng, shift, heads) for rule in ('mass', 'top')} if 'voc' in measured else {},
        maskcut=(np.array(layers), precisions) if 'coco' in measured else None,
        rates=dict(compression=rng.uniform(50, 60, (3, 4)), nonzero=rng.uniform(0, 1, (3, 4))),
        layer=2,
        attention=[rng.random((heads, *grid)) for _ in range(2)],
        colours=[rng.random((*grid, 3)) for _ in range(2)],
        masks=[rng.random((number, *SIZE)) > 0.5 for number in (0, 2)],
        noise=(np.zeros((2, 2, *SIZE, 3), np.uint8), rng.random((2, 2, heads, *grid))),
    )


def material(measured=('voc', 'coco')):
    voc = ImageSet(VOC_CONFIG, dict(data_root='data/V', ann_file='val.txt'), [Path('x')] * 9, [], [0, 2, 4, 6])
    coco = ImageSet(COCO_CONFIG, dict(data_root='data/C', ann_file='val.json'), [Path('x')] * 7, [], [0, 3])
    pictures = [np.full((*SIZE, 3), value, np.uint8) for value in (50, 200)]
    objects = [np.zeros(SIZE, bool), np.zeros(SIZE, bool)]
    objects[1][4:9, 5:20] = True
    found = (data if name in measured else None for name, data in (('voc', voc), ('coco', coco)))
    return StudyImages(SIZE, *found, pictures, objects)


def page_of(folder, reports, measured=('voc', 'coco')):
    shares = SHARES if 'voc' in measured else []
    path = folder / 'index.html'
    report_page(path, reports, material(measured), shares, 'python tools/report.py a.pth', dict(torch='9.9'))
    return path.read_text()


def tables(text):
    """Every table as {first cell: the other cells}; where first cells repeat, the last row counts."""
    found = re.findall(r'<table.*?</table>', text)
    rows = [[re.findall(r'<t[hd]>(.*?)</t[hd]>', row) for row in re.findall(r'<tr>.*?</tr>', each)] for each in found]
    return [{first: rest for first, *rest in table} for table in rows]


def test_page_stands_alone_and_says_what_was_compared(tmp_path):
    text = page_of(tmp_path, [report('A & B'), report('C', 5)])
    assert text.count('<img ') == text.count('src="data:image/png;base64,') == 7
    assert not re.search(r'src="(?!data:)|href=|<script|<link|url\(', text)
    assert '<title>Emergence report: A &amp; B, C</title>' in text
    models, data, *_ = tables(text)
    assert models['its parameters'] == ['12,345', '12,345']
    assert models['checkpoint'] == ['runs/A &amp; B.pth', 'runs/C.pth']
    assert models['SHA-256'][0].startswith('abcdabcdabcdabcd')
    assert (models['training config'], models['trained for']) == (['crate-toy'] * 2, ['3 epochs'] * 2)
    assert data['coarse segmentation'] == ['data/V, val.txt', '4 of 9'] and data['MaskCut'][1] == '2 of 7'
    assert 'resized to 24 x 32 pixels' in text and 'a.pth</pre>' in text and 'torch 9.9' in text


def test_numbers_are_those_of_the_measurement(tmp_path, undrawn):
    reports = [report('A'), report('B', 5)]
    text = page_of(tmp_path, reports)
    _, _, miou, difference, heads, classes, cut, published = tables(text)
    top = reports[1].coarse['top']
    low, high = bootstrap_interval(top.images[2])
    assert miou['B'] == [
        'top 60% of patches',
        f'{top.mean[2]:.1f} [{low:.1f}, {high:.1f}]',
        miou['B'][2],
        '1',
    ]
    assert miou['B'][2].startswith(f'{top.mean[1]:.1f} [')
    assert difference['B - A'][1:] == ['+5.0 [+5.0, +5.0]'] * 2
    assert heads['head 1'] == [f'{each.coarse["mass"].heads[-1, 1]:.1f}' for each in reports]
    assert classes['cat'] == ['3', '3.2', '3.2'] and classes['dog'] == ['1', '6.5', '6.5']
    assert cut['B'] == ['2', *['1.23 [0.80, 1.70]'] * 6]
    assert 'average precision of 1.23% (A), 1.23% (B).' in text
    assert published['CRATE-B/8'] == ['supervised', '23.6', '1.0']
    assert text.index('published numbers') < text.index('23.6')
    assert 'on 3 images with an object' in text and f'scores {whole_image_miou(SHARES):.1f};' in text


def test_whole_image_is_a_mean_over_classes_then_images():
    assert whole_image_miou(SHARES) == pytest.approx(100 * (0.45 + 0.1 + 0.5) / 3)


@pytest.mark.parametrize(('measured', 'missing'), [('voc', 'COCO'), ('coco', 'VOC')])
def test_what_was_not_measured_is_said(tmp_path, undrawn, measured, missing):
    text = page_of(tmp_path, [report(measured=[measured])], [measured])
    assert f'not measured: no data set in {missing} layout was found' in text
    assert ('<h2>Coarse' in text) == (measured == 'voc') and ('<h2>MaskCut' in text) == (measured == 'coco')
    assert 'Differences' not in text


def test_average_precision_of_every_layer_is_a_curve(tmp_path, undrawn):
    text = page_of(tmp_path, [report(layers=(0, 1, 2))])
    assert 'MaskCut, mask AP on 2 images; bars: 95% interval' in text
    assert tables(text)[-2]['A'] == ['2', *['3.23 [2.80, 3.70]'] * 6]


def test_bars_of_the_curve_are_the_interval():
    several = report(layers=(0, 1, 2))
    several.maskcut[1]['coco/segm_mAP_low'][1] = 0.03  # above the value
    (bars,) = maskcut_figure([several], 'mask AP').axes[0].containers
    _, _, (lines,) = bars
    ends = [segment[:, 1].tolist() for segment in lines.get_segments()]
    np.testing.assert_allclose(ends, [[0.8, 1.7], [2.234, 2.7], [2.8, 3.7]])


def test_one_image_has_no_interval(tmp_path, undrawn):
    one = report()
    for each in one.coarse.values():
        object.__setattr__(each, 'images', each.images[:, :1])
    for key in [key for key in one.maskcut[1] if key.endswith(('_low', '_high'))]:
        del one.maskcut[1][key]
    text = page_of(tmp_path, [one])
    assert 'nan' not in text
    assert tables(text)[-2]['A'] == ['2', *['1.23'] * 6]


def test_models_share_a_figure_where_they_fit():
    assert len(figure_groups([report(heads=6), report(heads=6)])) == 1
    assert len(figure_groups([report(heads=6), report(heads=7)])) == 2
    assert len(figure_groups([report(), report(patch=(8, 8))])) == 2
