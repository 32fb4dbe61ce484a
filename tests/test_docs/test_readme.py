"""The Python of README.md runs as it stands: a backbone and its attention, and the config of a stock classifier."""

import re

import pytest
import torch
from config_tree import ROOT, build_without_memory
from PIL import Image

from projects.crate.engine.launch import read_config
from projects.crate.models import CRATE

README = (ROOT / 'README.md').read_text()


def block(title):
    """The Python block of a section."""
    text = re.search(rf'^## {title}\n(.*?)(?=^## |\Z)', README, re.MULTILINE | re.DOTALL)[1]
    (code,) = re.findall(r'^```python\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    return code


def test_attention_of_a_backbone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(block('See the attention of a backbone'), found)
    heads = found['seen'][-1].cls_attention()[0]
    assert heads.sum(1).tolist() == pytest.approx([1.0] * 3)
    largest = heads.unflatten(-1, (21, 32))[1].max()
    assert torch.equal(found['maps'][:, 32:64], heads.unflatten(-1, (21, 32))[1] / largest)
    assert Image.open('attention.png').size == (3 * 32 * 8, 21 * 8)


def test_crate_in_a_stock_config(tmp_path):
    path = tmp_path / 'my_config.py'
    path.write_text(block('Swap CRATE into your config'))
    model = build_without_memory(read_config(str(path)))
    assert isinstance(model.backbone, CRATE)
    assert model.head.fc.in_features == model.backbone.embed_dims
