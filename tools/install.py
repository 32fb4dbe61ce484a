#!/usr/bin/env python3
"""Set up an environment for this project: ``python3 tools/install.py [--stack default|onedl]``.

``make demo`` and ``make test`` call it. It needs nothing but Python 3.10 to 3.12 and a C++ compiler, creates the virtual environment,
installs torch and torchvision, builds mmcv with its compiled ops against that torch, and installs the rest and this project in editable mode.
A second call finds its stamp and returns at once, without touching the network.

Why mmcv is built here and not by pip: the package index has it as source only; its setup needs torch at build time (no build isolation); and
pip would later offer the wheel from its cache for another torch. The wheel is therefore kept in a folder named after the versions it fits.

The build takes minutes instead of a quarter of an hour because of two things:

- ``-g0``: Python's own flags contain ``-g``, and debug information costs more than half of the compile time (the optimisation stays at -O3);
- torch's headers, which each of the 77 files parses again (10 of its 12 seconds), are compiled once into a precompiled header. The header is
  passed with ``-include``; where the compiler cannot use the precompiled form it reads the plain header, with the same result, only slower.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 10), (3, 12))
TORCH = ('torch==2.12.1', 'torchvision==0.27.1')
BUILD_TOOLS = (
    'pip',
    'setuptools<81',
    'wheel',
    'ninja',
    'packaging',
)  # mmcv's setup imports pkg_resources, gone in setuptools 81
# stack -> (virtual environment, mmcv distribution, extra of setup.py)
STACKS = {
    'default': ('.venv', 'mmcv==2.1.0', 'openmmlab'),
    'onedl': ('.venv-onedl', 'onedl-mmcv==2.3.6', 'onedl'),
}


class InstallError(Exception):
    """Something the user has to change; the message is one line that says what to do."""


def main(argv=None):
    """Install one stack; see the module's docstring."""
    args = parse_args(argv)
    started = time.monotonic()
    try:
        check_python()
        venv = ROOT / (args.venv or STACKS[args.stack][0])
        stamp = venv / '.crate-install'
        fingerprint = describe_request(args)
        if stamp.is_file() and stamp.read_text() == fingerprint:
            return 0
        python = create_venv(venv)
        stamp.unlink(missing_ok=True)
        pip(python, 'install', '--upgrade', *BUILD_TOOLS, what='build tools')
        pip(python, 'install', *args.torch, what=' and '.join(args.torch))
        wheel = mmcv_wheel(python, STACKS[args.stack][1], args)
        pip(python, 'install', '--no-deps', '--force-reinstall', str(wheel), what=wheel.name)
        pip(
            python,
            'install',
            '--no-build-isolation',
            '-e',
            f'{ROOT}[{STACKS[args.stack][2]},tests]',
            what='OpenMMLab and this project',
        )
        check_result(python)
    except InstallError as error:
        print(f'install: {error}', file=sys.stderr)
        return 1
    stamp.write_text(fingerprint)
    print(f'install: ready in {venv.name} after {(time.monotonic() - started) / 60:.1f} minutes', flush=True)
    return 0


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--stack',
        choices=sorted(STACKS),
        default='default',
        help='default: mmengine, mmcv, mmdet, mmsegmentation, mmpretrain; onedl: the maintained forks onedl-*',
    )
    parser.add_argument(
        '--venv', help="the environment's folder, relative to the repository (default: .venv or .venv-onedl)"
    )
    parser.add_argument(
        '--torch',
        nargs='+',
        default=list(TORCH),
        metavar='REQUIREMENT',
        help='torch and the torchvision built for it (default: %(default)s)',
    )
    parser.add_argument(
        '--ops',
        choices=('auto', 'cpu'),
        default=os.environ.get('MMCV_OPS', 'auto'),
        help="mmcv's ops: auto builds the CUDA ones where torch sees a GPU; cpu never does (environment: MMCV_OPS)",
    )
    parser.add_argument(
        '--wheels',
        type=Path,
        default=default_wheel_folder(),
        help='where built mmcv wheels are kept (environment: CRATE_WHEELS; default: %(default)s)',
    )
    return parser.parse_args(argv)


def default_wheel_folder():
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(os.environ.get('CRATE_WHEELS') or Path(cache) / 'crate-openmmlab' / 'wheels')


def check_python():
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        wanted = ' to '.join('.'.join(map(str, version)) for version in PYTHONS)
        raise InstallError(
            f'Python {platform.python_version()} is not supported: use Python {wanted}, '
            'for example `make test PYTHON=python3.11`'
        )


def describe_request(args):
    """Everything that decides what gets installed, as text: the stamp of a finished installation."""
    files = [Path(__file__), ROOT / 'setup.py']
    digest = hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()
    return f'{args.stack} {" ".join(args.torch)} {args.ops} {sys.version} {ROOT} {digest}\n'


def create_venv(venv):
    python = venv / 'bin' / 'python'
    if not python.is_file():
        result = subprocess.run([sys.executable, '-m', 'venv', str(venv)], capture_output=True, text=True)
        if result.returncode:
            shutil.rmtree(venv, ignore_errors=True)
            raise InstallError(
                f'{sys.executable} cannot create a virtual environment: install the venv module '
                f'(Debian and Ubuntu: apt install python{sys.version_info.major}.{sys.version_info.minor}-venv)'
            )
    return python


def pip(python, *arguments, what):
    """Run pip with its own progress bars; a failure becomes one line that says which step it was."""
    print(f'install: {what}', flush=True)
    result = subprocess.run(
        [str(python), '-m', 'pip', *arguments, '--quiet', '--progress-bar=on', '--disable-pip-version-check']
    )
    if result.returncode:
        raise InstallError(
            f'pip could not install {what}: its message is above; check the network and the free disk space (9 GB) and repeat'
        )


