"""Register the classes of this project with mmengine and the libraries."""

import inspect
import warnings
from importlib import import_module

from mmengine.registry import MODELS, Registry

from .errors import MissingPackageError

LIBRARIES = ('mmpretrain', 'mmdet', 'mmseg')


def register_model(cls: type) -> type:
    """Register a model with mmengine and with every installed library.

    mmengine's root registry is enough for a name without prefix, in every library. ``mmdet.CRATE`` needs mmdet's own
    registry, which does not ask its parent for names with its own prefix. If another project has a class of the same
    name, it is replaced, with a warning.
    """
    register(MODELS, cls, cls.__name__)
    for library in installed_libraries():
        register(import_module(f'{library}.registry').MODELS, cls, cls.__name__)
    return cls


def register(registry: Registry, cls: type, name: str) -> None:
    """Register a class under a name; warn if that replaces a class which is not an earlier import of the same one."""
    other = registry.module_dict.get(name)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        warnings.warn(
            f"{name!r} in the {registry.scope} registry '{registry.name}' now means {_location(cls)}, no longer "
            f'{_location(other)}: register one of them under another name, or import only one of the projects',
            stacklevel=3,
        )
    registry.register_module(name=name, module=cls, force=True)


def register_later(registry: Registry, package: str, module: str, name: str, library: str = 'mmdet') -> None:
    """Register a class that is imported when a config asks for it: its library takes a second, and may be missing."""

    def build(**kwargs) -> object:
        try:
            cls = getattr(import_module(f'{package}.{module}'), name)
        except ImportError as error:
            message = f'{name} needs {library} and the compiled operators of mmcv: {error}'
            raise MissingPackageError(message) from error
        return getattr(cls, 'get_instance', cls)(**kwargs)  # mmengine finds the visualizer of a run by its name

    registry.register_module(name=name, module=build)


def _location(cls: type) -> str:
    try:
        file = inspect.getsourcefile(cls)
    except (TypeError, OSError):  # defined in a notebook or in __main__
        file = None
    return f'{cls.__module__}.{cls.__qualname__} ({file or "no file"})'


def installed_libraries() -> list[str]:
    """Return the OpenMMLab libraries that can be imported; warn of one that is installed but broken."""
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
