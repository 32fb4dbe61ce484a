"""CRATE for OpenMMLab: ``custom_imports = dict(imports=['projects.crate'])`` in a config registers everything."""

try:
    from . import compat

    compat.apply()

    from . import datasets, engine, evaluation, model_index, models

    model_index.register_models()
except (ImportError, OSError, RuntimeError) as error:
    from .environment import diagnose

    problems = '\n'.join(diagnose())
    raise (ImportError(f'projects.crate cannot be imported here:\n{problems}') if problems else error) from error

__all__ = ['compat', 'datasets', 'engine', 'evaluation', 'model_index', 'models']
