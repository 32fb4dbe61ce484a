from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from projects.crate import environment


def fake_spec(folder):
    spec = ModuleSpec('mmcv', None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def raising(error):
    def import_module(name):
        raise error

    return import_module


def test_this_environment_has_no_problem():
    assert environment.diagnose() == []


@pytest.mark.parametrize(('version', 'problems'), [((3, 9, 1), 1), ((3, 10, 0), 0), ((3, 14, 9), 0), ((3, 15, 0), 1)])
def test_python(monkeypatch, version, problems):
    monkeypatch.setattr(environment.sys, 'version_info', version)
    assert len(environment.check_python()) == problems


def test_two_opencvs_and_mixed_stacks_are_named(monkeypatch):
    names = ['opencv-python', 'opencv-python-headless', 'mmcv', 'onedl-mmcv', 'mmdet']
    installed = [SimpleNamespace(metadata={'Name': name}) for name in names]
    monkeypatch.setattr(environment.metadata, 'distributions', lambda: installed)
    opencv, mmcv = environment.check_duplicates()
    assert 'pip uninstall -y opencv-python opencv-python-headless' in opencv
    assert 'pip uninstall -y mmcv onedl-mmcv' in mmcv


def test_torchvision_that_does_not_match(monkeypatch):
    error = RuntimeError('long text\noperator torchvision::nms does not exist')
    monkeypatch.setattr(environment, 'import_module', raising(error))
    (problem,) = environment.check_torch()
    assert 'operator torchvision::nms does not exist' in problem and 'torchvision==' in problem and '\n' not in problem


def test_missing_torch(monkeypatch):
    monkeypatch.setattr(environment, 'find_spec', lambda name: None)
    assert environment.check_torch() == [
        'torch is not installed: run `make install`, or install torch and torchvision together'
    ]
    assert environment.check_mmcv() == ['mmcv is not installed: run `make install`']


@pytest.mark.parametrize(
    ('text', 'advice'),
    [('libGL.so.1: cannot open shared object file', 'apt install libgl1'), ("No module named 'cv2'", 'pip install')],
)
def test_opencv_that_cannot_start(monkeypatch, text, advice):
    monkeypatch.setattr(environment, 'import_module', raising(ImportError(text)))
    (problem,) = environment.check_opencv()
    assert text in problem and advice in problem


def test_mmcv_without_ops_matters_to_detectors_only(monkeypatch, tmp_path):
    installed = {'mmcv': fake_spec(tmp_path), 'mmdet': object()}
    monkeypatch.setattr(environment, 'find_spec', installed.get)
    (problem,) = environment.check_mmcv()
    assert 'without its compiled operators' in problem and 'MMCV_WITH_OPS=1' in problem
    del installed['mmdet']
    assert environment.check_mmcv() == []
    installed['mmdet'] = object()
    (tmp_path / '_ext.cpython-311-x86_64-linux-gnu.so').touch()
    assert environment.check_mmcv() == []
