"""tools/test.py with the recipes of object discovery, beside TokenCut written once more, with dense matrices."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from config_tree import BASE
from mmengine.registry import MODELS
from PIL import Image
from scipy import linalg, ndimage
from toy_runs import forget_runs, load_tool
from toy_sweeps import ARCH, metrics_of, save_weights

from projects.crate.engine.launch import read_config

pytestmark = pytest.mark.usefixtures('fast_runner')

SIZES = [(33, 50), (40, 31), (28, 44)]  # no side is a multiple of the patch but one
MEAN, STD = (np.array(values) for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
XML = (
    '<annotation><size><width>{1}</width><height>{0}</height></size><object><name>dog</name><difficult>{2}</difficult>'
    '<bndbox><xmin>{3}</xmin><ymin>{4}</ymin><xmax>{5}</xmax><ymax>{6}</ymax></bndbox></object></annotation>'
)
CONFIG = """
_base_ = '{base}/recipes/{data}.py'
model = dict(layer=2, backbone=dict(type='CRATE', arch={arch}, img_size=48, patch_size=4))
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""


def tokencut(features, grid, tau=0.2):
    """TokenCut's object, (h, w) bool: the part of the cut that holds the peak of the eigenvector."""
    units = F.normalize(features.detach().double(), dim=0).numpy()
    weights = np.where(units.T @ units > tau, 1.0, 1e-5)
    degrees = np.diag(weights.sum(1))
    vector = linalg.eigh(degrees - weights, degrees, subset_by_index=[1, 1])[1][:, 0]
    peak = np.abs(vector).argmax()
    vector = vector * np.sign(vector[peak])
    parts, _ = ndimage.label((vector > vector.mean()).reshape(grid))
    return parts == parts.flatten()[peak]


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Photos of a patch on a ground, and the mask that TokenCut finds in each by the weights of weights.pth."""
    monkeypatch.setenv('CRATE_DATA', str(tmp_path))
    for name in ('ECSSD/images', 'ECSSD/masks', *(f'VOCdevkit/VOC2007/{one}' for one in ('JPEGImages', 'Annotations'))):
        (tmp_path / name).mkdir(parents=True)
    save_weights(tmp_path / 'weights.pth')
    for data in ('corloc_voc2007', 'saliency_ecssd'):
        (tmp_path / f'{data}.py').write_text(CONFIG.format(base=BASE, data=data, arch=ARCH))
    model = MODELS.build(dict(read_config(str(tmp_path / 'saliency_ecssd.py')).model, data_preprocessor=None))
    saved = torch.load(tmp_path / 'weights.pth', weights_only=True)['state_dict']
    model.load_state_dict({key: value for key, value in saved.items() if key.startswith('backbone.')}, strict=False)
    rng = np.random.default_rng(3)
    masks = []
    for number, (height, width) in enumerate(SIZES):
        pixels = rng.normal(90, 12, (height, width, 3))
        pixels[8:20, 16:28] += [90, -40, 20]
        pixels = pixels.clip(0, 255).astype(np.uint8)
        for folder in ('ECSSD/images', 'VOCdevkit/VOC2007/JPEGImages'):
            Image.fromarray(pixels).save(tmp_path / folder / f'{number}.jpg', quality=100)
        pixels = np.asarray(Image.open(tmp_path / folder / f'{number}.jpg'))  # as they are stored
        image = torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1)[None].float()
        features = model.read(image, [2], 'tensor')[2].patch_features[0].T
        grid = -(-height // 4), -(-width // 4)
        masks.append(tokencut(features, grid).repeat(4, 0).repeat(4, 1)[:height, :width])
    return masks


def run(tmp_path, data, prefix):
    forget_runs()
    config, weights = (str(tmp_path / name) for name in (f'{data}.py', 'weights.pth'))
    assert load_tool('test')([config, weights, '--work-dir', str(tmp_path / data)]) == 0
    return metrics_of(tmp_path / data, prefix)


def test_corloc_of_voc(tmp_path, scenes):
    """The first box is right, that of the second image is elsewhere, the third is right and a difficult object."""
    folder = tmp_path / 'VOCdevkit/VOC2007'
    (folder / 'ImageSets/Main').mkdir(parents=True)
    (folder / 'ImageSets/Main/trainval.txt').write_text('0\n1\n2\n')
    for number, mask in enumerate(scenes):
        rows, columns = ndimage.find_objects(mask.astype(int))[0]
        box = [1 + side for side in (columns.start, rows.start, columns.stop, rows.stop)]  # VOC counts from 1
        if number == 1:
            box = [1, 1, 4, 4]
        text = XML.format(*mask.shape, int(number == 2), *box)
        (folder / f'Annotations/{number}.xml').write_text(text)
    assert run(tmp_path, 'corloc_voc2007', 'discovery') == {'discovery/CorLoc': pytest.approx(200 / 3)}


def test_saliency_of_ecssd(tmp_path, scenes):
    """The map of the second image is that of its ground: nothing of it is right."""
    for number, mask in enumerate(scenes):
        values = (mask != (number == 1)).astype(np.uint8) * 255
        Image.fromarray(values).save(tmp_path / f'ECSSD/masks/{number}.png')
    found = run(tmp_path, 'saliency_ecssd', 'saliency')
    assert found == {f'saliency/{name}': pytest.approx(200 / 3) for name in ('IoU', 'accuracy', 'max_F')}
