"""docs/experiments: the page says what was measured, and the weights are those it speaks of."""

import re

import pytest
import torch
from config_tree import ROOT
from mmengine.registry import MODELS
from toy_runs import load_tool

from projects.crate.checkpoints import fill, read_weights
from projects.crate.engine.launch import read_config
from projects.crate.errors import UserError
from projects.crate.files import sha256
from projects.crate.study.checkpoint_model import read_model
from projects.crate.study.experiment import WHOLE_IMAGE, cell, find, read_results, tables, trainings_of

FOLDER = ROOT / 'docs/experiments'
PAGE, CARD = FOLDER / 'emergence.md', FOLDER / 'weights/README.md'
WEIGHTS = sorted(FOLDER.glob('weights/*.safetensors'))
CONFIGS = ROOT / 'configs/classification'
each_file = pytest.mark.parametrize('weights', WEIGHTS, ids=lambda path: path.stem)


@pytest.fixture(scope='module')
def results():
    return read_results(FOLDER / 'emergence.json')


def test_every_table_is_on_the_page(results):
    text = PAGE.read_text()
    assert [name for name in tables(results[0]) if f'<!-- table: {name} -->' not in text] == []


def test_no_table_is_stale(capsys):
    """If this fails: python tools/update_tables.py."""
    assert load_tool('update_tables')(['--check']) == 0, capsys.readouterr().out


def test_a_stale_table_is_written_again_and_an_unknown_one_is_named():
    tool = load_tool('update_tables').__globals__
    known = {'A': '| 1 |', 'B': '| 2 |'}
    text = '<!-- table: A -->\n\n| 0 |\n\n<!-- end of table -->\n\n| 0 |\n\n<!-- table: B -->\n<!-- end of table -->\n'
    found = tool['updated'](text, known)
    assert found.split() == text.replace('| 0 |', '| 1 |', 1).replace('B -->', 'B --> | 2 |').split()
    assert tool['updated'](found, known) == found
    with pytest.raises(UserError, match="no table 'B'; there are: A"):
        tool['updated'](text, dict(A=''))


def test_readme_has_the_same_numbers(results):
    rows, _ = results
    text = (ROOT / 'README.md').read_text()
    for model, seed, steps in trainings_of(rows):
        found = [
            [
                find(rows, model=model, seed=seed, iteration=step, size='128 x 128', metric=metric)[-1].value
                for step in (0, max(steps))
            ]
            for metric in ('mIoU mass', 'mIoU top')
        ]
        values = ' | '.join(f'{value:.1f}' for pair in found for value in pair)
        (top1,) = find(rows, model=model, seed=seed, metric='top-1')
        assert f'| {top1.value:.1f}% | {values} |' in text, (model, seed)


def test_every_ap_lies_in_its_interval(results):
    """As a mean over the orders of the images does; an AP by one order need not."""
    assert all(row.low <= row.value <= row.high for row in results[0] if 'AP' in row.metric)


def test_aps_in_the_text_are_means_over_orders(results):
    rows, _ = results
    for model in ('CRATE', 'ViT-lr1.5e-4'):
        key = dict(model=model, seed=0, size='128 x 128', metric='box AP')
        row = find(rows, **key, iteration=1750)[-1]
        for path in (PAGE, ROOT / 'README.md', ROOT / 'docs/maskcut.md'):
            assert cell(row) in path.read_text(), path


def test_every_model_was_measured(results):
    rows, about = results
    assert {model for model, _, _ in trainings_of(rows)} == {'CRATE', 'CRATE-MLP', 'CRATE-MHSA', 'ViT', 'ViT-lr1.5e-4'}
    assert about['budget'] in PAGE.read_text()
    for path in re.findall(r'configs/\S+\.py', ' '.join(about['commands'])):
        assert (ROOT / path).is_file()


def test_nothing_tells_of_the_machine():
    for path in FOLDER.rglob('*'):
        if path.is_file():
            assert not [word for word in (b'/work', b'/root', b'/tmp') if word in path.read_bytes()], path


def test_the_weights_are_small_and_on_the_card():
    assert {path.stem.split('-')[0] for path in WEIGHTS} == {'crate', 'vit'}
    assert sum(path.stat().st_size for path in WEIGHTS) < 15e6
    card = CARD.read_text()
    for path in WEIGHTS:
        assert path.name in card and sha256(path) in card


@each_file
def test_weights_fill_their_config(weights):
    model = read_model(weights, 'model')
    cfg = read_config(str(CONFIGS / f'{model.config_name}.py'))
    classifier = MODELS.build(dict(cfg.model, _scope_='mmpretrain'))
    fill(classifier, read_weights(str(weights)), absent=())
    assert all(torch.isfinite(value).all() for value in classifier.state_dict().values())


@each_file
def test_numbers_on_the_card_are_those_of_the_results(weights, results):
    (line,) = [line for line in CARD.read_text().splitlines() if line.startswith(f'| [{weights.name}]')]
    first = 'd5' in weights.stem
    rows = results[0] if first else read_results(FOLDER / 'evidence.json')[0]
    model = dict(crate='CRATE', vit='ViT-lr1.5e-4' if first else 'ViT')[weights.stem.split('-')[0]]
    key = dict(model=model, seed=int(not first and model == 'CRATE'))
    (top1,) = find(rows, **key, metric='top-1')
    assert f'| {top1.value:.1f}% |' in line
    if not first:
        key |= dict(iteration=4000, layer=5, size='128 x 128')
        mious = (find(rows, **key, metric=f'mIoU {rule}')[0].value for rule in ('mass', 'top'))
        assert f'| {", ".join(f"{value:.1f}" for value in mious)} |' in line


def test_the_second_experiment_has_a_row_of_the_whole_image_and_its_own_tables():
    rows, about = read_results(FOLDER / 'evidence.json')
    assert about['images'] == dict(voc=425, coco=128)
    assert all(len(row.images) in (0, 425) for row in rows) and any(row.images for row in rows)
    last = tables(rows)['last layer, 128 x 128'].rows
    assert [line[3] for line in last if line[0] == WHOLE_IMAGE] == ['23.1']  # its saliency is no mIoU
    text = (FOLDER / 'evidence.md').read_text()
    for size in ('128 x 128', '224 x 224', '64 x 64'):
        assert all(f'<!-- table: evidence, {name}, {size} -->' in text for name in ('last layer', 'one object'))
