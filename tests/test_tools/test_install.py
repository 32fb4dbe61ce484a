import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def install(monkeypatch, tmp_path):
    """The installer as a module, with its wheels and environments below ``tmp_path`` and nothing it may run."""
    spec = importlib.util.spec_from_file_location('crate_install', ROOT / 'tools' / 'install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv('CRATE_WHEELS', str(tmp_path / 'wheels'))

    def forbidden(*args, **kwargs):
        raise AssertionError(f'started {args}')

    monkeypatch.setattr(module.subprocess, 'run', forbidden)
    monkeypatch.setattr(module.subprocess, 'Popen', forbidden)
    return module


def arguments(install, tmp_path, **changes):
    values = dict(stack='default', torch=list(install.TORCH), ops='auto', wheels=tmp_path / 'wheels', venv=None)
    return SimpleNamespace(**{**values, **changes})


def test_unsupported_python_is_one_line(install, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(install.sys, 'version_info', (3, 15, 0))
    assert install.main(['--venv', str(tmp_path / 'venv')]) == 1
    error = capsys.readouterr().err
    assert 'use Python 3.10 to 3.14' in error and error.count('\n') == 1
    assert not (tmp_path / 'venv').exists()


def test_missing_compiler_is_found_before_anything_is_downloaded(install, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('CXX', 'no-such-compiler -m64')
    assert install.main(['--venv', str(tmp_path / 'venv')]) == 1
    error = capsys.readouterr().err
    assert 'no C++ compiler (no-such-compiler)' in error and 'apt install g++' in error and error.count('\n') == 1


def test_finished_installation_starts_nothing(install, tmp_path):
    venv = tmp_path / 'venv'
    venv.mkdir()
    args = install.parse_args(['--venv', str(venv)])
    (venv / '.crate-install').write_text(install.describe_request(args))
    assert install.main(['--venv', str(venv)]) == 0
    with pytest.raises(AssertionError, match='started'):  # another torch is another request
        install.main(['--venv', str(venv), '--torch', 'torch==2.13.0', 'torchvision==0.28.0'])


def test_wheel_is_reused_for_the_same_torch_and_python_only(install, monkeypatch, tmp_path):
    torch = {'version': '2.12.1+cu130'}
    monkeypatch.setattr(install, 'ask', lambda python, code: f'{torch["version"]}\n0\n0\n/include')
    monkeypatch.setattr(install, 'check_compiler', lambda wheels: None)

    def build(python, requirement, includes, with_cuda, scratch):
        built = scratch / f'{requirement.replace("==", "-")}-cp311-cp311-linux_x86_64.whl'
        built.write_text(torch['version'])
        return built

    monkeypatch.setattr(install, 'build_mmcv', build)
    args = arguments(install, tmp_path)
    first = install.mmcv_wheel('python', 'mmcv==2.1.0', args)
    torch['version'] = '2.13.0'
    second = install.mmcv_wheel('python', 'mmcv==2.1.0', args)
    assert first.read_text() == '2.12.1+cu130' and second.read_text() == '2.13.0'
    monkeypatch.delattr(install, 'build_mmcv')
    assert install.mmcv_wheel('python', 'mmcv==2.1.0', args) == second
    assert not list(tmp_path.rglob('*.part'))


def test_gpu_without_nvcc(install, monkeypatch, tmp_path):
    monkeypatch.setattr(install, 'ask', lambda python, code: '2.12.1\n1\n0\n/include')
    with pytest.raises(install.InstallError, match='GPU but no nvcc.*MMCV_OPS=cpu'):
        install.mmcv_wheel('python', 'mmcv==2.1.0', arguments(install, tmp_path))
    monkeypatch.setattr(install, 'build_mmcv', lambda *args: (_ for _ in ()).throw(RuntimeError('builds')))
    with pytest.raises(RuntimeError, match='builds'):
        install.mmcv_wheel('python', 'mmcv==2.1.0', arguments(install, tmp_path, ops='cpu'))


def test_one_opencv_stays(install, monkeypatch):
    found = ['numpy==2.4.6', 'opencv-python-headless==4.12.0.88', 'opencv-python==4.12.0.88']
    calls = []
    monkeypatch.setattr(install, 'ask', lambda python, code: ' '.join(found))
    monkeypatch.setattr(install.subprocess, 'run', lambda command, **_: calls.append(command[-1]))
    monkeypatch.setattr(install, 'pip', lambda python, *arguments, what: calls.append(arguments[-1]))
    install.keep_one_opencv('python')
    assert calls == ['opencv-python-headless', 'opencv-python==4.12.0.88']
    found.remove('opencv-python-headless==4.12.0.88')
    install.keep_one_opencv('python')
    assert len(calls) == 2


def test_progress_is_read_from_ninja(install, capsys):
    for line in ('  [1/77] c++ -MMD', '  [10/77] c++', 'warning: [3/4', '[77/77] c++'):
        install.show_step(line)
    assert capsys.readouterr().out == 'install: mmcv, file 10 of 77\ninstall: mmcv, file 77 of 77\n'


def test_requirements_name_what_the_installer_installs(install):
    text = (ROOT / 'requirements.txt').read_text()
    for requirement in install.TORCH:
        assert requirement in text.splitlines()


def test_the_crf_is_optional(install, monkeypatch, capsys):
    def fails(*args, **kwargs):
        raise install.InstallError('does not compile')

    monkeypatch.setattr(install, 'pip', fails)
    install.install_crf('python')
    assert 'only crf=True of MaskCut is then missing' in capsys.readouterr().out


# As in the files of mmcv 2.1.0 and pydensecrf2 1.1
MMCV_SETUP = """
def get_version():
    version_file = 'mmcv/version.py'
    with open(version_file, encoding='utf-8') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']
print(get_version())
"""
CRF_SETUP = (
    "def setup(**given): print(*given)\nsetup(\n    name='pydensecrf2',\n    setup_requires=['cython==0.29.36'],\n)\n"
)


@pytest.mark.parametrize(('setup', 'printed'), [(MMCV_SETUP, '2.1.0'), (CRF_SETUP, 'name')])
def test_setup_files_run_as_patched(tmp_path, setup, printed):
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / 'version.py').write_text("__version__ = '2.1.0'\n")
    (tmp_path / 'setup.py').write_text(setup)
    code = 'from setuptools.build_meta import _open_setup_script as start; exec(start("setup.py").read())'
    environment = dict(os.environ, PYTHONPATH=str(ROOT / 'tools' / 'build_patches'))
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert result.stdout.strip() == printed, result.stderr
