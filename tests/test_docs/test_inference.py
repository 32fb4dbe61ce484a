"""The Python of docs/inference.md runs as it stands, block after block, and gives what the page says."""

import re

import cv2
import numpy as np
import pytest
import torch
from config_tree import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from projects.crate.sample_set.coats import SEGMENTATION_METAINFO

PAGE = (ROOT / 'docs/inference.md').read_text()
BLOCKS = dict(re.findall(r'^## ([^\n]+)\n\n```python\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
SEGMENTOR = 'configs/segmentation/upernet_crate-w128d5-p4_sample-pre-1xb8-poly-300i_sample-96x128px.py'
SIZE = (64, 80)
FRAMES = 2


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('docs', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    image = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    image[10:40, 20:60] += 150
    Image.fromarray(image).save('photo.jpg')
    clip = cv2.VideoWriter('clip.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 10, SIZE[::-1])
    for _ in range(FRAMES):
        clip.write(image)
    clip.release()


def run(*titles):
    found = {}
    for title in titles:
        exec(BLOCKS[title], found)
    return found


def test_classifier():
    result = run('Classifier')['result']
    assert result['pred_label'] == result['pred_scores'].argmax()


def test_maskcut_draws_objects_without_a_confidence(monkeypatch):
    from mmdet.visualization import DetLocalVisualizer

    texts = []
    monkeypatch.setattr(DetLocalVisualizer, 'draw_texts', lambda self, text, *_, **__: texts.append(text))
    found = run('MaskCut')
    assert len(found['masks']) == len(texts) > 0
    assert set(texts) == {'object'}
    assert found['detect'].model.dataset_meta['classes'] == ('object',)
    assert found['found']['predictions'][0]['scores'] == [1.0] * len(texts)
    assert Image.open('found/vis/photo.jpg').size == SIZE[::-1]


def test_video_frame_by_frame():
    found = run('MaskCut', 'Video')
    assert len(found['objects']) == FRAMES
    for one in found['objects']:
        assert one.masks.shape[1:] == SIZE and not one.labels.any()


def test_attention():
    found = run('MaskCut', 'Attention')
    ((layer, maps),) = found['maps'].items()
    assert layer == 4
    assert maps.sum((1, 2)).tolist() == pytest.approx([1.0] * 3)


def test_segmentor_with_the_classes_of_its_checkpoint(tmp_path):
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(Config.fromfile(SEGMENTOR).model)
    (tmp_path / 'work_dirs/segmentor').mkdir(parents=True)
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=SEGMENTATION_METAINFO))
    torch.save(checkpoint, 'work_dirs/segmentor/iter_300.pth')
    found = run('Segmentor')
    assert found['labels'].shape == SIZE
    assert found['segment'].model.dataset_meta['classes'] == SEGMENTATION_METAINFO['classes']
