"""Check that this environment can run the project. One line per problem, each with a remedy."""

import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

SUPPORTED_PYTHON = ((3, 10), (3, 14))
# Distributions that put different builds of one import name into the same folder: the last one installed wins, in part.
EXCLUSIVE = {
    'OpenCV': tuple(
        f'opencv-{kind}' for kind in ('python', 'python-headless', 'contrib-python', 'contrib-python-headless')
    ),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}


def diagnose() -> list[str]:
    """Return every problem as a line with a remedy; an empty list means that training can start."""
    checks = (check_python, check_duplicates, check_torch, check_opencv, check_mmcv)
    return [problem for check in checks for problem in check()]


def check_python() -> list[str]:
    """Check that the released packages work with this Python."""
    if SUPPORTED_PYTHON[0] <= sys.version_info[:2] <= SUPPORTED_PYTHON[1]:
        return []
    found = '.'.join(map(str, sys.version_info[:3]))
    return [f'Python {found} is not supported: use Python 3.10 to 3.14, for example `make test PYTHON=python3.11`']


def check_duplicates() -> list[str]:
    """Check that no two distributions provide the same package."""
    installed = {(dist.metadata['Name'] or '').lower() for dist in metadata.distributions()}
    problems = []
    for package, names in EXCLUSIVE.items():
        found = [name for name in names if name in installed]
        if len(found) > 1:
            problems.append(
                f'{" and ".join(found)} are both installed and overwrite each other ({package}): '
                f'run `pip uninstall -y {" ".join(found)}`, then install one of them again'
            )
    return problems


def check_torch() -> list[str]:
    """Check that torch and torchvision are installed and belong together."""
    for name in ('torch', 'torchvision'):
        if find_spec(name) is None:
            return [f'{name} is not installed: run `make install`, or install torch and torchvision together']
    try:
        import_module('torchvision')
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: operator torchvision::nms does not exist
        versions = ' and '.join(f'{name} {metadata.version(name)}' for name in ('torch', 'torchvision'))
        return [
            f'{versions} do not belong together ({last_line(error)}): install a matching pair from one index, '
            'for example `pip install --force-reinstall torch==2.12.1 torchvision==0.27.1`'
        ]
    return []


def check_opencv() -> list[str]:
    """Check OpenCV; its build with a window system needs libraries that a bare machine lacks."""
    try:
        import_module('cv2')
    except ImportError as error:
        if 'libGL' in str(error) or 'libgthread' in str(error):
            return [
                f'OpenCV cannot start ({last_line(error)}): on Debian and Ubuntu, `apt install libgl1 libglib2.0-0`'
            ]
        return [f'OpenCV is not usable ({last_line(error)}): run `pip install "opencv-python<5"`']
    return []


def check_mmcv() -> list[str]:
    """Check mmcv's compiled operators, which detectors and segmentors need."""
    spec = find_spec('mmcv')
    if spec is None:
        return ['mmcv is not installed: run `make install`']
    has_ops = any(next(Path(folder).glob('_ext*'), None) for folder in spec.submodule_search_locations or [])
    if not has_ops and (find_spec('mmdet') or find_spec('mmseg')):
        return [
            'mmcv is installed without its compiled operators, which mmdet and mmseg need: run `make install`, '
            'or build it with MMCV_WITH_OPS=1 and --no-build-isolation'
        ]
    return []


def not_installed(error: Exception) -> list[str]:
    """Name the package that an import did not find, unless it is a part of this project."""
    package = (getattr(error, 'name', None) or '').partition('.')[0]
    if not isinstance(error, ModuleNotFoundError) or package in ('', 'projects') or find_spec(package):
        return []
    return [f'{package} is not installed: run `make install`']


def last_line(error: Exception) -> str:
    """Return the last line of a message, which says what happened."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
