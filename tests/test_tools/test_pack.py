"""tools/experiments/pack.py without a network: what is packed, and the script for the other machine."""

import os
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_runs import load_tool, run_tool

from projects.crate.errors import UserError


@pytest.fixture
def pack():
    """The names of the tool."""
    return load_tool('experiments/pack').__globals__


def test_needs_are_packed_and_those_of_the_machine_are_not(pack):
    """termcolor is a need of mmengine; matplotlib, too, but the machine has it, and with it pyparsing."""
    name = packages_distributions()['mmengine'][0]  # the forks have another name
    found = pack['closure']([name], {'torch', 'Matplotlib', 'opencv_python'})
    assert {name, 'termcolor', 'yapf', 'addict'} <= found
    assert not {'matplotlib', 'pyparsing', 'opencv-python', 'torch', 'pytest'} & found
    with pytest.raises(UserError, match='^unheard-of is not installed here: use the environment of `make install`$'):
        pack['closure'](['unheard_of'], set())


@pytest.fixture
def pip(pack, monkeypatch):
    """Function: what ``pip wheel`` makes; returns the list of commands. ``pip download`` finds nothing."""

    def stand_in(built):
        commands = []

        def run(command, **_):
            commands.append(command)
            if 'wheel' in command:
                (folder,) = (word.removeprefix('--wheel-dir=') for word in command if word.startswith('--wheel-dir='))
                Path(folder, built).touch()
            return SimpleNamespace(returncode=int('download' in command))

        monkeypatch.setattr(pack['subprocess'], 'run', run)
        return commands

    return stand_in


def test_a_source_of_pure_python_is_built(pack, pip, tmp_path):
    commands = pip('toy-1.0-py3-none-any.whl')
    pack['fetch']('toy==1.0', '3.12', tmp_path)
    assert '--python-version=3.12' in commands[0] and commands[0][-1] == commands[1][-1] == 'toy==1.0'
    assert [path.name for path in tmp_path.iterdir()] == ['toy-1.0-py3-none-any.whl']


def test_a_wheel_for_this_machine_alone_is_refused(pack, pip, tmp_path):
    pip('toy-1.0-cp311-cp311-linux_x86_64.whl')
    with pytest.raises(UserError, match=r'no wheel of toy==1\.0 for Python 3\.12: name it in --has'):
        pack['fetch']('toy==1.0', '3.12', tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(('code', 'words'), [(0, 'all trainings are finished'), (143, 'not finished: call it again')])
def test_the_script_trains_with_the_packed_packages(pack, tmp_path, code, words):
    """A stand-in for Python says how it was called."""
    (tmp_path / 'train.sh').write_text(pack['SCRIPT'])
    (tmp_path / 'python').write_text(f'#!/bin/bash\necho "$PYTHONPATH" "$@"\nexit {code}\n')
    (tmp_path / 'python').chmod(0o755)
    command = ['bash', tmp_path / 'train.sh', '--budget', 'gpu']
    environment = dict(os.environ, PYTHON=str(tmp_path / 'python'))
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ' -m pip install' in result.stdout and 'emergence' not in result.stdout  # it made no site
    (tmp_path / 'site').mkdir()
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == code and result.stdout.splitlines()[-1] == f'train.sh: {words}'
    assert f'{tmp_path}/site tools/experiments/emergence.py --train-only --budget gpu' in result.stdout


def test_help_needs_no_package():
    assert 'mmcv-lite' in run_tool('experiments/pack.py', '--help').stdout
