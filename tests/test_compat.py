import os
import pickle
import pkgutil
import subprocess
import sys

import cv2
import mmcv
import numpy as np
import pytest
import torch
from config_tree import ROOT
from mmengine.config import Config, ConfigDict
from mmengine.config import config as config_module
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from mmengine.utils.dl_utils.misc import mmcv_full_available
from yapf.yapflib import yapf_api

from projects.crate import compat


@pytest.fixture(autouse=True)
def applied():
    """As after the import of the project: onedl-mmengine takes its types off torch's list after a load of its own."""
    compat.apply()


class Call:
    """Pickles as a call of ``function``, which is how a file runs code."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def load(value, tmp_path):
    torch.save(value, tmp_path / 'file.pth')
    return torch.load(tmp_path / 'file.pth', weights_only=True)


def test_reads_what_mmengine_logs(tmp_path):
    hub = MessageHub.get_instance('compat')
    for value in (0.5, np.float32(0.25), torch.tensor(0.75)):
        hub.update_scalar('train/loss', value)
    hub.update_info('iter', 3)
    hub.update_info('numpy', np.float64(1.5))
    hub.update_info('array', np.arange(3))
    loaded = load(dict(message_hub=hub.state_dict()), tmp_path)['message_hub']
    history = loaded['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.statistics('mean') == pytest.approx(0.5)
    assert [history.statistics(name) for name in ('min', 'max', 'current')] == pytest.approx([0.25, 0.75, 0.75])
    assert loaded['runtime_info']['numpy'] == 1.5
    assert loaded['runtime_info']['array'].tolist() == [0, 1, 2]
    other = MessageHub.get_instance('compat_resumed')
    other.load_state_dict(loaded)
    assert other.get_scalar('train/loss').current() == pytest.approx(0.75)
    assert other.get_info('iter') == 3


@pytest.mark.parametrize(
    'call',
    [
        Call(os.system, 'exit 0'),
        Call(eval, '1 + 1'),
        Call(getattr, HistoryBuffer, '__init__'),
        Call(getattr, HistoryBuffer, 'register_statistics'),
        Call(getattr, np.ndarray, 'tofile'),
        Call(getattr, np.ndarray, 'mean'),
        Call(getattr, torch.Tensor, 'numpy'),
    ],
    ids=lambda call: f'{call.call[0].__name__}-{call.call[1][-1]}',
)
def test_refuses_everything_else(call, tmp_path):
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        load(dict(value=call), tmp_path)


def test_applying_again_changes_nothing():
    before = list(torch.serialization.get_safe_globals())
    in1d = np.in1d
    compat.apply()
    assert len(torch.serialization.get_safe_globals()) == len(before)
    assert np.in1d is in1d


def test_older_torch_needs_no_list(monkeypatch):
    def forbidden(_):
        raise AssertionError('torch 2.0 has no such function')

    monkeypatch.setattr(torch, '__version__', '2.0.1+cpu')
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', forbidden)
    compat.allow_mmengine_checkpoints()


def test_numpy_names(monkeypatch):
    monkeypatch.delattr(np, 'in1d', raising=False)
    monkeypatch.delattr(np, 'float', raising=False)
    compat.restore_numpy_names()
    assert np.in1d([[1, 2], [3, 1]], [1, 5]).tolist() == [True, False, False, True]
    assert np.float is float


def test_numpy_names_that_are_there_stay(monkeypatch):
    own = object()
    monkeypatch.setattr(np, 'in1d', own, raising=False)
    compat.restore_numpy_names()
    assert np.in1d is own


def test_find_loader(monkeypatch):
    """As on Python 3.14, which has no such function; mmengine calls it before each training."""
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.restore_find_loader()
    assert mmcv_full_available()
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    assert not mmcv_full_available()


@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet', 'mmseg'])
def test_bases_of_the_libraries_are_found(tmp_path, library):
    """Whatever the distribution is called that they come from."""
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{library}::_base_/default_runtime.py'")
    assert Config.fromfile(path).default_scope == library


def test_hue_turns_backwards(rng_image):
    """OpenCV's full-range hue is a circle of 256 steps: 0.1 back is 25 steps back (255 / 10, rounded towards 0)."""
    hsv = cv2.cvtColor(rng_image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] = (hsv[..., 0].astype(int) - 25) % 256
    assert np.array_equal(mmcv.adjust_hue(rng_image, -0.1), cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL))
    assert mmcv.adjust_hue(rng_image, -0.5, backend='pillow').shape == rng_image.shape
    with pytest.raises(ValueError, match='hue_factor'):
        mmcv.adjust_hue(rng_image, -0.6)


