"""MaskCut as functions needs torch and scipy, and nothing of OpenMMLab."""

import subprocess
import sys
from importlib import metadata

import torch
from config_tree import ROOT
from packaging.requirements import Requirement

from projects.crate.maskcut import maskcut

SCRIPT = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition('.')[0]
        known = top in sys.stdlib_module_names or top.startswith('_sysconfigdata')  # of Python, by its system
        if not known and top not in {allowed!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Refuse())
import torch
from projects.crate.maskcut import maskcut
torch.manual_seed(0)
masks, vectors = maskcut(torch.randn(4, 30), (5, 6), tau=0.1)
torch.save((masks, vectors), {out!r})
import projects.crate
print(*sorted(name for name in sys.modules if name.startswith('projects.crate.')))
for name in ('models', 'MaskCutInferencer'):
    try:
        getattr(projects.crate, name)
    except ImportError as error:
        print(error.name, error)
"""


def modules_of(*packages):
    """Top-level modules of packages and of all that they require."""
    left, seen = list(packages), set()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system
            continue
        left += [one.name for one in map(Requirement, required) if not one.marker or one.marker.evaluate({'extra': ''})]
    tops = metadata.packages_distributions()
    normal = {name.lower().replace('_', '-') for name in seen}
    return {top for top, owners in tops.items() if {one.lower().replace('_', '-') for one in owners} & normal}


def test_torch_and_scipy_are_enough(tmp_path):
    allowed = {*modules_of('torch', 'scipy'), 'projects'}
    assert not allowed & {'mmengine', 'mmcv', 'PIL', 'cv2', 'matplotlib'}
    script = SCRIPT.format(allowed=allowed, out=str(tmp_path / 'found.pt'))
    result = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    modules, *refusals = result.stdout.splitlines()
    assert {name.split('.')[2] for name in modules.split()} == {'errors', 'maskcut'}
    for name, line in zip(('models', 'MaskCutInferencer'), refusals, strict=True):
        assert line == f'projects.crate projects.crate.{name} needs OpenMMLab: run `make install`'
    torch.manual_seed(0)
    expected = maskcut(torch.randn(4, 30), (5, 6), tau=0.1)
    assert all(torch.equal(*pair) for pair in zip(torch.load(tmp_path / 'found.pt'), expected))
    assert expected[0].any()
