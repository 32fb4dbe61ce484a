"""The documentation site builds without a warning, needs no other host, and a dead link is a warning."""

import re
import shutil
import subprocess
import sys

import pytest
from config_tree import ROOT

pytestmark = pytest.mark.slow


def build(root, out):
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-c', root / 'docs', '-b', 'html', root, out]
    return subprocess.run(command, capture_output=True, text=True)


def test_site_builds_without_a_warning(tmp_path):
    result = build(ROOT, tmp_path / 'html')
    assert result.returncode == 0, result.stderr
    pages = {path: path.read_text() for path in tmp_path.glob('html/**/*.html')}
    names = {str(path.relative_to(tmp_path / 'html')) for path in pages}
    assert {f'docs/{path.stem}.html' for path in ROOT.glob('docs/*.md')} | {'README.html', 'CONTRIBUTING.html'} <= names
    loaded = [
        link
        for text in pages.values()
        for link in re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(http[^"]*)', text)
    ]
    assert loaded == []
    api = pages[tmp_path / 'html/docs/api.html']
    assert api.count('<math') > 10 and 'class="sig-name descname"' in api and r'\\operatorname' not in api


def test_dead_links_are_warnings(tmp_path):
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs', ignore=shutil.ignore_patterns('*.md', '_build', '*.png'))
    text = '# Title\n\n[page](gone.md) [heading](README.md#gone) [folder](experiments) [here](#title)\n'
    (tmp_path / 'docs/README.md').write_text(text)
    result = build(tmp_path, tmp_path / 'html')
    dead = re.findall(r"README.md:3: WARNING: .*'([^']*)' \[myst", result.stderr)
    assert result.returncode and dead == ['gone.md', 'gone']
