import gc
import os
import sys
import tempfile

import forked_tools  # torch and the project are imported by fixtures: the main process of pytest-xdist needs neither
import hypothesis
import pytest

FOLDER = pytest.StashKey[tempfile.TemporaryDirectory]()
hypothesis.settings.register_profile('repeatable', derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile('repeatable')


def pytest_configure(config):
    """Start tools as forks; processes of pytest-xdist ask the server of the first one."""
    if 'CRATE_PYTHON' not in os.environ:
        config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix='crate-')
        os.environ['CRATE_FRESH_PYTHON'] = sys.executable
        os.environ['CRATE_PYTHON'] = str(forked_tools.write_client(config.stash[FOLDER].name))


@pytest.fixture(autouse=True, scope='session')
def fast_python():
    """Let ``sys.executable`` start a tool without the time of its imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'executable', os.environ['CRATE_PYTHON'])
        yield


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from one seed, and leaves none of mmengine's named singletons (a default scope!) behind."""
    import torch
    from toy_runs import forget_runs

    torch.manual_seed(0)
    yield
    forget_runs()
    torch.set_flush_denormal(False)  # a training in this process set it, and hypothesis refuses to work so


@pytest.fixture
def fast_runner(monkeypatch):
    """Leave out what takes most of the time of a tiny run: the report on the machine, and the config as pretty text."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    monkeypatch.setattr(Runner, '_log_env', lambda *_: None)
    monkeypatch.setattr(Config, 'pretty_text', 'text')


def pytest_collection_finish():
    """Keep the garbage collector, and the workers of loaders, from looking at every imported object again."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Tests of tools start trainings in processes of their own: give them an hour, for a loaded machine."""
    for item in items:
        if 'test_tools' in item.path.parts and not any(map(item.get_closest_marker, ('timeout', 'slow'))):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape names of files that are not UTF-8 in captured output: pytest-xdist sends a report as UTF-8, or dies."""
    report = yield
    report.sections = [(title, text.encode('utf-8', 'backslashreplace').decode()) for title, text in report.sections]
    return report
