import json
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, Registry
from tiny_models import ARCH, BUILDERS

from projects.crate.models import CRATE
from projects.crate.registration import LIBRARIES, register

SCRIPT = """
import importlib.abc, sys, warnings

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise {error}

sys.meta_path.insert(0, Missing())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import projects.crate
from mmengine.registry import MODELS
import torch
model = MODELS.build(dict(type='CRATE', arch={arch!r}, img_size=8, patch_size=4))
assert model(torch.zeros(1, 3, 8, 8))[0].shape == (1, 24)
print([str(w.message) for w in caught if 'CRATE is not registered' in str(w.message)])
{more}
"""


# An interpreter that has imported what no script leaves out, in two thirds of the time; each script is run in a fork
SERVER = """
import gc, json, os, sys
import matplotlib.pyplot, mmengine.runner, scipy.ndimage, torchvision

assert not {'mmcv', 'projects', *%r} & sys.modules.keys()
gc.freeze()
for line in sys.stdin:
    script, *paths = json.loads(line)
    if not (number := os.fork()):
        for target, path in enumerate(paths, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), target)
        exec(script, globals())
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return what a script prints in an interpreter that has imported neither projects.crate nor the libraries."""
    paths = [str(tmp_path_factory.mktemp('run') / name) for name in ('out', 'err')]
    command = [sys.executable, '-c', SERVER % (LIBRARIES,)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(script):
            for path in paths:
                Path(path).write_text('')
            print(json.dumps([script, *paths]), file=server.stdin, flush=True)
            assert server.stdout.readline() == '0\n', Path(paths[1]).read_text()
            return Path(paths[0]).read_text().strip()

        yield run
        server.stdin.close()


@pytest.fixture
def run_without(run):
    """Import projects.crate and run a backbone where some modules cannot be imported."""

    def run_without(*names, error='ModuleNotFoundError(name, name=name)', more=''):
        return run(SCRIPT.format(names=set(names), error=error, arch=ARCH, more=textwrap.dedent(more)))

    return run_without


@pytest.mark.parametrize('prefix', ['', *(f'{library}.' for library in LIBRARIES)])
@pytest.mark.parametrize('registry', ['mmengine', *LIBRARIES])
def test_builds_from_every_registry(registry, prefix):
    models = MODELS if registry == 'mmengine' else import_module(f'{registry}.registry').MODELS
    model = models.build(dict(type=f'{prefix}CRATE', arch=ARCH, img_size=(8, 12), patch_size=4))
    assert type(model) is CRATE


@pytest.mark.parametrize('library', BUILDERS)
def test_is_the_backbone_of_every_library(library):
    model = BUILDERS[library](dict(type='CRATE', arch=ARCH, img_size=(8, 12), patch_size=4), dim=24)
    features = model.extract_feat(torch.randn(2, 3, 8, 12))
    assert type(model.backbone) is CRATE
    assert features[0].shape[0] == 2


def test_without_the_three_libraries(run_without):
    """MaskCut in three lines works, too."""
    inferred = """
        import numpy as np
        image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        (found,) = projects.crate.MaskCutInferencer(model, device='cpu', size=(8, 8))(image)
        print(found.image.shape, found.attention.shape)
    """
    first, *_, last = run_without(*LIBRARIES, more=inferred).splitlines()  # random weights may give a warning between
    assert (first, last) == ('[]', '(20, 30, 3) (3, 2, 2)')


def test_without_compiled_operators(run_without):
    trained = """
        from mmpretrain.registry import MODELS
        head = dict(type='LinearClsHead', num_classes=5, in_channels=24)
        backbone = dict(type='CRATE', arch=%r, img_size=8, patch_size=4)
        model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
        print(model(torch.zeros(2, 3, 8, 8)).shape)
    """
    assert run_without('mmcv._ext', more=trained % ARCH).endswith('torch.Size([2, 5])')


def test_a_broken_library_is_named(run_without):
    warned = run_without('mmdet', error="AssertionError('MMCV==2.9 is incompatible')")
    assert warned.startswith("['mmdet is installed but cannot be imported")
    assert 'MMCV==2.9 is incompatible' in warned


IMPOSTOR = """
import warnings
from mmengine.registry import MODELS
from torch import nn

class SimpleFPN(nn.Module):
    pass

for name in ('SimpleFPN', 'CRATE', 'LN2d'):
    MODELS.register_module(module=SimpleFPN, name=name)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import projects.crate
for warning in caught:
    if 'now means' in str(warning.message):
        print(warning.message)
print(MODELS.get('SimpleFPN').__module__)
"""


def test_a_class_of_another_project_is_replaced_with_a_warning(run):
    *warned, kept = run(IMPOSTOR).splitlines()
    assert kept == 'projects.crate.models.simple_fpn'
    assert sorted(line.split("'")[1] for line in warned) == ['CRATE', 'LN2d', 'SimpleFPN']
    for line in warned:
        assert '__main__.SimpleFPN' in line
        assert 'projects/crate/models/' in line


def test_an_import_gives_no_warning_and_a_second_one_neither(run_without):
    warned = run_without(
        more="""
        import importlib, projects.crate.models.simple_fpn as module
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            importlib.reload(module)
        print([str(w.message) for w in caught if 'now means' in str(w.message)])
    """
    )
    assert warned == '[]\n[]'


def test_the_warning_names_both_places():
    registry = Registry('model', scope='somewhere')
    other, own = type('Neck', (), {'__module__': 'their.necks'}), type('Neck', (), {'__module__': 'our.necks'})
    register(registry, other, 'Neck')
    with pytest.warns(UserWarning, match=r"'Neck' .* registry 'model' now means our\.necks\.Neck .*their"):
        register(registry, own, 'Neck')
    assert registry.get('Neck') is own
