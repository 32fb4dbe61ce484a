"""Commands of docs/detectors.md for COCO's leaderboard, on the generated set: files as the test server takes them."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from pycocotools import mask as masks
from stock_panoptic import rgb2id, stand_in
from test_stock_detectors import PAGE, data, fit_to_sample_set, write_config  # noqa: F401
from toy_runs import load_tool

from projects.crate.engine import launch
from projects.crate.sample_set.coats import CLASSES

pytestmark = [pytest.mark.usefixtures('fast_runner'), pytest.mark.slow]

SECTION = PAGE.partition('## COCO leaderboard')[2].partition('\n## ')[0]
HEIGHT_WIDTH = [96, 128]
NAME = 'crate_results'


@pytest.fixture
def folder(tmp_path, monkeypatch, data):  # noqa: F811
    """Where the commands are run: data/coco with images whose annotations are not there."""
    shutil.copytree(data / 'coco', tmp_path / 'data/coco')
    shutil.copytree(data / 'coco/val2017', tmp_path / 'data/coco/test2017')
    annotations = tmp_path / 'data/coco/annotations'
    content = json.loads((annotations / 'instances_val2017.json').read_text())
    del content['annotations']
    (annotations / 'image_info_test-dev2017.json').write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_detector(folder, data, name):  # noqa: F811
    """``my_config.py`` for the sample set, and CHECKPOINT: weights that have learnt nothing."""
    cfg = launch.read_config(write_config(folder, name, str(data / 'crate.pth')))
    fit_to_sample_set(cfg, data)
    if 'panoptic' in name:  # every query is a segment
        cfg.model.test_cfg.update(object_mask_thr=0.0, iou_thr=0.0, filter_low_score=False)
    cfg.val_dataloader.dataset.update(data_root='data/coco', indices=None)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'CHECKPOINT')
    cfg.model.backbone.init_cfg = None
    text = ''.join(f'{key} = {value!r}\n' for key, value in cfg.to_dict().items())
    (folder / 'my_config.py').write_text(text)


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', SECTION, re.MULTILINE | re.DOTALL)


def run(block, folder):
    """Run a block of commands: tools/test.py in this process, all others in a shell."""
    for command in block.replace('\\\n', ' ').splitlines():
        if command.startswith('python tools/test.py'):
            assert load_tool('test')([*shlex.split(command)[2:], '--work-dir', str(folder / 'run')]) == 0
    others = '\n'.join(line for line in block.replace('\\\n', ' ').splitlines() if 'tools/test.py' not in line)
    environment = dict(PATH=f'{Path(sys.executable).parent}:/usr/bin:/bin')
    subprocess.run(['bash', '-ec', others], cwd=folder, env=environment, check=True)


def unzip(folder, stem):
    with zipfile.ZipFile(folder / f'work_dirs/test-dev/{stem}.zip') as file:
        file.extractall(folder / 'upload')
        return json.loads((folder / f'upload/{stem}.json').read_text()), file.namelist()


def test_boxes_masks_and_the_ap_of_each_class(folder, data, capsys):  # noqa: F811
    write_detector(folder, data, 'CondInst')
    upload, classwise = blocks('bash')[:2]
    run(upload, folder)
    results, names = unzip(folder, f'detections_test-dev2017_{NAME}')
    assert names == [f'detections_test-dev2017_{NAME}.json']
    known = json.loads((folder / 'data/coco/annotations/image_info_test-dev2017.json').read_text())
    for one in results:
        check_instance(one, known)
        assert one['segmentation']['size'] == HEIGHT_WIDTH
        assert masks.decode(one['segmentation']).shape == (*HEIGHT_WIDTH,)
    boxes = json.loads((folder / 'work_dirs/test-dev/crate.bbox.json').read_text())
    for one in boxes:
        check_instance(one, known)
        assert one.keys() == {'image_id', 'category_id', 'bbox', 'score'}
    assert {one['image_id'] for one in results} == {image['id'] for image in known['images']}
    assert max(Counter(one['image_id'] for one in results).values()) <= 100  # the server takes no more

    run(classwise, folder)
    logged = json.loads(max(folder.glob('run/*/*.json')).read_text())
    assert {f'coco/{name}_precision' for name in CLASSES} <= logged.keys()


def check_instance(one, known):
    """An entry of https://cocodataset.org/#format-results."""
    assert one['image_id'] in {image['id'] for image in known['images']}
    assert one['category_id'] in {category['id'] for category in known['categories']}
    assert isinstance(one['score'], float) and 0 <= one['score'] <= 1
    x, y, width, height = one['bbox']
    assert width >= 0 and height >= 0 and np.isfinite([x, y, width, height]).all()


def test_panoptic(folder, data, monkeypatch):  # noqa: F811
    stand_in(monkeypatch)
    write_detector(folder, data, 'panoptic Mask2Former')
    (text,) = blocks('python')
    (folder / 'my_test-dev.py').write_text(text)
    generate, _, upload = blocks('bash')[2].partition('\n')
    run(generate, folder)
    run(upload, folder)
    stem = f'panoptic_test-dev2017_{NAME}'
    results, names = unzip(folder, stem)
    known = json.loads((folder / 'data/coco/annotations/panoptic_val2017.json').read_text())
    categories = {category['id'] for category in known['categories']}
    assert [one['image_id'] for one in results['annotations']] == [image['id'] for image in known['images']]
    assert {*names} >= {f'{stem}/{one["file_name"]}' for one in results['annotations']} | {f'{stem}.json'}
    for one in results['annotations']:
        ids = rgb2id(np.asarray(Image.open(folder / 'upload' / stem / one['file_name'])))
        assert list(ids.shape) == HEIGHT_WIDTH
        segments = {segment['id']: segment['category_id'] for segment in one['segments_info']}
        assert {*np.unique(ids)} - {0} == segments.keys() and segments
        assert {*segments.values()} <= categories
