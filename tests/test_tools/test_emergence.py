"""tools/experiments/emergence.py: the smoke budget as a user runs it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_runs import ROOT, load_tool, run_tool

from projects.crate.study.experiment import OBJECTS, WHOLE_IMAGE, read_results, write_results

TOOL = 'experiments/emergence.py'
MODELS = ['CRATE', 'CRATE-MLP', 'CRATE-MHSA', 'ViT', 'ViT-lr1e-3']


def smoke_into(folder):
    return ['--budget', 'smoke', '--also', 'ViT-lr1e-3=1', '--out', folder]


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
    """The whole experiment on generated images: (folder, what the command printed)."""
    folder = tmp_path_factory.mktemp('emergence') / 'out'
    return folder, run_tool(TOOL, *smoke_into(folder)).stdout


def test_every_model_is_trained_and_measured(smoke):
    folder, output = smoke
    rows, about = read_results(folder / 'results.json')
    trained = [line.removeprefix('$ ') for line in output.splitlines() if re.match(r'\$ .*tools/train\.py', line)]
    assert len(trained) == len(MODELS) and all(f'CRATE_DATA={folder / "data"} ' in command for command in trained)
    assert [command for command in about['commands'] if 'train.py' in command] == trained
    assert f'coarse segmentation on 8 of 8 images of {folder / "data"}' in output
    assert about['images'] == dict(voc=8, coco=8)
    found = {(row.model, row.iteration, row.layer, row.metric) for row in rows}
    for model in MODELS:
        assert (model, 4, -1, 'top-1') in found
        for step in (0, 4):
            assert {(model, step, layer, f'mIoU {rule}') for layer in (0, 1) for rule in ('mass', 'top')} <= found
            assert {(model, step, 1, f'{kind} AP{item}') for kind in ('box', 'mask') for item in ('', 50, 75)} <= found
        assert (model, 4, 0, 'mask AP') in found and (model, 0, 0, 'mask AP') not in found
        for step in (0, 4):
            assert {(model, step, -1, 'k-NN'), *((model, step, 1, metric) for metric in OBJECTS)} <= found
    whole = {row.metric: row.value for row in rows if row.model == WHOLE_IMAGE}
    assert whole.keys() == {'mIoU', *OBJECTS} and 0 < whole['mIoU'] < whole['saliency IoU'] < 100


def test_a_learning_rate_of_its_own_is_in_the_name(smoke):
    folder, _ = smoke
    rates = {}
    for model in MODELS:
        settings = json.loads((folder / f'{model.lower()}-seed0' / 'settings.json').read_text())
        rates[model] = settings['optim_wrapper']['optimizer']['lr']
    assert rates == {**dict.fromkeys(MODELS, 4e-4), 'ViT-lr1e-3': 1e-3}


def test_images_are_kept_of_the_last_layer_before_and_after_training(smoke):
    rows, _ = read_results(smoke[0] / 'results.json')
    kept = [row for row in rows if row.images]
    found = {(row.model, row.iteration, row.layer, row.metric) for row in kept}
    assert found == {
        (model, step, 1, f'mIoU {rule}') for model in MODELS for step in (0, 4) for rule in ('mass', 'top')
    }
    assert len(kept) == len(found)
    for row in kept:
        assert len(row.images) == 8 and np.mean(row.images) == pytest.approx(row.value, abs=0.06)


def test_precisions_are_in_percent(smoke):
    folder, _ = smoke
    rows, _ = read_results(folder / 'results.json')
    known = [*json.loads((folder / 'layers.json').read_text()).values()]
    for model in MODELS:
        (layer,) = [each for each in known if each['label'] == f'{model}, seed 0, iteration 4, 48 x 64, layer 1']
        (row,) = [row for row in rows if (row.model, row.iteration, row.layer, row.metric) == (model, 4, 1, 'box AP50')]
        assert row.value == pytest.approx(100 * layer['metrics']['coco/bbox_mAP_50'], abs=1e-4)
        assert row.low <= row.high  # 20 draws: the value may lie outside


def test_results_are_drawn_and_tabulated(smoke):
    folder, _ = smoke
    for name in ('curves', 'attention', 'masks'):
        assert (folder / f'{name}.png').read_bytes().startswith(b'\x89PNG')
    text = (folder / 'tables.md').read_text()
    assert re.findall('^## (.*)$', text, re.MULTILINE) == [
        'last layer, 48 x 64',
        'every layer, 48 x 64',
        'one object, 48 x 64',
        'comparisons, 48 x 64',
        'published',
    ]


@pytest.fixture
def emergence(monkeypatch):
    """The command in this process, in the folder of the repository, whose environment and signals stay as they are."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('CRATE_DATA', '')
    handler = signal.getsignal(signal.SIGTERM)
    main = load_tool('experiments/emergence')
    yield lambda *arguments: main([*map(str, arguments)])
    signal.signal(signal.SIGTERM, handler)


def refused(emergence, capsys, *arguments):
    """The one line with which the command ends."""
    assert emergence(*arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('emergence: ')]
    return line


def test_a_second_call_trains_and_measures_nothing_again(smoke):
    folder, _ = smoke
    before, picture = (folder / 'results.json').read_text(), (folder / 'attention.png').read_bytes()
    checkpoint = folder / 'vit-seed0' / 'iter_4.pth'
    written = checkpoint.stat().st_mtime_ns
    again = run_tool(TOOL, *smoke_into(folder))
    assert 'tools/train.py' not in again.stdout and 'accuracy: ' not in again.stderr
    assert checkpoint.stat().st_mtime_ns == written
    assert (folder / 'results.json').read_text() == before
    assert (folder / 'attention.png').read_bytes() == picture


