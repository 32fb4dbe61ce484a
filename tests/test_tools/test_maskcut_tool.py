"""Pseudo labels by the real command: what is in the file, and that no interrupt changes it."""

import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from pycocotools.coco import COCO
from toy_maskcut import BACKBONE, BATCH, DEATH, LOG, die_as_told, make_run, on_nth_step, save_checkpoint
from toy_runs import ROOT, InterruptionError, load_tool, run_tool

from projects.crate.datasets.image_list import list_images
from projects.crate.errors import UserError
from projects.crate.models import CRATE, MaskCutDetector, library_vit
from projects.crate.pseudo_labels import label, set_up_process
from projects.crate.pseudo_labels.images import ImageBatches
from projects.crate.study.masks import picture_path


@pytest.fixture
def run(tmp_path):
    """Arguments of a run over ten images, but OUT."""
    return make_run(tmp_path)


def maskcut(run, out, *options):
    images, *rest = map(str, run)
    return load_tool('maskcut')([images, str(out), *rest, *map(str, options)])


def ids_loaded(log):
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def ids_done(out):
    """The images in the files of ``OUT.parts``."""
    parts = [json.loads(path.read_text()) for path in Path(f'{out}.parts').glob('*/*/*.json')]
    return {image['id'] for part in parts for image in part['images']}


def test_masks_are_the_models(run, tmp_path):
    out = tmp_path / 'out.json'
    assert maskcut(run, out) == 0
    cfg = Config.fromfile(str(run[2]))
    coco = COCO(str(out))
    model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(run[4], weights_only=True)['state_dict'])
    with DefaultScope.overwrite_default_scope('mmdet'):
        batches = ImageBatches(list_images(run[0], tmp_path), label.image_pipeline(cfg), BATCH)
    masks = 0
    for number in range(len(batches)):
        batch = batches[number]
        for image_id, name, sample in zip(batch.ids, batch.names, model.test_step(batch.data)):
            entry = coco.imgs[image_id]
            assert (entry['file_name'], (entry['height'], entry['width'])) == (name, sample.ori_shape)
            annotations = coco.imgToAnns[image_id]
            found = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
            np.testing.assert_array_equal(
                np.reshape(found, sample.pred_instances.masks.shape), sample.pred_instances.masks
            )
            for annotation, box in zip(annotations, sample.pred_instances.bboxes.tolist()):
                x, y, width, height = annotation['bbox']
                assert [x, y, x + width, y + height] == box
            masks += len(annotations)
    assert masks == len(coco.anns) > len(coco.imgs) == 10
    assert sorted(coco.anns) == list(range(1, masks + 1))
    assert {(a['category_id'], a['iscrowd'], a['score']) for a in coco.anns.values()} == {(1, 0, 1.0)}


def test_a_pretrained_vit_in_place_of_config_and_checkpoint(run, tmp_path, monkeypatch, capsys):
    """The options reach the model, and other weights are other parameters of a run."""
    torch.manual_seed(0)
    model = CRATE(BACKBONE['arch'], img_size=16, patch_size=64, attn_cfg=dict(type='MHSA'))
    monkeypatch.setattr(library_vit, 'LOADERS', dict(timm=lambda name, is_folder: (model, [0.5] * 3, [0.25] * 3)))
    out, built = tmp_path / 'out.json', []
    monkeypatch.setattr(MaskCutDetector, '_explain', lambda self, features: built.append(self))
    command = [str(run[0]), str(out), '--backbone', 'timm/toy', '--num-workers', '0', '--batch-size', '10']
    cut = ['--num-masks', 'auto', '--score', 'gap', '--amp', 'bf16']
    assert load_tool('maskcut')([*command, '--facet', 'query', '--layers', '0', '1', '--centred', *cut]) == 0
    assert len(json.loads(out.read_text())['images']) == 10
    detector = built[0]
    assert detector.backbone is model
    assert (detector.facet, detector.layers, detector.centred) == ('query', [0, 1], True)
    assert (detector.num_masks, detector.score, detector.amp) == ('auto', 'gap', torch.bfloat16)
    assert detector.data_preprocessor.mean.flatten().tolist() == [127.5] * 3
    with torch.no_grad():
        model.ln1.bias += 1
    assert load_tool('maskcut')([*command, '--facet', 'query', '--layers', '0', '1', '--centred']) == 1
    assert 'checkpoint' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [[], ['--config', 'c.py'], ['--backbone', 'timm/toy', '--checkpoint', 'a.pth']])
