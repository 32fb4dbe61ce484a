"""tools/discover.py from images to a page: a tiny run in this process, and one that is killed and continued."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from toy_maskcut import make_run
from toy_runs import ROOT, forget_runs, load_tool

pytest.importorskip('mmdet')
from projects.crate.errors import UserError
from projects.crate.pseudo_labels.merge import read_images
from projects.crate.study import discovery

BASE = ROOT / 'configs/detection/mask-rcnn_vit-small-p14_dinov2-pre-1xb4-step-12e_coco-pseudo-448x448px.py'
DETECTOR = f"""
_base_ = {str(BASE)!r}
model = dict(
    neck=dict(out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=8),
        mask_roi_extractor=dict(out_channels=8),
        mask_head=dict(in_channels=8, conv_out_channels=8),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=9), rcnn=dict(sampler=dict(num=8), mask_size=28)),
    test_cfg=dict(rpn=dict(max_per_img=9), rcnn=dict(score_thr=0.0, max_per_img=3)),
)
load_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(32, 32), keep_ratio=True),
]
__keys__ = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')
test_pipeline = [*load_pipeline, dict(type='PackDetInputs', meta_keys=__keys__)]
test_pipeline[0] = dict(type='LoadImageFromFile')
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(dataset=dict(pipeline=load_pipeline)))
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
train_cfg = dict(max_epochs=2)
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1.0)
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=1))
"""


def arguments(folder, number=6):
    """Images, annotations and configs in ``folder``; the arguments of a run of one round."""
    images, *source = make_run(folder, number, num_masks=2)
    source[1].write_text(source[1].read_text().replace('batch_size=4', 'batch_size=2'))
    (folder / 'detector.py').write_text(DETECTOR)
    return [images, *source, '--detector', folder / 'detector.py', '--rounds', 1, '--threshold', 0.3]


@pytest.fixture
def here(monkeypatch, fast_runner):
    """Let the tools run in this process; returns the list of what ran."""
    ran = []

    def run(words):
        ran.append(words[1])
        forget_runs()
        tool = words[1].removeprefix('tools/').removesuffix('.py')
        return SimpleNamespace(returncode=load_tool(tool)(list(map(str, words[2:]))))

    monkeypatch.setattr(subprocess, 'run', run)
    monkeypatch.chdir(ROOT)
    return ran


def discover(words, out):
    return load_tool('discover')([*map(str, words), '--out', str(out)])


def test_from_images_to_a_page(tmp_path, here, capsys):
    words, out = arguments(tmp_path), tmp_path / 'out'
    assert discover(words, out) == 0
    assert here == [f'tools/{name}.py' for name in ('maskcut', 'train', 'maskcut', 'merge_labels', 'train')]
    truth = json.loads((out / 'masks-0.json').read_text())  # MaskCut agrees with itself
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    (out / 'settings.json').unlink()
    here.clear()
    assert discover([*words, '--val', tmp_path / 'truth.json'], out) == 0
    assert here == ['tools/maskcut.py'] * 3  # the rest is done
    assert json.loads((out / 'results-0.json').read_text())['segm_mAP'] == pytest.approx(1)
    page = (out / 'index.html').read_text()
    assert all(text in page for text in ('MaskCut', 'first detector', 'round 1', 'AR100', 'tools/merge_labels.py'))
    predictions, masks = (
        json.loads((out / f'{name}-1.json').read_text())['annotations'] for name in ('predictions', 'masks')
    )
    kept = sum(one['score'] > 0.3 for one in predictions)
    assert kept and f'<td>{kept}</td><td>{len(masks) - kept}</td></tr>' in page
    first, second = (torch.load(path)['state_dict'] for path in sorted(out.glob('detector-*/epoch_2.pth')))
    frozen = [key for key in first if key.startswith('backbone.')]
    assert frozen and all(torch.equal(first[key], second[key]) for key in frozen)
    assert any(not torch.equal(first[key], second[key]) for key in first)
    capsys.readouterr()
    assert discover([*words, '--val', tmp_path / 'truth.json', '--threshold', 0.5], out) == 1
    assert 'settings.json is of a run with other settings' in capsys.readouterr().err


def test_no_masks_is_one_line(tmp_path, here, capsys):
    words = arguments(tmp_path, number=2)
    (tmp_path / 'config.py').write_text((tmp_path / 'config.py').read_text() + "model['tau'] = -1\n")
    assert discover(words, tmp_path / 'out') == 1
    assert 'discover: MaskCut found no mask in' in capsys.readouterr().err.splitlines()[-1]


def test_several_processes(tmp_path, monkeypatch):
    """Each step but the merge is started by torchrun."""
    commands = []
    monkeypatch.setattr(subprocess, 'run', lambda words: commands.append(words[1:]) or SimpleNamespace(returncode=1))
    assert discover([*arguments(tmp_path, number=1), '--processes', 3], tmp_path / 'out') == 1
    (words,) = commands
    assert words[:5] == ['-m', 'torch.distributed.run', '--nproc-per-node', '3', 'tools/maskcut.py']
    assert words[-2:] == ['--launcher', 'pytorch']


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ([], r"truth\.json: no image 'a\.jpg'"),
        (['a.jpg', 'b.jpg', 'c.jpg'], r"found\.json: no image 'b\.jpg', one of 2 of .*truth\.json"),
        (['a.jpg', 'a.jpg'], r'truth\.json: two of its images have one file_name'),
    ],
)
def test_evaluation_needs_the_images(tmp_path, names, message):
    images = [dict(id=n, file_name=name, height=4, width=4) for n, name in enumerate(names)]
    (tmp_path / 'truth.json').write_text(json.dumps(dict(images=images, annotations=[], categories=[])))
    (tmp_path / 'found.json').write_text(
        '{"info": {},\n"licenses": [],\n"categories": [],\n"images": [\n'
        '{"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}\n],\n"annotations": [\n]}\n'
    )
    assert [image['id'] for image in read_images(tmp_path / 'found.json')] == [1]
    with pytest.raises(UserError, match=message):
        discovery.evaluate(tmp_path / 'found.json', tmp_path / 'truth.json')


def test_annotations_are_checked_before_the_first_step(tmp_path, here, capsys):
    """LVIS has no names of files."""
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps(dict(images=[dict(id=1, height=4, width=4)], annotations=[], categories=[])))
    assert discover([*arguments(tmp_path, number=1), '--val', truth], tmp_path / 'out') == 1
    assert not here and capsys.readouterr().err == f'discover: {truth}: file_name is missing from 1 of its images\n'


def test_the_last_round_needs_a_threshold(tmp_path, capsys):
    with pytest.raises(SystemExit):
        discover([tmp_path, '--backbone', 'dino-small', '--threshold', 0.1, '--rounds', 4], tmp_path / 'out')
    assert '--threshold 0.1: 4 rounds, 0.05 less in each, need 0.15 or more' in capsys.readouterr().err


def start(words, out):
    variables = dict(os.environ, PYTHONPATH=f'{ROOT}:{ROOT}/tests', OMP_NUM_THREADS='1')
    command = [sys.executable, 'tools/discover.py', *words, '--out', out]
    return subprocess.Popen(
        [*map(str, command)], cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, start_new_session=True
    )


@pytest.mark.slow
def test_random_kills(tmp_path):
    """SIGKILL to all processes of a run, four times; masks and weights are those of a whole run.

    A training of one epoch begins again. Of a longer one the random draws would be others after it is resumed.
    """
    words, whole, parted = arguments(tmp_path, number=4), tmp_path / 'whole', tmp_path / 'parted'
    (tmp_path / 'detector.py').write_text(DETECTOR.replace('max_epochs=2', 'max_epochs=1'))
    started = time.monotonic()
    assert start(words, whole).wait() == 0
    seconds, rng = time.monotonic() - started, random.Random(0)
    for _ in range(4):
        process = start(words, parted)
        try:
            process.wait(rng.uniform(0, seconds / 2))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert start(words, parted).wait() == 0
    for name in ('masks-0', 'predictions-1', 'masks-1'):
        old, new = (json.loads((folder / f'{name}.json').read_text()) for folder in (whole, parted))
        assert old['annotations'] == new['annotations'] and old['images'] == new['images'], name
    for path in sorted(whole.glob('detector-*/epoch_1.pth')):
        old, new = (torch.load(one)['state_dict'] for one in (path, parted / path.relative_to(whole)))
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert (parted / 'index.html').is_file() and not [*parted.rglob('*.part')]
