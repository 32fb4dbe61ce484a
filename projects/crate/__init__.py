"""CRATE for OpenMMLab: ``custom_imports = dict(imports=['projects.crate'])`` in a config registers everything.

Where mmengine is not installed there is nothing to register with, and the import does nothing. Then
``from projects.crate.maskcut import maskcut`` works, which needs torch and scipy alone.
"""

from importlib.util import find_spec

__all__ = ['MaskCutInferencer', 'compat', 'datasets', 'engine', 'evaluation', 'model_index', 'models', 'study']


def _has_mmengine() -> bool:
    try:
        return find_spec('mmengine') is not None
    except ImportError:  # an importer refuses it
        return False


def __getattr__(name: str) -> object:
    """Import the inferencer when it is used; of the other names only those come here that could not be imported."""
    if name in __all__ and not _has_mmengine():
        raise ImportError(f'{__name__}.{name} needs OpenMMLab: run `make install`', name=__name__)
    if name == 'MaskCutInferencer':
        from .study.inferencer import MaskCutInferencer

        return MaskCutInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


if _has_mmengine():
    try:
        from . import compat

        compat.apply()

        from . import datasets, engine, evaluation, model_index, models, study

        model_index.register_models()
    except (ImportError, OSError, RuntimeError) as error:
        from .environment import diagnose, not_installed

        if problems := diagnose() or not_installed(error):
            message = '\n'.join(['projects.crate cannot be imported here:', *problems])
            raise ImportError(message, name='projects.crate') from error
        raise
