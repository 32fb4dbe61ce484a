"""tools/train.py where files cannot be written: one line, nothing half-written, and --resume goes on."""

import os
import re
import resource
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked_tools import FRESH_PYTHON
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_runs import ROOT, config, forget_runs, last_checkpoint, load_tool, same

from projects.crate.engine import disk

pytestmark = pytest.mark.usefixtures('fast_runner')
GO_ON = ', then run the same command with --resume to continue'


def train(*arguments):
    forget_runs()
    return load_tool('train')([str(argument) for argument in arguments])


def line(capsys):
    """The only line of the tool on stderr; a log that cannot be written has printed no traceback."""
    text = capsys.readouterr().err
    assert 'Traceback' not in text and 'Logging error' not in text
    (found,) = [line for line in text.splitlines() if line.startswith('train: ')]
    return found


def unfinished(folder):
    return [path for path in Path(folder).rglob('*') if path.name.endswith('.part')]


@contextmanager
def largest_file(size):
    """Stand for a full disk: no file of this process can grow beyond ``size`` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('size, file', [(3000, 'run'), (5000, '.log'), (9000, 'iter_2.pth')])
def test_full_disk_is_one_line_and_resume_goes_on(tmp_path, capsys, size, file):
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    assert train(config(whole)) == 0
    path = config(parted)
    capsys.readouterr()
    with largest_file(size):
        assert train(path, '--resume') == 1
    found = line(capsys)
    named, _, rest = found.removeprefix('train: cannot write ').partition(': ')
    assert named.startswith(str(parted / 'run')) and named.endswith(file)
    assert rest.startswith('File too large; raise the limit on file sizes (ulimit -f)')
    assert rest.endswith(GO_ON) or file == 'run'
    assert not unfinished(parted)
    assert train(path, '--resume') == 0
    assert same(last_checkpoint(parted)['state_dict'], last_checkpoint(whole)['state_dict'])


def test_full_disk_while_the_config_is_written(tmp_path, capsys):
    path = config(tmp_path)
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'toy.json').symlink_to('/dev/full')
    assert train(path) == 1
    assert line(capsys) == f'train: cannot write {tmp_path}/run/toy.json: No space left on device; free some space'


def test_full_disk_while_a_curve_is_written(tmp_path, capsys):
    hooks = [dict(type='WriteCurveHook')]
    assert train(config(tmp_path, custom_hooks=hooks)) == 1
    expected = f'train: cannot write {tmp_path}/run/curve.json: No space left on device; free some space{GO_ON}'
    assert line(capsys) == expected


@HOOKS.register_module()
class WriteCurveHook(Hook):
    """Write as a hook of anybody does."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        path = Path(runner.work_dir, 'curve.json')
        if not path.is_symlink():
            path.symlink_to('/dev/full')
        with path.open('w') as file:
            file.write('[]')


@pytest.mark.parametrize('folder', ['/proc/nothing/run', '{root}/toy.json/run', '{root}/toy.json', '/dev/full'])
def test_forbidden_folder_is_one_line(tmp_path, capsys, folder):
    path = config(tmp_path)
    folder = folder.format(root=tmp_path)
    assert train(path, '--work-dir', folder) == 1
    found = line(capsys)
    assert found.startswith(f'train: cannot write {folder}: ') and found.endswith('choose another folder (--work-dir)')


def test_a_work_folder_whose_name_is_no_text(tmp_path):
    """The pointer to the last checkpoint holds the bytes of the path."""
    folder = tmp_path / os.fsdecode(b'run\xff')
    path = config(tmp_path)
    assert train(path, '--work-dir', folder, '--cfg-options', 'train_cfg.max_epochs=2') == 0
    assert (folder / 'last_checkpoint').read_bytes() == os.fsencode(folder / 'iter_10.pth')
    assert train(path, '--work-dir', folder, '--resume') == 0
    assert (folder / 'iter_15.pth').is_file()


def test_errors_of_reading_are_no_errors_of_writing(tmp_path):
    with pytest.raises(PermissionError), disk.write_errors(str(tmp_path / 'run')):
        raise PermissionError(13, 'Permission denied', str(tmp_path / 'data' / 'photo.jpg'))


def test_no_process_is_left_waiting(tmp_path):
    """Two processes without an agent that would end the second one: both end, and the one that writes says why."""
    path = config(tmp_path)
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    where = dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    command = f'ulimit -f 12; exec {FRESH_PYTHON} {ROOT}/tools/train.py {path} --launcher pytorch'
    runs = [
        subprocess.Popen(
            ['bash', '-c', command],
            env=dict(where, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2'),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [1, 1]
    lines = [[line for line in text.splitlines() if line.startswith('train: ')] for text in errors]
    assert [len(found) for found in lines] == [1, 0]
    assert re.match(rf'train: cannot write {tmp_path}/run/iter_\d+\.pth: ', lines[0][0])
    assert not any('Traceback' in text for text in errors)
