"""tools/maskcut.py with a detector of mmdet: its masks as they are, without those that are empty."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData
from pycocotools import mask as coco_mask
from toy_maskcut import make_images
from toy_runs import ROOT, forget_runs, load_tool

from projects.crate.errors import UserError
from projects.crate.pseudo_labels import label
from projects.crate.pseudo_labels.images import Batch

pytest.importorskip('mmdet')

BASE = ROOT / 'configs/detection/mask-rcnn_crate-w128d5-p4_sample-pre-1xb8-step-4e_sample-96x128px.py'
CONFIG = f"""
_base_ = {str(BASE)!r}
model = dict(
    backbone=dict(arch=dict(embed_dims=16, num_heads=2, num_layers=5), init_cfg=None),
    neck=dict(in_channels=16),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=6, mask_thr_binary={{threshold}})),
)
"""


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """Three images, and random weights of a Mask R-CNN."""
    folder = tmp_path_factory.mktemp('detector')
    make_images(folder / 'images', 3)
    (folder / 'config.py').write_text(CONFIG.format(threshold=0.5))
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(folder / 'config.py').model)
    torch.save(model.state_dict(), folder / 'weights.pth')
    return folder


def maskcut(shared, folder, config):
    """Run the tool; the file is ``folder/out.json``."""
    (folder / 'config.py').write_text(config)
    files = ['--config', folder / 'config.py', '--checkpoint', shared / 'weights.pth', '--num-workers', 0]
    return load_tool('maskcut')([*map(str, [shared / 'images', folder / 'out.json', *files])])


def test_empty_masks_are_left_out(shared, tmp_path, capsys):
    counts = {}
    for threshold in (0.0, 0.5, 0.999):
        forget_runs()
        folder = tmp_path / str(threshold)
        folder.mkdir()
        assert maskcut(shared, folder, CONFIG.format(threshold=threshold)) == 0
        content = json.loads((folder / 'out.json').read_text())
        said = [line for line in capsys.readouterr().err.splitlines() if 'empty masks' in line]
        assert len(content['images']) == 3 and all(0 < one['score'] < 1 for one in content['annotations'])
        assert all(one['area'] > 0 and min(one['bbox'][2:]) > 0 for one in content['annotations'])
        counts[threshold] = len(content['annotations']), int(said[0].split()[-1]) if said else 0
    assert counts[0.999][0] == 0 < counts[0.999][1] == sum(counts[0.0])
    assert counts[0.0][0] > 0


def test_a_detector_of_boxes_is_one_line(shared, tmp_path, capsys):
    config = CONFIG.format(threshold=0.5) + "model['roi_head'] = dict(mask_head=None, mask_roi_extractor=None)\n"
    assert maskcut(shared, tmp_path, config) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('maskcut: MaskRCNN returns no masks: take a detector with a mask head')


class Fixed(torch.nn.Module):
    """What a model may return for one image of 4 x 6."""

    def __init__(self, masks, scores):
        super().__init__()
        self.found = InstanceData(masks=masks, scores=torch.tensor(scores))

    def test_step(self, data):
        return [BaseDataElement(metainfo=dict(ori_shape=(4, 6)), pred_instances=self.found)]


MASKS = np.zeros((2, 4, 6), bool)
MASKS[0, 1:3, 2:5] = True
BATCH = Batch(0, dict(), [1], ['a.jpg'], [], {1: [0, 0, 0, 'hash']})


def codes(masks):
    return [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]


@pytest.mark.parametrize(
    'masks', [MASKS, torch.from_numpy(MASKS), MASKS.astype(np.uint8), torch.from_numpy(MASKS).float(), codes(MASKS)]
)
def test_masks_of_every_kind(masks):
    records, empty = label.label_batch(Fixed(masks, [0.75, 0.5]), BATCH)
    (annotation,) = records['annotations']
    assert empty == 1 and annotation['score'] == 0.75
    assert annotation['bbox'] == [2, 1, 3, 2] and annotation['area'] == 6
    np.testing.assert_array_equal(coco_mask.decode(annotation['segmentation']), MASKS[0])


@pytest.mark.parametrize(
    ('masks', 'scores', 'message'),
    [
        (MASKS[:, :2], [0.5, 0.5], r'a\.jpg: Fixed returns masks of \(2, 6\), and the image has \(4, 6\)'),
        (MASKS * np.uint8(200), [0.5, 0.5], r'a\.jpg: the masks of Fixed are not 0 or 1'),
        (MASKS, [0.5, float('nan')], r'a\.jpg: Fixed returns scores that are NaN'),
    ],
)
def test_masks_that_are_none(masks, scores, message):
    with pytest.raises(UserError, match=message):
        label.label_batch(Fixed(masks, scores), BATCH)


def test_no_instances():
    for none in (torch.zeros(0, 4, 6, dtype=torch.bool), np.zeros((0, 4, 6), bool), []):
        records, empty = label.label_batch(Fixed(none, []), BATCH)
        assert records['annotations'] == [] and empty == 0
