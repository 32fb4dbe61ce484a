#!/usr/bin/env python3
"""Pack the packages that a machine without a network lacks, so that it can train an experiment.

  python tools/experiments/pack.py packed --python 3.12                    # here
  bash packed/train.sh --budget gpu --data-root /datasets                  # there, in the folder of the repository

The machine has Python, torch and torchvision, and the packages of --has. It gets wheels of all others that a training
of mmpretrain needs, in the versions that are installed here. mmcv-lite takes the place of mmcv: a training of a
classifier needs no compiled operators. The script trains for nine minutes at most, and continues when it is called
again. Bring its folder of trainings back, and run the experiment here without --train-only: it measures.
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli

ROOTS = ('mmengine', 'mmcv', 'mmpretrain', 'lion-pytorch', 'safetensors', 'jinja2', 'scipy', 'opencv-python')
ROOTS += ('pycocotools',)  # writes the images of the smoke budget
HAS = ('torch', 'torchvision')
INSTEAD = {'mmcv': 'mmcv-lite'}
PLATFORMS = [f'manylinux_2_{minor}_x86_64' for minor in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)] + ['linux_x86_64']
SCRIPT = """#!/bin/bash
# Train for nine minutes, in the folder of the repository; arguments as of tools/experiments/emergence.py.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
if [ ! -d "$here/site" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$here/part" "$here"/*.whl &&
        mv "$here/part" "$here/site" || exit
fi
PYTHONPATH="$here/site" timeout --signal=TERM 540 "$python" tools/experiments/emergence.py --train-only "$@"
code=$?
[ $code = 0 ] && echo 'train.sh: all trainings are finished' || echo 'train.sh: not finished: call it again'
exit $code
"""


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('out', type=Path, help='folder for the wheels and train.sh')
    parser.add_argument('--python', default='3.12', metavar='3.X', help='Python of the machine (default: 3.12)')
    text = 'packages that the machine has, beside torch and torchvision'
    parser.add_argument('--has', nargs='+', default=[], metavar='NAME', help=text)
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('pack', pack, parse_args(argv))


def pack(args):
    """Fetch a wheel for each package that is missing there; write the script."""
    from projects.crate.files import make_folder

    make_folder(args.out)
    for name in sorted(closure(ROOTS, {*HAS, *args.has})):
        fetch(f'{INSTEAD.get(name, name)}=={metadata.version(name)}', args.python, args.out)
    (args.out / 'train.sh').write_text(SCRIPT)
    size = sum(path.stat().st_size for path in args.out.glob('*.whl')) / 1e6
    print(f'pack: wrote {len([*args.out.glob("*.whl")])} wheels, {size:.0f} MB, and {args.out / "train.sh"}')


def closure(names, has):
    """Return the names of packages and of all that they require here, without those in ``has`` and their needs."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found, left, has = set(), [*names], {canonicalize_name(name) for name in has}
    while left:
        name = canonicalize_name(left.pop())
        if name not in found | has:
            found.add(name)
            try:
                requirements = map(Requirement, metadata.requires(name) or ())
            except metadata.PackageNotFoundError as error:
                raise _cli.mistake(f'{name} is not installed here: use the environment of `make install`') from error
            left += [one.name for one in requirements if one.marker is None or one.marker.evaluate(dict(extra=''))]
    return found


def fetch(requirement, python, out):
    """Download a wheel for another Python; build one where the index has source alone, and it is pure Python."""
    pip = [sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check']
    target = ['--only-binary=:all:', '--implementation=cp', f'--python-version={python}']
    target += [f'--platform={name}' for name in PLATFORMS]
    download = [*pip, 'download', '--no-deps', f'--dest={out}', *target, requirement]
    if subprocess.run(download, capture_output=True).returncode == 0:
        return
    build = [*pip, 'wheel', '--no-deps', f'--wheel-dir={out}', requirement]
    before = {*out.glob('*.whl')}
    failed = subprocess.run(build, capture_output=True).returncode
    built = {*out.glob('*.whl')} - before
    if failed or not all(path.stem.endswith('-none-any') for path in built):
        for path in built:
            path.unlink()
        raise _cli.mistake(f'no wheel of {requirement} for Python {python}: name it in --has, if the machine has it')


if __name__ == '__main__':
    sys.exit(main())
