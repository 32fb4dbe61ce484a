import os
import re
import subprocess
import sys
from html import escape
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from toy_report import save_training
from toy_runs import load_tool

from projects.crate.checkpoints import save_safetensors
from projects.crate.study.demo import TrainedRun, mean_and_spread
from projects.crate.study.images import packaged_photographs

ROOT = Path(__file__).resolve().parents[2]
# Nothing is learnt: what is shown after training must be what is shown before it.
STANDSTILL = [
    'train_cfg.max_iters=42',
    'train_dataloader.batch_size=1',
    'auto_scale_lr.enable=False',
    'optim_wrapper.optimizer.lr=0',
]


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """A demo with a learning rate of zero: (folder, output)."""
    folder = tmp_path_factory.mktemp('demo')
    environment = dict(os.environ, CRATE_DATA=str(folder / 'data'), OMP_NUM_THREADS='1')
    command = [sys.executable, 'tools/demo.py', '--out', folder / 'out', '--images', '16', '--cfg-options', *STANDSTILL]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return folder, result.stdout


def test_page_shows_both_models_and_stands_alone(demo):
    folder, output = demo
    page = (folder / 'out' / 'index.html').read_text()
    photos = 3 * any(ROOT.glob('docs/experiments/weights/*.safetensors'))
    assert page.count('<img src="data:image/png;base64,') == 4 + photos
    assert 'src="http' not in page and 'href=' not in page
    rows = re.findall(r'<tr><td>(.*?)</td></tr>', page.rpartition('<table>')[2])
    table = {name: cells for name, *cells in (row.split('</td><td>') for row in rows)}
    assert set(table) == {'CRATE', 'ViT'}
    for parameters, _, before, after, _ in table.values():
        assert int(parameters.replace(',', '')) > 200_000
        assert before == after
    assert 'Not every training raised' in page and 'training on classes raised' not in page
    for command in re.findall(r'^\$ (.*)$', output, flags=re.MULTILINE):
        assert escape(command) in page
    assert output.count(' python tools/train.py') == 2 and output.count(' python tools/test.py') == 2


def test_photographs_are_shown_before_the_training_begins(demo):
    _, output = demo
    assert output.index('demo: open ') < output.index('python tools/make_sample_set.py') < output.index('reload ')


def test_photographs_alone(tmp_path, capsys):
    assert load_tool('demo')(['--photos-only', '--out', str(tmp_path / 'out')]) == 0
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['index.html']
    page = (tmp_path / 'out/index.html').read_text()
    assert page.count('<img ') == 3 and 'now trains' not in page
    assert page.count('<td>CRATE</td>') == page.count('<td>ViT-lr1.5e-4</td>') == 2  # two seeds, as in README
    assert '<td>17.5%</td><td>18.1</td><td>36.0</td>' in page
    assert '<code>python tools/demo.py --photos FOLDER</code>' in page
    assert 'CC0' in page and page.count(', in scikit-') + page.count(', in matplotlib') == len(packaged_photographs())
    assert 'index.html in a browser' in capsys.readouterr().out


def test_there_are_six_free_photographs():
    """scikit-image and scikit-learn are in the extra `demo`; a file that they drop or rename is seen here."""
    photographs = packaged_photographs()
    assert len(photographs) >= 6
    assert all(re.search(r': .*(CC BY 2.0|CC0|public domain), in ', text) for text in photographs.values())


def test_weights_before_training_are_those_of_the_run(demo):
    folder, _ = demo
    work_dir = folder / 'out' / 'crate-seed0'
    (config,) = work_dir.glob('*.py')
    run = TrainedRun(Config.fromfile(config), 0, work_dir, work_dir / 'iter_42.pth', 0.0)
    before, after = run.build(trained=False).backbone.state_dict(), run.build(trained=True).backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    other = TrainedRun(run.config, 1, work_dir, run.checkpoint, 0.0).build(trained=False).backbone.state_dict()
    assert not torch.equal(before['layers.0.ffn.weight'], other['layers.0.ffn.weight'])


def test_spread_says_how_many_seeds_it_saw():
    assert mean_and_spread([0.5], 2) == '0.50'
    assert mean_and_spread([0.4, 0.6], 2) == '0.50 ± 0.14'


def test_bad_number_of_seeds(capsys):
    with pytest.raises(SystemExit, match='2'):
        load_tool('demo')(['--seeds', '0'])
    assert '--seeds: must be at least 1' in capsys.readouterr().err


@pytest.fixture
def draw_photos(tmp_path, monkeypatch):
    """What the demo draws with the weights of a toy, in a folder in place of the repository's."""
    module = load_tool('demo').__globals__
    monkeypatch.setitem(module, 'WEIGHTS', tmp_path)
    checkpoint = torch.load(save_training(tmp_path / 'toy.pth'), weights_only=True)

    def draw(folder, *names):
        for name in names:
            save_safetensors(checkpoint['state_dict'], checkpoint['meta'], tmp_path / f'{name}-toy.safetensors')
        return module['draw_photos'](folder)

    return draw


def test_photographs_are_looked_at_with_the_weights_of_the_repository(draw_photos, tmp_path):
    Image.new('RGB', (90, 40), 'red').save(tmp_path / 'mine.png')
    figures, credits = draw_photos(tmp_path / 'mine.png', 'crate', 'vit')
    heads = [axis.get_title() for axis in figures['attention'].axes]
    assert {'CRATE\nhead 0', 'ViT\nhead 0'} <= {*heads}
    assert [axis.get_title() for axis in figures['masks'].axes] == ['image', 'CRATE', 'ViT']
    columns = ['component 1', 'components 2-4']
    assert [axis.get_title() for axis in figures['components'].axes] == [
        'image',
        *(f'{name}, {column}' for name in ('CRATE', 'ViT') for column in columns),
    ]
    assert credits == []


def test_without_weights_there_are_no_photographs(draw_photos):
    assert draw_photos(None)[0] is None


def test_photos_that_are_not_there_end_the_demo_before_it_trains(capsys):
    with pytest.raises(SystemExit):
        load_tool('demo')(['--photos', 'gone'])
    assert '--photos: not found: gone' in capsys.readouterr().err
