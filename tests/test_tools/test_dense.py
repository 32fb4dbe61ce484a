"""tools/experiments/dense.py: a linear probe as a user runs it, on a few images in CamVid's layout."""

import numpy as np
import pytest
from PIL import Image
from toy_runs import run_tool

from projects.crate.study.dense import dense_table
from projects.crate.study.experiment import Row, read_results

RESIZE = dict(train=2, val=1, test=1)  # place in the pipeline


@pytest.fixture
def camvid(tmp_path):
    """A few images of two classes: bright and dark halves."""
    labels = np.repeat(np.uint8([0, 3]), 30)[:, None].repeat(80, axis=1)
    for split, count in (('train', 8), ('val', 2), ('test', 3)):
        for i in range(count):
            for kind, pixels, suffix in (('images', 200 - 60 * labels, 'jpg'), ('annotations', labels, 'png')):
                path = tmp_path / f'camvid/{kind}/{split}/{i}.{suffix}'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).convert('RGB' if suffix == 'jpg' else 'L').save(path)
    return tmp_path


def test_rows_of_what_is_missing(camvid):
    results = camvid / 'dense.json'
    command = ['experiments/dense.py', '--data-root', camvid, '--out', camvid / 'out', '--results', results]
    command += ['--task', 'linear', '--only', 'CRATE', '--seeds', 1]
    options = ['--cfg-options', 'train_cfg.max_iters=2', 'param_scheduler=[]', 'train_dataloader.batch_size=4']
    options += ['default_hooks.checkpoint.interval=2', 'model.data_preprocessor.size=(60,80)']
    options += [f'{loader}_dataloader.dataset.pipeline.{i}.scale=(80,60)' for loader, i in RESIZE.items()]
    run_tool(*command, *options)
    rows, _ = read_results(results)
    assert {(row.model, row.metric) for row in rows} == {
        (f'CRATE, {start}', f'linear: mIoU, {split}')
        for start in ('trained', 'random weights')
        for split in ('validation', 'test')
    }
    assert all(0 < row.value <= 100 and row.iteration == 2 for row in rows)
    assert '$' not in run_tool(*command, *options).stdout  # nothing is missing


def test_table_has_mean_and_range_over_the_seeds():
    rows = [
        Row('CRATE, trained', seed, 400, '240 x 320', -1, f'linear: mIoU, {split}', value)
        for seed, values in enumerate(((20.0, 10.0), (24.0, 12.0)))
        for split, value in zip(('validation', 'test'), values)
    ]
    assert dense_table(rows, 'linear').rows == [['CRATE, trained', 2, '22.0 (20.0 to 24.0)', '11.0 (10.0 to 12.0)']]
    assert dense_table(rows, 'upernet').rows == []
