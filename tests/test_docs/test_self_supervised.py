"""The stock self-supervised configs of mmpretrain with CRATE, by the block and the table of the page for users."""

import math
import re

import pytest
from config_tree import ROOT

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.sample_set.coats import CLASSES

pytestmark = pytest.mark.usefixtures('fast_runner')

PAGE = (ROOT / 'docs/self-supervised.md').read_text()
BLOCK = re.search(r'^```python\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)[1]
STOCK = re.findall(r'^\| [\w ]+ \| `([^`]+)` \|$', PAGE, re.MULTILINE)
ARCH = dict(embed_dims=16, num_heads=2, num_layers=2)
SMALLER = {'hid_channels': 16, 'queue_len': 8, 'queue_length': 16}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    make_sample_set(folder, 'imagenet', SampleSpec(8, 8, (96, 128)))
    return folder


def shrink(node):
    """Reduce what makes a stock config large: hidden widths, queues, and the images of its views."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if key in SMALLER:
            node[key] = SMALLER[key]
        elif key == 'scale' and value in (96, 224):
            node[key] = value // 3
        elif isinstance(value, dict | list):
            shrink(value)


def test_every_method_of_the_text_has_a_row():
    names = ['simclr', 'byol', 'simsiam', 'mocov2', 'mocov3', 'densecl', 'barlowtwins', 'swav']
    assert [name.split('/')[0] for name in STOCK] == names


@pytest.mark.parametrize('stock', STOCK)
def test_trains_one_step(tmp_path, data, stock):
    text = re.sub(r'mmpretrain::[^\']+', f'mmpretrain::{stock}.py', BLOCK, count=1)
    path = tmp_path / 'my_config.py'
    path.write_text(text.replace("arch='base'", f'arch={ARCH}').replace('768', '16'))
    cfg = launch.read_config(str(path), work_dir=str(tmp_path / 'run'))
    shrink(cfg._cfg_dict)
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.update(
        data_root=str(data / 'imagenet'), data_prefix='train', ann_file='', split='', classes=CLASSES, indices=4
    )
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    for hook in cfg.get('custom_hooks', []):
        if hook.type == 'SwAVHook':
            hook.batch_size = 4
    launch.prepare_training(cfg)
    runner = launch.build_runner(cfg)
    runner.train()

    assert runner.iter == 1
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    (backbone,) = [module for module in runner.model.modules() if type(module).__name__ == 'CRATE'][:1]
    state = runner.optim_wrapper.optimizer.state
    assert all(parameter in state for parameter in backbone.parameters())
