"""Packaging.

``pip install -e .`` in a working OpenMMLab environment replaces nothing there: the requirements are unpinned and bring
nothing along. A complete environment is set up by ``tools/install.py``, which ``make demo`` and ``make test`` call.
"""

import shutil
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

# The two supported stacks share their import names: installing one over the other breaks both, so neither is ever a
# plain requirement.
OPENMMLAB = ['mmengine==0.10.7', 'mmcv>=2.1.0,<2.2.0', 'mmdet==3.3.0', 'mmsegmentation==1.2.2', 'mmpretrain==1.2.0']
ONEDL = [
    'onedl-mmengine==0.10.12',
    'onedl-mmcv==2.3.6',
    'onedl-mmdetection==3.5.1',
    'onedl-mmsegmentation==1.4.2',
    'onedl-mmpretrain==1.3.6',
]
# ftfy, regex, psutil, seaborn: the hosts or their tools import them and do not require them. OpenCV 5 came after the
# releases above and has not been tried with them.
COMMON = ['opencv-python<5', 'ftfy', 'regex', 'pycocotools', 'psutil', 'seaborn']

CONFIGS, WEIGHTS = Path('configs'), Path('docs', 'experiments', 'weights')
INDEX = Path('model-index.yml')


class BuildWithConfigs(build_py):
    """Ships configs/ and the weights, which lie beside the package, inside it: ``projects/crate/configs`` and so on.

    The index of the models goes where ``mim search`` looks: into the first package, ``projects/model-index.yml``.
    """

    def run(self):
        """Build as usual; a wheel then gets the configs, an editable installation finds them in the repository."""
        super().run()
        if not getattr(self, 'editable_mode', False):
            for folder in (CONFIGS, WEIGHTS):
                target = Path(self.build_lib, 'projects', 'crate', folder)
                shutil.rmtree(target, ignore_errors=True)  # of an earlier build
                shutil.copytree(folder, target, ignore=shutil.ignore_patterns('__pycache__', '*.md'))
            index = INDEX.read_text(encoding='utf-8').replace('- configs/', '- crate/configs/')
            Path(self.build_lib, 'projects', INDEX).write_text(index, encoding='utf-8')

    def get_source_files(self):
        """Return the files of a source distribution: a wheel that is built from it needs configs and weights, too."""
        configs = [str(path) for path in sorted(CONFIGS.rglob('*')) if path.suffix in ('.py', '.yml')]
        weights = [str(path) for path in sorted(WEIGHTS.glob('*.safetensors'))]
        return [*super().get_source_files(), *configs, *weights, str(INDEX)]


setup(
    name='crate-openmmlab',
    version='0.1.0',
    description='White-box vision transformers (CRATE) for mmpretrain, mmdetection and mmsegmentation',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 15)] + ['Typing :: Typed'],
    packages=find_namespace_packages(include=['projects.crate', 'projects.crate.*']),
    include_package_data=True,
    package_data={'projects.crate': ['py.typed'], 'projects.crate.study': ['templates/*']},
    cmdclass=dict(build_py=BuildWithConfigs),
    python_requires='>=3.10',
    install_requires=['jinja2', 'lion-pytorch', 'safetensors', 'scipy'],
    extras_require={
        'openmmlab': OPENMMLAB + COMMON,
        'onedl': ONEDL + COMMON,
        # its source does not compile on a newer Python; tools/install.py patches it and builds it there too
        'crf': ['pydensecrf2; python_version < "3.13"'],
        # ViTs from elsewhere (models/features.py), which the tests compare with. Not tried: transformers 5
        'vits': ['timm>=1.0.20', 'transformers>=4.56,<5', 'peft'],
        'notebook': ['nbclient', 'ipykernel'],  # and the photographs of 'demo'
        'demo': ['scikit-image', 'scikit-learn'],  # their photographs; the experiment imports scikit-learn for k-NN
        'export': ['onnx', 'onnxscript', 'onnxruntime'],
        # the live page, tools/app.py; later versions need huggingface-hub 1, which transformers 4 refuses
        'app': ['gradio>=6,<6.18'],
        'docs': ['sphinx>=8', 'myst-parser', 'furo', 'latex2mathml'],
        'tests': [
            'pytest',
            'pytest-timeout',
            'pytest-xdist',
            'hypothesis',
            'ruff',
            'mypy',
            'playwright',
            'tensorboard',
        ],
    },
)