def ask(python, code):
    """What ``code`` prints in the environment's interpreter."""
    result = subprocess.run([str(python), '-c', code], capture_output=True, text=True)
    if result.returncode:
        raise InstallError(result.stderr.strip().splitlines()[-1])
    return result.stdout.strip()


def mmcv_wheel(python, requirement, args):
    """The kept wheel of ``requirement`` for this torch and Python, built now if there is none yet."""
    torch_version, gpu, nvcc, includes = ask(
        python,
        (
            'import sys, torch; from torch.utils import cpp_extension as c; '
            'gpu = torch.cuda.is_available(); '
            'nvcc = bool(c.CUDA_HOME); '
            'print(torch.__version__, int(gpu), int(nvcc), "\\n".join(c.include_paths()), sep="\\n", end="")'
        ),
    ).split('\n', 3)
    with_cuda = args.ops == 'auto' and gpu == '1'
    if with_cuda and nvcc == '0':
        raise InstallError(
            "this machine has a GPU but no nvcc, which mmcv's CUDA ops need: install the CUDA toolkit and set CUDA_HOME, "
            'or set MMCV_OPS=cpu to build the CPU ops only'
        )
    tag = f'torch{torch_version}-cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}-{"cuda" if with_cuda else "cpu"}'
    kept = args.wheels / tag
    stem = requirement.replace('==', '-').replace('onedl-', 'onedl_')
    wheels = sorted(kept.glob(f'{stem}-*.whl'))
    if wheels:
        return wheels[0]
    compiler = shlex_first(os.environ.get('CXX')) or 'g++'
    if not shutil.which(compiler):
        raise InstallError(
            f"no C++ compiler ({compiler}) to build mmcv's ops with: install one (Debian and Ubuntu: apt install g++)"
        )
    with tempfile.TemporaryDirectory(prefix='crate-mmcv-') as scratch:
        built = build_mmcv(python, requirement, compiler, includes.split('\n'), with_cuda, Path(scratch))
        kept.mkdir(parents=True, exist_ok=True)
        part = kept / f'.{built.name}.{os.getpid()}'
        shutil.copyfile(built, part)
        os.replace(part, kept / built.name)
    return kept / built.name


def shlex_first(command):
    return command.split()[0] if command else None


def build_mmcv(python, requirement, compiler, includes, with_cuda, scratch):
    """Build the wheel into ``scratch`` and return its path; ninja's progress is shown on one line."""
    header = precompile_torch_header(compiler, includes, scratch)
    environment = dict(
        os.environ,
        MMCV_WITH_OPS='1',
        MAX_JOBS=str(len(os.sched_getaffinity(0))),
        CFLAGS=f'{compiler_flags()} -include {header}',
        PATH=f'{Path(python).parent}{os.pathsep}{os.environ["PATH"]}',
    )
    if with_cuda:
        environment['FORCE_CUDA'] = '1'
    else:
        environment['CUDA_VISIBLE_DEVICES'] = ''
    command = [
        str(python),
        '-m',
        'pip',
        'wheel',
        '--verbose',
        '--no-deps',
        '--no-build-isolation',
        '--no-cache-dir',
        '--no-binary',
        requirement.split('==')[0],
        '--wheel-dir',
        str(scratch),
        requirement,
    ]
    print(f'install: building {requirement} with {"CUDA" if with_cuda else "CPU"} ops', flush=True)
    log = scratch / 'build.log'
    process = subprocess.Popen(
        command, env=environment, text=True, errors='replace', stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with log.open('w') as file:
        for line in process.stdout:
            file.write(line)
            step = re.match(r'\s*\[(\d+)/(\d+)\]', line)
            if step:
                end = '\n' if step[1] == step[2] else ''
                print(f'\rinstall: mmcv, file {step[1]} of {step[2]}', end=end, flush=True)
    if process.wait():
        tail = '\n'.join(log.read_text().splitlines()[-30:])
        raise InstallError(f"{tail}\ninstall: {requirement} did not build: the compiler's message is above")
    return next(scratch.glob('*.whl'))


def precompile_torch_header(compiler, includes, scratch):
    """``torch/types.h`` compiled once for all files of mmcv; returns the header to include. Only GCC has this form of precompiled header."""
    header = scratch / 'torch_types.h'
    header.write_text('#include <torch/types.h>\n')
    version = subprocess.run([compiler, '--version'], capture_output=True, text=True).stdout
    if 'Free Software Foundation' in version:
        print("install: precompiling torch's headers", flush=True)
        # the language standard and the macro are what torch's BuildExtension passes: GCC uses a precompiled header under equal flags only
        torch_flags = ['-std=c++17', '-DTORCH_API_INCLUDE_EXTENSION_H', '-DTORCH_EXTENSION_NAME=_ext']
        folders = [f'-I{path}' for path in (*includes, sysconfig.get_paths()['include'])]
        subprocess.run(
            [
                compiler,
                *compiler_flags().split(),
                *torch_flags,
                *folders,
                '-w',
                '-x',
                'c++-header',
                str(header),
                '-o',
                f'{header}.gch',
            ],
            check=False,
        )
    return header


def compiler_flags():
    """Flags for mmcv's C++ files. Given in full: setuptools drops Python's own (with its -O3) as soon as CFLAGS is in the environment."""
    return f'-O3 -DNDEBUG -fwrapv -fPIC -g0 {os.environ.get("CFLAGS", "")}'.strip()


def check_result(python):
    """Import what was installed, so that a broken environment is found here and not in the middle of a training."""
    problems = ask(python, 'from projects.crate.environment import diagnose; print("\\n".join(diagnose()))')
    if problems:
        raise InstallError(problems)


if __name__ == '__main__':
    sys.exit(main())
