import importlib.util
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from forked_tools import FRESH_PYTHON
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'make_sample_set.py'
TINY = [
    '--images',
    '16',
    '--val-images',
    '8',
    '--size',
    '16',
    '20',
    '--scenes',
    '8',
    '--val-scenes',
    '8',
    '--scene-size',
    '24',
]


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location('crate_make_sample_set', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_one_command_writes_the_three_layouts(main, tmp_path, capsys):
    assert main([str(tmp_path), *TINY, '--workers', '2']) == 0
    assert (
        len(list(tmp_path.glob('imagenet/train/*/*.png')))
        == len(list(tmp_path.glob('imagenet/masks/train/*/*.png')))
        == 16
    )
    assert len(list(tmp_path.glob('VOCdevkit/VOC2012/JPEGImages/*.jpg'))) == 16
    assert len(list(tmp_path.glob('coco/val2017/*.jpg'))) == 8
    for pattern, size in (('imagenet/train/*/*.png', (20, 16)), ('coco/val2017/*.jpg', (24, 24))):
        with Image.open(next(tmp_path.glob(pattern))) as image:
            assert image.size == size  # PIL's order: width, height
    assert capsys.readouterr().out.count('ready') == 3
    assert main([str(tmp_path), *TINY]) == 0
    assert capsys.readouterr().out.count('nothing to do') == 3


def test_one_layout_alone(main, tmp_path):
    assert main([str(tmp_path), *TINY, '--layouts', 'coco', '--workers', '1']) == 0
    assert [path.name for path in tmp_path.iterdir()] == ['coco']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--images', '3'], 'imagenet: train: at least 8'),
        (['--size', '8'], 'imagenet: size: height and width are at least 16'),
        (['--size', '32', '32', '3'], 'imagenet: size: one number, or height and width'),
        (['--layouts', 'voc', '--max-objects', '40'], 'voc: max_objects: from 1 to 8'),
        ([*TINY, '--max-objects', '99'], 'voc: max_objects: from 1 to 8'),  # before imagenet is made
        (['--layouts', 'coco', '--seed', '-1'], 'coco: seed: from 0'),
    ],
)
def test_errors_are_one_line(main, tmp_path, capsys, arguments, message):
    assert main([str(tmp_path / 'out'), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_what_is_there_is_kept_and_said(main, tmp_path, capsys):
    main([str(tmp_path), *TINY, '--layouts', 'imagenet'])
    assert main([str(tmp_path), *TINY, '--layouts', 'imagenet', '--seed', '7']) == 1
    error = capsys.readouterr().err
    assert 'seed=0, asked for seed=7' in error and error.count('\n') == 1


def test_out_that_is_a_file_is_one_line(main, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert main([str(tmp_path / 'file'), *TINY]) == 1
    assert capsys.readouterr().err.count('\n') == 1


def test_killed_in_the_middle_and_repeated(main, tmp_path):
    """SIGKILL while images are being written: the set is not there, and the next call makes it whole."""
    command = [
        FRESH_PYTHON,
        str(TOOL),
        str(tmp_path),
        '--layouts',
        'imagenet',
        '--images',
        '100000',
        '--workers',
        '1',
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob('imagenet.partial/train/*/*.png'))) < 20:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ['imagenet.partial']
    assert main([str(tmp_path), *TINY, '--layouts', 'imagenet', '--workers', '1']) == 0
    assert [path.name for path in tmp_path.iterdir()] == ['imagenet']
    assert len(list(tmp_path.glob('imagenet/train/*/*.png'))) == 16


def test_help(main, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['--help'])
    assert stopped.value.code == 0 and '--scene-size' in capsys.readouterr().out
