"""k-NN on frozen features, beside loops over distances."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from projects.crate.study.neighbours import NUM_NEIGHBOURS, knn_accuracy

PREPROCESSOR = dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True)
ARCH = dict(embed_dims=16, num_heads=2, num_layers=2)


def folders(root, rng):
    """Two classes of images 8 x 8, which differ in colour: 30 to learn from, 20 to test."""
    pixels = {}
    for split, count in (('train', 15), ('val', 10)):
        for label, mean in enumerate((100, 130)):
            folder = root / split / str(label)
            folder.mkdir(parents=True)
            for number in range(count):
                image = rng.normal([mean, 255 - mean, 90], 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(image).save(folder / f'{number:02}.png')
                pixels.setdefault(split, []).append((image, label))
    return pixels


@pytest.fixture
def classifier(tmp_path):
    """Config of a classifier with random weights, its checkpoint, and the pixels of its images."""
    pixels = folders(tmp_path / 'data', np.random.default_rng(30))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    data = dict(type='CustomDataset', data_root=str(tmp_path / 'data'), pipeline=pipeline)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(backbone=dict(type='CRATE', arch=ARCH, img_size=8, patch_size=4)),
            data_preprocessor=PREPROCESSOR,
            train_dataloader=dict(dataset=dict(type='ImagesInMemory', data_prefix='train')),
            test_dataloader=dict(dataset=dict(data, data_prefix='val')),
        )
    )
    torch.manual_seed(0)
    backbone = MODELS.build(dict(cfg.model.backbone))
    torch.nn.init.uniform_(backbone.ln1.weight, 0, 5)  # or all features would have one length
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in backbone.state_dict().items()}), tmp_path / 'w.pth')
    return cfg, tmp_path / 'w.pth', pixels, backbone.eval()


def test_beside_loops(classifier):
    cfg, checkpoint, pixels, backbone = classifier

    def feature_of(image):
        return backbone((torch.tensor(image.transpose(2, 0, 1).copy())[None].float() - 120) / 60)[-1][0]

    with torch.no_grad():
        known, tested = ([(feature_of(image), label) for image, label in pixels[split]] for split in ('train', 'val'))
    hits = 0
    for feature, label in tested:
        near = sorted(known, key=lambda one: -float(torch.cosine_similarity(one[0], feature, dim=0)))
        votes = [one[1] for one in near[:NUM_NEIGHBOURS]]
        hits += max((0, 1), key=votes.count) == label
    assert 0 < hits < len(tested)
    assert knn_accuracy(cfg, checkpoint) == pytest.approx(100 * hits / len(tested))