@pytest.fixture
def rng_image():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize('cfg_type', [dict, ConfigDict])
def test_collate_functions_may_have_a_scope(cfg_type):
    cfg = cfg_type(
        batch_size=2,
        dataset=[1, 2],
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate', _scope_='mmpretrain'),
    )
    assert next(iter(Runner.build_dataloader(cfg))).tolist() == [1, 2]
    assert cfg['collate_fn']['_scope_'] == 'mmpretrain'
    cfg['collate_fn'] = sum  # a function is one, too
    assert next(iter(Runner.build_dataloader(cfg))) == 3


def test_mmpretrain_beside_new_transformers(tmp_path):
    """A distribution that only says its version: mmpretrain decides by that whether to import multi-modal models."""
    folder = tmp_path / 'transformers-4.57.0.dist-info'
    folder.mkdir()
    folder.joinpath('METADATA').write_text('Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.0\n')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])}
    code = 'import projects.crate, mmpretrain.models as models; print(models.build_backbone(dict(type="CRATE")))'
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith('CRATE('), done.stderr


def test_masks_of_boxes_beside_an_image_are_empty():
    """mmdet on a CPU: an empty range, whose end is before its start. Others are pasted as before."""
    module = pytest.importorskip('mmdet.models.roi_heads.mask_heads.fcn_mask_head')
    compat.paste_masks_beside_images()
    masks = torch.ones(1, 1, 4, 4)
    for box in ([-9.0, 2, -5, 6], [2.0, -9, 6, -5], [30.0, 2, 34, 6], [2.0, 20, 6, 24]):
        pasted, place = module._do_paste_mask(masks, torch.tensor([box]), 10, 20, skip_empty=True)
        canvas = torch.zeros(1, 10, 20)
        canvas[(slice(None), *place)] = pasted
        assert not canvas.any()
        with pytest.raises(RuntimeError, match='inconsistent with step sign'):  # else the remedy has become needless
            module._do_paste_mask.__wrapped__(masks, torch.tensor([box]), 10, 20, skip_empty=True)
    for box in ([-3.0, 2, 4, 6], [-0.5, 2, 0.0, 6], [19.5, 9.5, 24, 24]):
        ours = module._do_paste_mask(masks, torch.tensor([box]), 10, 20, skip_empty=True)
        theirs = module._do_paste_mask.__wrapped__(masks, torch.tensor([box]), 10, 20, skip_empty=True)
        assert torch.equal(ours[0], theirs[0]) and ours[1] == theirs[1]


def test_mmdets_tools_recognise_our_loading_transform():
    datasets = pytest.importorskip('mmdet.datasets')
    compat.recognise_loading_transforms()
    pipeline = [dict(type=name) for name in ('LoadImageOrSkip', 'mmdet.LoadAnnotations', 'mmdet.Resize')]
    assert datasets.get_loading_pipeline(pipeline) == pipeline[:2]
    with pytest.raises(AssertionError, match='loading image and annotations'):
        datasets.get_loading_pipeline(pipeline[1:])


def test_a_config_is_formatted_once(monkeypatch):
    """Its text is that of yapf; another config has another text."""
    seen, original = [], yapf_api.FormatCode.__wrapped__

    def counted(text, **options):
        seen.append(options['style_config']['based_on_style'])
        return original(text, **options)

    monkeypatch.setattr(config_module, 'FormatCode', counted)
    monkeypatch.setattr(yapf_api, 'FormatCode', counted)
    compat.format_a_config_once()
    config, other = (Config(dict(b=dict(type='x', a=number))) for number in (1, 2))
    assert config.pretty_text == config.pretty_text == "b = dict(a=1, type='x')\n"
    assert other.pretty_text == "b = dict(a=2, type='x')\n"
    assert seen == ['pep8', 'pep8']
