"""CRATE for OpenMMLab: ``custom_imports = dict(imports=['projects.crate'])`` in a config registers everything."""

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

__all__ = ['compat', 'datasets', 'engine', 'evaluation', 'model_index', 'models', 'study']
