"""The Python of docs/masks-without-labels.md runs as it stands, and README's three lines; nothing is downloaded."""

import re

import cv2
import numpy as np
import pytest
import torch
from config_tree import ROOT
from PIL import Image

from projects.crate.models import CRATE, library_vit

PAGES = {name: (ROOT / name).read_text() for name in ('README.md', 'docs/masks-without-labels.md')}
SIZE = (40, 50)


def blocks(page):
    return re.findall(r'^```python\n(.*?)^```', PAGES[page], re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    vit = CRATE(dict(embed_dims=16, num_layers=2, num_heads=2), img_size=32, patch_size=64)
    monkeypatch.setattr(library_vit, 'LOADERS', dict(timm=lambda *_: (vit, [0.5] * 3, [0.25] * 3)))
    image = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    image[10:30, 10:40] += 150
    Image.fromarray(image).save('photo.jpg')
    clip = cv2.VideoWriter('clip.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 10, SIZE[::-1])
    clip.write(image)
    clip.release()


def test_the_page():
    found = {}
    for block in blocks('docs/masks-without-labels.md'):
        exec(block, found)
    assert found['picture'].shape == (*SIZE, 3)
    assert Image.open('out/photo.jpg').size == Image.open('frames/000000.jpg').size == SIZE[::-1]
    assert found['masks'][0].nonzero().tolist() == [[y, x] for y in (2, 3) for x in (3, 4, 5)]


def test_the_readme():
    (block,) = (block for block in blocks('README.md') if 'MaskCutInferencer' in block)
    exec(block, found := {})
    assert found['found'][0].image.shape == (*SIZE, 3)


def test_the_page_names_every_short_name():
    names = re.findall(r'`([\w-]+)`', PAGES['docs/masks-without-labels.md'])
    assert {*library_vit.NAMES} <= {*names}


def test_the_pictures_are_small():
    pictures = re.findall(r'\((images/[^)]+)\)', PAGES['docs/masks-without-labels.md'])
    assert len(pictures) == 3
    assert all((ROOT / 'docs' / name).stat().st_size < 150_000 for name in pictures)
