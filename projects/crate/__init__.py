"""CRATE for OpenMMLab: ``custom_imports = dict(imports=['projects.crate'])`` in a config registers everything."""

from . import compat

compat.apply()

from . import engine, models  # noqa: E402  (after the remedies)

__all__ = ['compat', 'engine', 'models']
