"""Where the names of this project are looked up."""

import warnings
from importlib import import_module

from mmengine.registry import MODELS

LIBRARIES = ('mmpretrain', 'mmdet', 'mmseg')


def register_model(cls: type) -> type:
    """Register a model with mmengine and with every installed library.

    mmengine's root registry is enough for a name without prefix, in every library. ``mmdet.CRATE`` needs mmdet's own
    registry, which does not ask its parent for names that carry its own prefix.

    Args:
        cls: The class; its name is the registered name.

    Returns:
        ``cls``, so that this is a decorator.
    """
    MODELS.register_module(module=cls, force=True)
    for library in installed_libraries():
        import_module(f'{library}.registry').MODELS.register_module(module=cls, force=True)
    return cls


def installed_libraries() -> list[str]:
    """The OpenMMLab libraries that can be imported here; one that is installed but broken is named in a warning."""
    usable = []
    for library in LIBRARIES:
        try:
            import_module(f'{library}.registry')
        except (ImportError, AssertionError) as error:  # these packages check the version of mmcv with an assertion
            if getattr(error, 'name', None) == library:  # not installed
                continue
            warnings.warn(
                f'{library} is installed but cannot be imported, and CRATE is not registered there: {error}',
                stacklevel=2,
            )
        else:
            usable.append(library)
    return usable