def test_a_machine_that_only_trains(tmp_path):
    run_tool(TOOL, '--budget', 'smoke', '--train-only', '--only', 'CRATE', '--out', tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ['crate-seed0', 'data']
    assert (tmp_path / 'crate-seed0/iter_4.pth').is_file()


def test_a_session_adds_what_is_missing(smoke, tmp_path):
    """The rows of other trainings stay, one training alone is measured, and gives the rows that it gave before."""
    folder, _ = smoke
    copy = tmp_path / 'out'
    shutil.copytree(folder, copy)
    rows, about = read_results(folder / 'results.json')
    write_results(copy / 'results.json', [row for row in rows if row.model not in ('ViT', 'CRATE')], about)
    again = run_tool(TOOL, '--budget', 'smoke', '--only', 'ViT', '--out', copy)
    measured = [line for line in again.stderr.splitlines() if line.startswith(('accuracy: ', 'layers: ', 'objects: '))]
    assert measured and all('ViT, seed 0' in line for line in measured) and 'tools/train.py' not in again.stdout
    found, _ = read_results(copy / 'results.json')
    assert sorted(map(str, found)) == sorted(str(row) for row in rows if row.model != 'CRATE')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--budget', 'cpu'], '--budget cpu needs --data-root'),
        (['--budget', 'smoke', '--data-root', '.'], '--data-root: the smoke budget makes its own images'),
        (['--budget', 'smoke', '--pictures', 'nowhere.jpg'], '--pictures: not found: nowhere.jpg'),
        (['--budget', 'smoke', '--also', 'CRATE=0'], "'CRATE=0' is not like CRATE=3 or ViT-lr1e-3=1 (models: CRATE, "),
        (['--budget', 'smoke', '--also', 'DINO=1'], "'DINO=1' is not like CRATE=3"),
        (['--budget', 'smoke', '--also', 'ViT-lr0=1'], "'ViT-lr0=1' is not like CRATE=3"),
        (['--budget', 'smoke', '--also', 'ViT-lr1..5=1'], "'ViT-lr1..5=1' is not like CRATE=3"),
        (['--budget', 'cpu', '--data-root', '.', '--tune', '--also', 'CRATE=2'], '--tune and --also do not go'),
        (['--budget', 'smoke', '--tune'], '--tune: budget smoke has no learning rates'),
        (['--budget', 'smoke', '--only', 'ViT-narrow'], 'budget smoke has no ViT-narrow'),
        (['--budget', 'smoke', '--also', 'CRATE-wide-lr1e-3=1'], 'budget smoke has no CRATE-wide'),
        (['--budget', 'smoke', '--only', 'DINO'], "invalid choice: 'DINO'"),
        (['--budget', 'huge'], "invalid choice: 'huge'"),
    ],
)
def test_a_wrong_command_ends_in_one_line(arguments, message, emergence, capsys):
    with pytest.raises(SystemExit, match='2'):
        emergence(*arguments)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_without_the_data_is_named(tmp_path, emergence, capsys):
    line = refused(emergence, capsys, '--budget', 'cpu', '--data-root', tmp_path, '--out', tmp_path / 'out')
    assert 'tiny-imagenet-100' in line


def test_a_training_of_other_settings_is_refused(smoke, tmp_path):
    folder, _ = smoke
    copy = tmp_path / 'out'
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns('results.json'))
    path = copy / 'vit-seed0' / 'settings.json'
    settings = json.loads(path.read_text())
    settings['optim_wrapper']['optimizer']['lr'] = 1.0
    path.write_text(json.dumps(settings))
    result = run_tool(TOOL, '--budget', 'smoke', '--only', 'ViT', '--out', copy, check=False)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('emergence: ')]
    assert line.startswith(f'emergence: {copy / "vit-seed0"} was trained with another optim_wrapper: ')


@pytest.mark.parametrize('content', ['{"model": ', '[1]', '[' * 100_000])
def test_damaged_settings_are_named(tmp_path, capsys, emergence, content):
    folder = tmp_path / 'out' / 'crate-seed0'
    folder.mkdir(parents=True)
    (folder / 'settings.json').write_text(content)
    line = f'emergence: {folder}/settings.json is damaged: remove {folder}, or name another --out'
    assert refused(emergence, capsys, '--budget', 'smoke', '--out', tmp_path / 'out') == line


def test_a_stopped_command_ends_its_training(tmp_path):
    """SIGTERM, as a scheduler sends it: nobody may train on in a folder that the next call goes on with."""
    out = tmp_path / 'out'
    command = [sys.executable, ROOT / 'tools' / TOOL, '--budget', 'smoke', '--out', out]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            if 'tools/train.py' in line:
                break
        child = wait_for_training(out)
        time.sleep(1)  # until the command waits for it, too
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)  # a closed pipe would fail the last flush: exit code 120
        assert process.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not (out / 'results.json').exists()


def wait_for_training(out, seconds=60):
    """The number of the process that trains in a folder."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in Path('/proc').glob('[0-9]*/cmdline'):
            with contextlib.suppress(OSError):  # it has ended
                words = path.read_text().split('\0')
                if 'tools/train.py' in words and str(out / 'crate-seed0') in words:
                    return int(path.parent.name)
        time.sleep(0.05)
    raise TimeoutError(f'nobody trained in {out} within {seconds} s')
