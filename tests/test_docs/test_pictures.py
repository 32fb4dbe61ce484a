"""Pictures of the pages: each is shown, has an alternative text and a command, and the command draws it."""

import base64
import re
import shutil

import numpy as np
import pytest
from config_tree import ROOT
from PIL import Image
from toy_runs import load_tool

CHROMIUM = shutil.which('chromium')
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('docs/**/*.md')]
FOLDERS = [ROOT / 'docs/images', ROOT / 'docs/experiments']
PICTURES = {path for folder in FOLDERS for path in folder.iterdir() if path.suffix in ('.png', '.jpg')}


def test_every_picture_is_shown_with_an_alternative_text():
    shown = {}
    for page in PAGES:
        for text, path in re.findall(r'!\[(.*)\]\(([^)]+)\)', page.read_text()):
            shown.setdefault((page.parent / path).resolve(), []).append(text)
    assert set(shown) == PICTURES
    assert [texts for texts in shown.values() if min(map(len, texts)) < 30] == []


def test_every_picture_has_a_command():
    table = (ROOT / 'CONTRIBUTING.md').read_text().partition('## Pictures')[2].partition('## ')[0]
    assert set(re.findall(r'`([\w.-]+\.(?:png|jpg))`', table)) == {path.name for path in PICTURES}


def test_pictures_of_the_demo_come_from_its_page(tmp_path, capsys):
    tool = load_tool('update_pictures').__globals__
    pictures = dict(CRATE=b'crate', ViT=b'vit')
    tags = [f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}" alt="{name}, last layer: ...">'
            for name, data in pictures.items()]  # fmt: skip
    (tmp_path / 'index.html').write_text('\n'.join(tags))
    tool['copy_demo'](tmp_path / 'index.html', tmp_path)
    assert [(tmp_path / f'demo-{name}.png').read_bytes() for name in ('crate', 'vit')] == [*pictures.values()]
    (tmp_path / 'index.html').write_text(tags[0])
    for page, message in (('index.html', 'no picture of ViT'), ('gone.html', 'not found')):
        assert load_tool('update_pictures')(['--demo', str(tmp_path / page), '--out', str(tmp_path)]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_draws_the_pictures_that_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    assert load_tool('update_pictures')(['--out', str(tmp_path)]) == 0
    assert 'app.png stays' in capsys.readouterr().out
    drawn = sorted(tmp_path.glob('*/*'))
    assert len(drawn) == 4
    for path in drawn:
        new, old = (
            np.asarray(Image.open(each).convert('RGB'), float)
            for each in (path, ROOT / 'docs' / path.relative_to(tmp_path))
        )
        assert np.abs(new - old).mean() < 3  # fonts and decoders differ a little


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium')
def test_the_live_page_is_photographed(tmp_path):
    load_tool('update_pictures').__globals__['photograph_page'](CHROMIUM, tmp_path / 'app.png')
    assert Image.open(tmp_path / 'app.png').size == Image.open(ROOT / 'docs/images/app.png').size
