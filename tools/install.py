#!/usr/bin/env python3
"""Set up an environment for this project: ``python3 tools/install.py [--stack default|onedl]``.

``make demo`` and ``make test`` call it. It needs Python 3.10 to 3.14 and a C++ compiler, and nothing else. It creates
the virtual environment, installs torch and torchvision, builds mmcv with its compiled ops, and installs the rest and
this project in editable mode. A second call finds its stamp and returns at once, without network.

It builds mmcv itself, since the package index has mmcv as source only. mmcv's setup needs torch at build time (no build
isolation). pip would later offer a cached wheel for another torch. So wheels are kept in one folder per combination of
versions.

Two things cut the build from a quarter of an hour to minutes:

- ``-g0``: Python's own flags contain ``-g``, and debug information costs more than half of the compile time.
- A precompiled header: each of the 77 files parses torch's headers again, for most of its 10 seconds. The header is
  passed with ``-include``, so that a compiler that cannot use the precompiled form reads the plain header.
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
SUPPORTED_PYTHON = ((3, 10), (3, 14))
PYTHON = f'python{sys.version_info.major}.{sys.version_info.minor}'
TORCH = ('torch==2.12.1', 'torchvision==0.27.1')
# mmcv's setup imports pkg_resources, which setuptools 81 dropped; so does mmengine when it looks up a package
BUILD_TOOLS = ('pip', 'setuptools<81', 'wheel', 'ninja', 'packaging', 'cython>=3.1')
PATCHES = ROOT / 'tools' / 'build_patches'
# stack -> (virtual environment, mmcv distribution, extra of setup.py)
STACKS = {
    'default': ('.venv', 'mmcv==2.1.0', 'openmmlab'),
    'onedl': ('.venv-onedl', 'onedl-mmcv==2.3.6', 'onedl'),
}
ABOUT_TORCH = """
import torch
from torch.utils import cpp_extension
print(torch.__version__, int(torch.cuda.is_available()), int(bool(cpp_extension.CUDA_HOME)), sep='\\n')
print(*cpp_extension.include_paths(), sep='\\n')
"""
INSTALLED = """
from importlib.metadata import distributions
print(*(f'{found.metadata["Name"]}=={found.version}' for found in distributions()))
"""


class InstallError(Exception):
    """The user must change something; the message is one line that says what to do."""


def main(argv=None):
    """Install one stack."""
    args = parse_args(argv)
    started = time.monotonic()
    try:
        check_python()
        venv = ROOT / (args.venv or STACKS[args.stack][0])
        stamp = venv / '.crate-install'
        request = describe_request(args)
        if stamp.is_file() and stamp.read_text() == request:
            return 0
        check_compiler(args.wheels)
        python = create_venv(venv)
        stamp.unlink(missing_ok=True)
        install(python, args)
        check_result(python)
    except InstallError as error:
        print(f'install: {error}', file=sys.stderr)
        return 1
    stamp.write_text(request)
    print(f'install: ready in {venv.name} after {(time.monotonic() - started) / 60:.1f} minutes', flush=True)
    return 0


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    stacks = 'default: mmengine, mmcv, mmdet, mmsegmentation, mmpretrain; onedl: the maintained forks onedl-*'
    add('--stack', choices=sorted(STACKS), default='default', help=stacks)
    add('--venv', help='folder of the environment (default: .venv or .venv-onedl in the repository)')
    torch = 'torch and the torchvision built for it (default: %(default)s)'
    add('--torch', nargs='+', default=list(TORCH), metavar='REQUIREMENT', help=torch)
    ops = 'ops of mmcv: auto builds CUDA ops if torch sees a GPU, cpu builds none (environment: MMCV_OPS)'
    add('--ops', choices=('auto', 'cpu'), default=os.environ.get('MMCV_OPS', 'auto'), help=ops)
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    wheels = Path(os.environ.get('CRATE_WHEELS') or Path(cache, 'crate-openmmlab', 'wheels'))
    kept = 'folder that keeps built mmcv wheels (environment: CRATE_WHEELS; default: %(default)s)'
    add('--wheels', type=Path, default=wheels, help=kept)
    return parser.parse_args(argv)


def check_python():
    if not SUPPORTED_PYTHON[0] <= sys.version_info[:2] <= SUPPORTED_PYTHON[1]:
        raise InstallError(
            f'Python {platform.python_version()} is not supported: use Python 3.10 to 3.14, '
            'for example `make test PYTHON=python3.11`'
        )


def check_compiler(wheels):
    """Check compiler and Python headers before gigabytes are downloaded, unless a wheel of mmcv is kept."""
    if next(wheels.glob('*/*.whl'), None):
        return
    if not shutil.which(compiler()):
        raise InstallError(f'no C++ compiler ({compiler()}) to build mmcv with: {apt("g++")}')
    if not Path(sysconfig.get_paths()['include'], 'Python.h').is_file():
        raise InstallError(f'no Python headers to build mmcv with: {apt(f"{PYTHON}-dev")}')


def apt(package):
    return f'on Debian and Ubuntu, `apt install {package}`'


def compiler():
    return (os.environ.get('CXX') or 'g++').split()[0]


def describe_request(args):
    """Return everything that decides about the installation, as text: the stamp of a finished one."""
    files = (Path(__file__), PATCHES / 'sitecustomize.py', ROOT / 'setup.py')
    digest = hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()
    return f'{args.stack} {" ".join(args.torch)} {args.ops} {sys.version} {ROOT} {digest}\n'


def create_venv(venv):
    python = venv / 'bin' / 'python'
    if not python.is_file():
        command = [sys.executable, '-m', 'venv', str(venv)]
        if subprocess.run(command, capture_output=True).returncode:
            shutil.rmtree(venv, ignore_errors=True)
            raise InstallError(f'`{" ".join(command)}` failed: {apt(f"{PYTHON}-venv")}, then repeat')
    return python


def install(python, args):
    _, mmcv, extra = STACKS[args.stack]
    pip(python, '--upgrade', *BUILD_TOOLS, what='build tools')
    pip(python, *args.torch, what=' and '.join(args.torch), quiet=not sys.stdout.isatty())
    wheel = mmcv_wheel(python, mmcv, args)
    pip(python, '--no-deps', '--force-reinstall', str(wheel), what=wheel.name)
    project = f'{ROOT}[{extra},app,demo,docs,export,notebook,vits,tests]'
    pip(python, '--no-build-isolation', '-e', project, what='the OpenMMLab libraries and this project')
    keep_one_opencv(python)
    install_crf(python)


def install_crf(python):
    """Install the dense CRF that refines the masks of MaskCut; the rest of the project works without it."""
    try:
        pip(python, '--no-build-isolation', 'pydensecrf2', what='pydensecrf2 (optional)', PYTHONPATH=str(PATCHES))
    except InstallError:
        print('install: goes on without pydensecrf2: only crf=True of MaskCut is then missing', flush=True)


def keep_one_opencv(python):
    """Remove opencv-python-headless, which a dependency of onedl-mmdetection installs beside opencv-python.

    Both packages share one folder, so the other one is installed again.
    """
    opencv = {name for name in ask(python, INSTALLED).split() if name.startswith('opencv-python')}
    if len(opencv) > 1:
        command = [str(python), '-m', 'pip', 'uninstall', '--quiet', '--yes', 'opencv-python-headless']
        subprocess.run(command, check=False)
        kept = next(name for name in opencv if name.startswith('opencv-python=='))
        pip(python, '--no-deps', '--force-reinstall', kept, what=f'{kept} alone')


def pip(python, *arguments, what, quiet=True, **environment):
    """Run pip install; turn a failure into one line that names the step."""
    print(f'install: {what}', flush=True)
    command = [str(python), '-m', 'pip', 'install', '--disable-pip-version-check', *arguments]
    command += ['--quiet'] if quiet else []
    if subprocess.run(command, env=dict(os.environ, **environment)).returncode:
        raise InstallError(
            f'pip could not install {what}: see above; check the network and the disk (9 GB), then repeat'
        )


def ask(python, code):
    """Return the output of ``code`` in the environment's interpreter."""
    result = subprocess.run([str(python), '-c', code], capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        raise InstallError(result.stderr.strip().splitlines()[-1])
    return result.stdout.strip()


def mmcv_wheel(python, requirement, args):
    """Return the kept wheel of ``requirement`` for this torch and Python; build it if there is none."""
    torch_version, gpu, nvcc, *includes = ask(python, ABOUT_TORCH).splitlines()
    with_cuda = args.ops == 'auto' and gpu == '1'
    if with_cuda and nvcc == '0':
        raise InstallError(
            "this machine has a GPU but no nvcc, which mmcv's CUDA ops need: install the CUDA toolkit and set "
            'CUDA_HOME, or set MMCV_OPS=cpu to build the CPU ops only'
        )
    python_tag = PYTHON.replace('python', 'cp').replace('.', '')
    kept = args.wheels / f'torch{torch_version}-{python_tag}-{platform.machine()}-{"cuda" if with_cuda else "cpu"}'
    found = next(kept.glob(f'{requirement.replace("onedl-", "onedl_").replace("==", "-")}-*.whl'), None)
    if found:
        return found
    check_compiler(kept)
    with tempfile.TemporaryDirectory(prefix='crate-mmcv-') as scratch:
        built = build_mmcv(python, requirement, includes, with_cuda, Path(scratch))
        kept.mkdir(parents=True, exist_ok=True)
        part = kept / f'.{os.getpid()}.part'
        shutil.copyfile(built, part)
        return part.replace(kept / built.name)


def build_mmcv(python, requirement, includes, with_cuda, scratch):
    """Build the wheel in ``scratch`` and return its path; show the compiler's progress on one line."""
    header = precompile_torch_header(includes, scratch)
    environment = dict(
        os.environ,
        MMCV_WITH_OPS='1',
        MAX_JOBS=str(len(os.sched_getaffinity(0))),
        CFLAGS=f'{compiler_flags()} -include {header}',
        PYTHONPATH=str(PATCHES),
        PATH=f'{Path(python).parent}{os.pathsep}{os.environ["PATH"]}',  # ninja lies there
    )
    environment.update({'FORCE_CUDA': '1'} if with_cuda else {'CUDA_VISIBLE_DEVICES': ''})
    command = [str(python), '-m', 'pip', 'wheel', '--verbose', '--no-deps', '--no-build-isolation', '--no-cache-dir']
    command += ['--no-binary', requirement.split('==')[0], '--wheel-dir', str(scratch), requirement]
    print(f'install: building {requirement} with {"CUDA" if with_cuda else "CPU"} ops', flush=True)
    log = []
    with subprocess.Popen(
        command, env=environment, text=True, errors='replace', stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout:
            log.append(line)
            show_step(line)
    if process.returncode:
        print(*log[-30:], sep='', file=sys.stderr)
        raise InstallError(f'{requirement} did not build: its last lines are above')
    return next(scratch.glob('*.whl'))


def show_step(line):
    """Show the progress in a line of ninja, such as ``[3/77] c++ ...``."""
    step = re.match(r'\s*\[(\d+)/(\d+)\]', line)
    if not step:
        return
    done, total = map(int, step.groups())
    if sys.stdout.isatty():
        print(f'\rinstall: mmcv, file {done} of {total}', end='\n' if done == total else '', flush=True)
    elif done % 10 == 0 or done == total:
        print(f'install: mmcv, file {done} of {total}', flush=True)


def precompile_torch_header(includes, scratch):
    """Compile ``torch/types.h`` once for all files of mmcv; return the header to include.

    Only GCC has this form of precompiled header, and only for equal flags: the language standard and the macros are
    copied from torch's BuildExtension.
    """
    header = scratch / 'torch_types.h'
    header.write_text('#include <torch/types.h>\n')
    about = subprocess.run([compiler(), '--version'], capture_output=True, text=True).stdout
    if 'Free Software Foundation' in about:
        print("install: precompiling torch's headers", flush=True)
        flags = [*compiler_flags().split(), '-std=c++17', '-DTORCH_API_INCLUDE_EXTENSION_H']
        flags += ['-DTORCH_EXTENSION_NAME=_ext', '-w', '-x', 'c++-header']
        folders = [f'-I{path}' for path in (*includes, sysconfig.get_paths()['include'])]
        subprocess.run([compiler(), *flags, *folders, header, '-o', f'{header}.gch'], check=False)
    return header


def compiler_flags():
    """Return all flags for mmcv's C++ files: once CFLAGS is set, setuptools drops Python's own, including -O3."""
    return f'-O3 -DNDEBUG -fwrapv -fPIC -g0 {os.environ.get("CFLAGS", "")}'.strip()


def check_result(python):
    """Check the installation: a broken environment must not stop a training later."""
    problems = ask(python, 'from projects.crate.environment import diagnose; print(*diagnose(), sep="\\n")')
    if problems:
        raise InstallError(problems)


if __name__ == '__main__':
    sys.exit(main())