def test_backbone_or_config_and_checkpoint(arguments, capsys):
    with pytest.raises(SystemExit):
        load_tool('maskcut')(['images', 'out.json', *arguments])
    assert '--backbone' in capsys.readouterr().err


def test_pictures_of_a_finished_file(run, tmp_path, capsys):
    """--draw can come later; an interrupt leaves whole pictures, which are not drawn again."""
    out, drawn = tmp_path / 'out.json', tmp_path / 'drawn'
    (run[0] / '02.JPEG').write_bytes(b'')
    assert maskcut(run, out) == 0
    assert maskcut(run, out, '--draw', drawn) == 0
    pictures = {path: path.read_bytes() for path in sorted(drawn.rglob('*.*'))}
    assert [str(path.relative_to(drawn)) for path in pictures] == [i['file_name'] for i in read(out, 'images')]
    first, *others = pictures
    stale = others[-1]
    first.unlink()
    stale.write_bytes(b'of an older file')
    os.utime(stale, (0, 0))
    times = {path: path.stat().st_mtime_ns for path in others}
    assert maskcut(run, out, '--draw', drawn) == 0
    assert {path: path.read_bytes() for path in drawn.rglob('*.*')} == pictures
    assert [path for path in others if path.stat().st_mtime_ns != times[path]] == [stale]
    first.unlink()
    text = out.read_text()
    before = out.stat().st_mtime_ns
    out.write_text(text.replace('"size": [', '"size": [1', 1))
    os.utime(out, ns=(before, before))
    assert maskcut(run, out, '--draw', drawn) == 1
    assert 'its run-length code has (height, width)' in capsys.readouterr().err.splitlines()[-1]


def read(out, key):
    return json.loads(out.read_text())[key]


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('a/b.png', 'a/b.png'),
        ('b.JPEG', 'b.JPEG'),
        ('a/b.webp', 'a/b.webp.png'),
        ('/tmp/b.png', 'tmp/b.png'),
        ('../../b.png', 'b.png'),
        ('a/../../b.png', 'a/b.png'),
    ],
)
def test_no_name_leads_out_of_the_folder_of_pictures(name, path):
    assert picture_path(Path('drawn'), name) == Path('drawn', path)


