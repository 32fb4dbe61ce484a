"""A tiny CRATE with weights, and the generated scenes of configs/maskcut and configs/segmentation to measure it on."""

import json

import torch
from mmengine.config import Config
from toy_runs import ROOT

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.models import CRATE

ARCH = dict(embed_dims=16, num_heads=2, num_layers=3)
CONFIGS = dict(
    maskcut=ROOT / 'configs/maskcut/maskcut_crate-w128d5-p4_1xb8_sample-96x128px.py',
    segmentation=ROOT / 'configs/segmentation/coarse-seg_crate-w128d5-p4_1xb8_sample-96x128px.py',
)
LAYOUTS = dict(maskcut='coco', segmentation='voc')
AS_MADE = [f'model.backbone.arch.{key}={value}' for key, value in ARCH.items()]
AS_MADE += ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
OPTIONS = [*AS_MADE, 'test_dataloader.dataset.pipeline.1.scale=(64,48)']  # a grid of 12 x 16


def make_scenes(root, kind, number=8):
    """Scenes in ``root``, which CRATE_DATA has to name, in the layout of that kind of config."""
    make_sample_set(root / 'sample', LAYOUTS[kind], SampleSpec(8, number, (96, 128), 4), workers=1)


def command_for(root, kind, number, *options):
    """A function that gives the arguments of tools/test.py, with more of them, on so many scenes as they were made."""
    make_scenes(root, kind, number)
    weights = save_weights(root / 'weights.pth')
    return lambda *more: [str(CONFIGS[kind]), weights, *map(str, more), '--cfg-options', *AS_MADE, *options]


def metrics_of(folder, prefix=''):
    """What tools/test.py wrote into its work folder."""
    (path,) = folder.glob('*/*.json')
    return {key: value for key, value in json.loads(path.read_text()).items() if key.startswith(prefix)}


def save_weights(path, seed=0, **changes):
    """As mmpretrain saves a classifier around the backbone; None leaves a weight out."""
    torch.manual_seed(seed)
    settings = dict(Config.fromfile(CONFIGS['maskcut']).model.backbone, arch=ARCH)
    del settings['type']
    weights = {f'backbone.{key}': value for key, value in CRATE(**settings).state_dict().items()}
    weights = {**weights, 'head.fc.weight': torch.zeros(8, 16), **changes}
    torch.save(dict(state_dict={key: value for key, value in weights.items() if value is not None}), path)
    return str(path)