def test_mmdet_reads_the_file(run, tmp_path):
    assert maskcut(run, tmp_path / 'out.json') == 0
    cfg = dict(
        type='CocoDataset',
        ann_file=str(tmp_path / 'out.json'),
        data_prefix=dict(img=str(run[0])),
        metainfo=dict(classes=('object',)),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        data = DATASETS.build(cfg)
        assert len(data) == 10
        for sample in data:
            assert sample['gt_masks'].masks.shape[1:] == sample['img'].shape[:2]


def test_paths_are_sorted_below_the_folder_and_kept_of_a_list(run, tmp_path):
    maskcut(run, tmp_path / 'folder.json')
    names = [image['file_name'] for image in json.loads((tmp_path / 'folder.json').read_text())['images']]
    assert names == sorted(str(path.relative_to(run[0])) for path in run[0].rglob('*.*'))
    assert {Path(name).parent.name for name in names} == {'', 'a', 'b'}
    listed = tmp_path / 'list.txt'
    listed.write_text('\n'.join(['b/00.JPEG\tremark', '', str(run[0] / '02.JPEG')]))
    assert maskcut([listed, *run[1:]], tmp_path / 'list.json', '--root', run[0]) == 0
    images = json.loads((tmp_path / 'list.json').read_text())['images']
    assert [(image['id'], image['file_name']) for image in images] == [(1, 'b/00.JPEG'), (2, str(run[0] / '02.JPEG'))]


def damage(folder):
    """Truncate one image, empty all of a batch; returns what is left to be found, by name."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob('*.*'))
    broken = [names[1], *names[BATCH : 2 * BATCH]]
    for name in broken[1:]:
        (folder / name).write_bytes(b'')
    (folder / broken[0]).write_bytes((folder / broken[0]).read_bytes()[:-100])
    return broken


def test_unreadable_images_are_listed_and_left_out(run, tmp_path, capsys):
    broken = damage(run[0])
    assert maskcut(run, tmp_path / 'out.json') == 0
    listed = Path(f'{tmp_path}/out.json.unreadable.txt')
    assert [line.split('\t')[0] for line in listed.read_text().splitlines()] == broken
    assert f'5 of 10, see {listed}' in capsys.readouterr().err
    images = json.loads((tmp_path / 'out.json').read_text())['images']
    assert [image['id'] for image in images] == [1, 3, 4, 9, 10]
    # the list is itself a list of images
    shutil.rmtree(run[0])
    make_run(tmp_path)
    assert maskcut([listed, *run[1:]], tmp_path / 'rest.json', '--root', run[0]) == 0
    rest = json.loads((tmp_path / 'rest.json').read_text())['images']
    assert [image['file_name'] for image in rest] == broken
    assert not Path(f'{tmp_path}/rest.json.unreadable.txt').exists()


@pytest.mark.parametrize('forget', [False, True])
def test_mended_images_are_tried_again(run, tmp_path, monkeypatch, capsys, forget):
    """An image that was mended has changed; --forget-unreadable is for one that could not be read for a while."""
    maskcut(run, tmp_path / 'whole.json')
    out = tmp_path / 'out.json'
    damage(run[0])
    interrupt(monkeypatch, run, out, n=10)  # with two batches done
    make_run(tmp_path)
    if forget:
        assert maskcut(run, out, '--forget-unreadable') == 0
        assert '2 batches' in capsys.readouterr().out
    assert maskcut(run, out) == 0
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()
    assert maskcut(run, out, '--forget-unreadable') == 1
    assert f'{out} is complete' in capsys.readouterr().err


def interrupt(monkeypatch, run, out, n):
    """Run until the n-th step; False if there are less."""

    def stop():
        raise InterruptionError

    with monkeypatch.context() as patch:
        fsync, replace = on_nth_step(n, stop)
        patch.setattr(os, 'fsync', fsync)
        patch.setattr(Path, 'replace', replace)
        try:
            maskcut(run, out)
        except InterruptionError:
            return True
    return False


def test_interrupt_at_every_step(tmp_path, monkeypatch):
    """Each time the file is that of an undisturbed run, what was done is not loaded again, and nothing stays behind."""
    run = make_run(tmp_path, number=6, num_masks=1)
    maskcut(run, tmp_path / 'whole.json')
    log = tmp_path / 'log.txt'
    monkeypatch.setenv(LOG, str(log))
    for n in itertools.count(1):
        out = tmp_path / str(n) / 'out.json'
        if not interrupt(monkeypatch, run, out, n):
            break
        done = ids_done(out)
        was_merged = out.exists()
        log.unlink(missing_ok=True)
        assert maskcut(run, out) == 0
        assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()
        assert sorted(ids_loaded(log)) == ([] if was_merged else sorted(set(range(1, 7)) - done))
        assert [path.name for path in out.parent.iterdir()] == ['out.json']
    assert n == 3 + 2 * 3 + 3 + 1  # the parameters, two batches, the merged file


@pytest.mark.parametrize('before, after, done', [(2, 2, {5, 6, 7, 8}), (3, 1, {9, 10}), (1, 4, {1, 2, 3, 4})])
def test_number_of_processes_does_not_matter(run, tmp_path, monkeypatch, before, after, done):
    """Nor does a change of it after an interrupt. Each does its own share, and who is not the first never merges."""
    maskcut(run, tmp_path / 'whole.json')
    out = tmp_path / 'out.json'
    monkeypatch.setenv('WORLD_SIZE', str(before))
    monkeypatch.setenv('RANK', str(before - 1))
    if before > 1:
        assert maskcut(run, out) == 0
    else:
        assert interrupt(monkeypatch, run, out, n=7)
    assert ids_done(out) == done and not out.exists()
    monkeypatch.setenv('WORLD_SIZE', str(after))
    monkeypatch.setenv(LOG, str(tmp_path / 'log.txt'))
    for rank in reversed(range(after)):
        monkeypatch.setenv('RANK', str(rank))
        assert maskcut(run, out) == 0
    assert sorted(ids_loaded(tmp_path / 'log.txt')) == sorted(set(range(1, 11)) - done)
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()


def test_first_process_waits_for_the_others(run, tmp_path, monkeypatch, capsys):
    maskcut(run, tmp_path / 'whole.json')
    out = tmp_path / 'out.json'
    monkeypatch.setenv('WORLD_SIZE', '2')

    def other_process(seconds):
        assert not out.exists()
        monkeypatch.setenv('RANK', '1')
        assert maskcut(run, out) == 0

    monkeypatch.setattr('time.sleep', other_process)
    monkeypatch.setenv('RANK', '0')
    assert maskcut(run, out) == 0
    assert 'waiting for the other processes' in capsys.readouterr().err
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()


def test_one_thread_computes(run, tmp_path, monkeypatch):
    """More would give other last bits, and torchrun says one."""
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert maskcut(run, tmp_path / 'out.json') == 0
        assert (torch.get_num_threads(), os.environ['OMP_NUM_THREADS']) == (1, '1')
    finally:
        torch.set_num_threads(threads)


def test_place_among_processes(monkeypatch):
    """GPUs are shared out by the number on this machine, again from the first if there are more processes."""
    devices = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'set_device', devices.append)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.setenv(name, 'unset')
        monkeypatch.delenv(name)
    assert set_up_process('none') == (0, 1)
    assert devices == []
    monkeypatch.setenv('RANK', '5')
    monkeypatch.setenv('WORLD_SIZE', '8')
    assert set_up_process('pytorch') == (5, 8)
    monkeypatch.setenv('LOCAL_RANK', '3')
    assert set_up_process('pytorch') == (5, 8)
    for name, value in (('SLURM_PROCID', '9'), ('SLURM_NTASKS', '10'), ('SLURM_LOCALID', '2')):
        monkeypatch.setenv(name, value)
    assert set_up_process('slurm') == (9, 10)
    assert devices == [0, 1, 0]
    monkeypatch.setenv('RANK', '8')
    with pytest.raises(UserError, match='RANK is 8: it counts from 0 and stays below WORLD_SIZE, which is 8'):
        set_up_process('pytorch')


CHANGES = dict(
    tau=(['--cfg-options', 'model.tau=0.2'], 'model.tau (0.15, now 0.2)'),
    batch=(['--batch-size', '3'], 'batch_size (4, now 3)'),
    pipeline=(['--cfg-options', 'test_dataloader.dataset.pipeline.2.scale=(24,32)'], 'pipeline.2.scale.0 (32, now 24)'),
    checkpoint=([], 'checkpoint.sha256 ('),
    images=([], 'images.number (10, now 9)'),
    folder=([], 'images.root ('),
)


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('finished', [False, True])
def test_other_parameters_are_refused(run, tmp_path, monkeypatch, capsys, change, finished):
    out = tmp_path / 'out.json'
    assert maskcut(run, out) == 0 if finished else interrupt(monkeypatch, run, out, n=5)
    before = {path: path.read_bytes() for path in tmp_path.glob('out.json*/**/*') if path.is_file()}
    if change == 'checkpoint':
        save_checkpoint(run[4], seed=1)
    elif change == 'images':
        (run[0] / 'a' / '01.png').unlink()
    elif change == 'folder':  # the same names elsewhere
        run = [run[0].rename(tmp_path / 'elsewhere'), *run[1:]]
    options, message = CHANGES[change]
    assert maskcut(run, out, *options) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    remedy = f'choose another OUT, or remove {out}{"" if finished else ".parts"}'
    assert message in error and error.endswith(remedy)
    assert before == {path: path.read_bytes() for path in tmp_path.glob('out.json*/**/*') if path.is_file()}


def test_a_finished_file_is_left_alone(run, tmp_path, monkeypatch, capsys):
    out, log = tmp_path / 'out.json', tmp_path / 'log.txt'
    maskcut(run, out)
    monkeypatch.setenv(LOG, str(log))
    assert maskcut(run, out) == 0
    assert 'complete, nothing to do' in capsys.readouterr().err
    assert ids_loaded(log) == []
    out.write_text('{"images": []}')
    assert maskcut(run, out) == 1
    assert 'was not made by tools/maskcut.py' in capsys.readouterr().err
    assert out.read_text() == '{"images": []}'


def bad_commands(folder, run):
    images, _, config, _, weights = run
    base = dict(images=images, config=config, weights=weights)
    empty, foreign, broken = folder / 'empty', folder / 'foreign.pth', folder / 'broken.pth'
    empty.mkdir()
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), foreign)
    broken.write_bytes(b'PK')
    wide = folder / 'wide.py'
    wide.write_text(config.read_text() + "model['backbone']['arch']['embed_dims'] = 32\n")
    return {
        'no images': ({**base, 'images': empty}, 'no images in'),
        'no such images': ({**base, 'images': folder / 'nothing'}, 'neither a folder nor a text file'),
        'no such config': ({**base, 'config': folder / 'nothing'}, 'config not found'),
        'no such checkpoint': ({**base, 'weights': folder / 'nothing'}, 'checkpoint not found'),
        'foreign checkpoint': ({**base, 'weights': foreign}, 'weights (backbone.'),
        'broken checkpoint': ({**base, 'weights': broken}, 'cannot read the checkpoint'),
        'another size': ({**base, 'config': wide}, 'does not fit the model MaskCutDetector: '),
        'root of a folder': (base, '--root is for a text file', '--root', folder),
        'no such layer': (base, 'layer', '--cfg-options', 'model.layer=7'),
        'no such backbone': (base, 'Nothing is not in the', '--cfg-options', 'model.backbone.type=Nothing'),
        'no such stem': (base, 'patch_embed must be', '--cfg-options', 'model.backbone.patch_embed=nothing'),
        'no CRF': (base, 'needs pydensecrf2', '--cfg-options', 'model.crf=True'),
        'rank': (base, 'WORLD_SIZE is not set', '--launcher', 'pytorch'),
    }


def test_bad_input_is_one_line(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    for case, (files, message, *options) in bad_commands(tmp_path, run).items():
        command = [files['images'], '--config', files['config'], '--checkpoint', files['weights']]
        options = options if '--launcher' in options else ['--launcher', 'none', *options]
        assert maskcut(command, tmp_path / 'out.json', *options) == 1, case
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith('maskcut: ') and message in lines[0], case
        assert not Path(f'{tmp_path}/out.json.parts').exists(), case


def test_unused_weights_are_told(run, tmp_path, capsys):
    maskcut(run, tmp_path / 'whole.json')
    assert 'not used' not in capsys.readouterr().err
    save_checkpoint(run[4], **{'head.fc.weight': torch.zeros(2, 16), 'head.fc.bias': torch.zeros(2)})
    assert maskcut(run, tmp_path / 'out.json') == 0
    assert 'not used from' in (text := capsys.readouterr().err) and '2 weights (head.fc.weight, head.fc.bias)' in text


def test_failures_name_the_image(run, tmp_path, capsys):
    checkpoint = torch.load(run[4], weights_only=True)
    checkpoint['state_dict']['backbone.cls_token'][:] = torch.nan
    torch.save(checkpoint, run[4])
    assert maskcut(run, tmp_path / 'out.json') == 1
    assert '02.JPEG: the features of layer -1 hold NaN' in capsys.readouterr().err.splitlines()[-1]


def test_killed_command_goes_on(tmp_path, monkeypatch, capsys):
    """Interrupted as by Ctrl-C, then killed, at steps drawn by a seed, with loading processes; then left in peace."""
    run, out, log = make_run(tmp_path, number=24, num_masks=1), tmp_path / 'out.json', tmp_path / 'log.txt'
    maskcut(run, tmp_path / 'whole.json')
    rng = random.Random(0)
    images, *rest = run
    command = ['maskcut.py', images, out, *rest, '--num-workers', 2]
    n = rng.randrange(6, 12)
    first = run_tool(*command, check=False, **{DEATH: f'SIGINT {n} 0', LOG: str(log)})
    assert first.returncode == 130, first.stderr
    assert first.stderr.splitlines()[-1] == f'maskcut: interrupted; run the same command to continue from {out}.parts'
    assert 'Traceback' not in first.stderr
    done = ids_done(out)
    assert len(done) == (n - 3 + 1) // 3 * BATCH
    log.unlink()
    second = run_tool(*command, check=False, **{DEATH: f'SIGKILL {rng.randrange(6, 9)} 0', LOG: str(log)})
    assert second.returncode == -signal.SIGKILL, second.stderr
    assert not done & set(ids_loaded(log))
    assert done < (done := ids_done(out))
    log.unlink()
    monkeypatch.setenv(LOG, str(log))
    capsys.readouterr()
    assert maskcut(run, out) == 0
    assert f'maskcut: {len(done)}/24 images' in capsys.readouterr().err
    assert sorted(ids_loaded(log)) == sorted(set(range(1, 25)) - done)
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()
    assert not Path(f'{out}.parts').exists()


def fork(run, out, rank, death):
    """A process that is the whole tool but the import of the libraries."""

    def work():
        os.environ.update(RANK=str(rank), WORLD_SIZE='2', **{DEATH: death})
        die_as_told()
        sys.exit(maskcut(run, out))

    process = multiprocessing.get_context('fork').Process(target=work)
    process.start()
    return process


@pytest.mark.parametrize('dead', [[0], [1], [0, 1]])
def test_killed_processes_go_on(tmp_path, dead):
    """Of two that work at the same time one or both are killed, three times, at steps drawn by a seed."""
    run, out = make_run(tmp_path, number=24, num_masks=1), tmp_path / 'out.json'
    maskcut(run, tmp_path / 'whole.json')
    rng = random.Random(str(dead))
    for _ in range(3):
        death = ';'.join(f'SIGKILL {rng.randrange(3, 8)} {rank}' for rank in dead)
        processes = [fork(run, out, rank, death) for rank in (0, 1)]
        for rank in dead:
            processes[rank].join()
            assert processes[rank].exitcode == -signal.SIGKILL
        for process in processes:  # as torchrun does; the first waits for the second
            process.kill()
            process.join()
        assert not out.exists()
    assert maskcut(run, out) == 0
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()
    assert not Path(f'{out}.parts').exists()


def torchrun(run, out, death=''):
    images, *rest = run
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    return subprocess.run(
        [sys.executable, *launcher, *map(str, [ROOT / 'tools' / 'maskcut.py', images, out, *rest])],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]), **{DEATH: death}),
        capture_output=True,
        text=True,
    )


def test_killed_torchrun_goes_on(tmp_path):
    run, out = make_run(tmp_path, number=24, num_masks=1), tmp_path / 'out.json'
    maskcut(run, tmp_path / 'whole.json')
    assert torchrun(run, out, 'SIGKILL 7 1').returncode != 0
    assert ids_done(out) and not out.exists()
    again = torchrun(run, out)
    assert again.returncode == 0, again.stderr
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes()
    assert not Path(f'{out}.parts').exists()
