"""A config that comes from a file: it is data, and names neither code to run nor sizes to allocate.

mmengine's registry imports whatever a dotted ``type`` names, and some registered classes download files or run code
from them. So the config of a backbone in a checkpoint is checked before anything is built.
"""

import re
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from mmengine.registry import registry as registry_module
from torch import nn

from ..checkpoints.grids import literal_values
from ..errors import UserError
from ..models.layers import ATTENTIONS, FEEDFORWARDS
from ..registration import LIBRARIES, installed_libraries

KEYS = ('model', 'data_preprocessor', 'default_scope')  # of a config: the parts that build a backbone
SCOPES = ('mmengine', *LIBRARIES)
# Modules whose registered classes are layers and networks of layers, and their exception, which downloads.
LAYERS = (
    'projects.crate.models.',
    'mmpretrain.models.backbones.',
    'mmpretrain.models.utils.',
    'mmpretrain.models.peft.',
    'mmcv.cnn.',
    'torch.nn.',
)
DOWNLOADS = 'mmpretrain.models.backbones.timm_backbone'
PARTS = (*ATTENTIONS, *FEEDFORWARDS)  # of CRATE, which looks them up in its own tables
REPETITIONS = ('num_layers', 'depth', 'num_fcs')  # arguments that say how often something is built
NUMBERS = ('norm_eps', 'eps', 'eta', 'lambd')  # arguments that constructors keep as they are
ADAPTERS = ('LoRAModel', 'mmpretrain.LoRAModel')
TARGET = 'target'  # stands for the key 'type' of what these change
LAYER_NAME = re.compile(r'(\.\*)?(?:\w|\\?\.)+')  # a suffix; other patterns could take for ever
MAX_TEXT = 10**6  # characters
MAX_DEPTH = 20  # of dictionaries and lists in each other
MAX_REPETITIONS, MAX_NUMBER = 200, 2**16
# Errors of constructors for arguments that they do not take; mmpretrain asserts.
WRONG_ARGUMENTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def literal_config(text: str, source: str) -> dict:
    """Return the ``KEYS`` of a config's text without running it.

    mmengine writes this text into checkpoints and work folders. ``Config.fromstring`` executes the text, and a
    checkpoint may come from anywhere. Here only literals and ``dict()`` have a meaning.

    If one of ``KEYS`` is more than that or nested too deep, or the text is no Python, it is a UserError. It names
    ``source``, the origin of the text.
    """
    try:
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise ValueError('no text, or too long')
        found = literal_values(text, KEYS)
    except ValueError as error:
        raise UserError(
            f'{source}: its config holds more than plain values, and nothing in it is executed: name a file with '
            '--configs'
        ) from error
    for key, value in found.items():
        deque(_walk(value, key, source), 0)  # refuses values that are nested too deep
    return found


def check_backbone(backbone: dict, scope: str | None, source: Path) -> None:
    """Refuse the config of a backbone that could do more than build the layers whose weights are in the same file.

    ``backbone`` has plain values, ``scope`` is the config's ``default_scope``, ``source`` the file with both.

    Raises:
        UserError: A ``type`` is not registered, or does more than build layers. A scope is unknown. A number is too
            large. The backbone cannot be built, or it has more weights than the file has bytes.
    """
    if scope not in (None, *SCOPES):
        raise _refusal(source, 'default_scope', f'{scope!r} is none of {", ".join(SCOPES)}')
    _check(backbone, 'model.backbone', source)
    try:
        with torch.device('meta'), DefaultScope.overwrite_default_scope(scope or 'mmengine'), _only_registered():
            state = MODELS.build(backbone).state_dict()
    except WRONG_ARGUMENTS as error:
        if _is_bug(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _refusal(source, 'model.backbone', f'it cannot be built: {reason:.200}') from error
    number, size = sum(value.numel() for value in state.values()), source.stat().st_size
    if number > size:
        raise _refusal(source, 'model.backbone', f'it has {number:,} weights, more than the {size:,} bytes of the file')


def _is_bug(error: Exception) -> bool:
    """Return whether code of a model of this project failed; it refuses arguments by UserError."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return not isinstance(error, UserError) and any(
        frame.f_globals.get('__name__', '').startswith(LAYERS[0]) for frame in frames
    )


def check_types(config: dict, path: str, source: Path) -> None:
    """Refuse a config of plain values, of something that is not built, if a ``type`` is not registered at any depth.

    Messages name ``path``, its key in the whole config, and the file ``source``.
    """
    for key, value in _walk(config, path, source):
        if key.endswith('.type') and not _find(value):
            raise _refusal(source, key, f'the type {_shown(value)} is not registered')


def _check(backbone: dict, path: str, source: Path) -> None:
    for key, value in _walk(backbone, path, source):
        name = key.rpartition('.')[2]
        if name == 'type' and value not in PARTS:
            found = _find(value)
            if not found:
                raise _refusal(source, key, f'the type {_shown(value)} is not registered')
            if not all(map(_is_layer, found)):
                raise _refusal(source, key, f'the type {_shown(value)} is no layer')
        elif name == '_scope_' and value not in SCOPES:
            raise _refusal(source, key, f'the scope {_shown(value)} is none of {", ".join(SCOPES)}')
        elif isinstance(value, int) and abs(value) > (MAX_REPETITIONS if name in REPETITIONS else MAX_NUMBER):
            raise _refusal(source, key, f'the number {_shown(value)} is too large')
        elif name == TARGET and not (isinstance(value, str) and LAYER_NAME.fullmatch(value)):
            raise _refusal(source, key, f'{_shown(value)} is no name of a layer')
        elif name in NUMBERS and not isinstance(value, int | float | None):
            raise _refusal(source, key, f'{_shown(value)} is not a number')


def _walk(value: object, path: str, source: Path | str, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Yield (path of keys, value) of everything in a config that is no dictionary or list."""
    if depth > MAX_DEPTH:
        raise _refusal(source, path, f'more than {MAX_DEPTH} dictionaries and lists in each other')
    if isinstance(value, dict):
        for key, item in value.items():
            if key == 'type':  # yield a value of any type
                yield f'{path}.type', item
            elif key == 'targets' and value.get('type') in ADAPTERS and isinstance(item, list | tuple):
                yield from _walk([*map(_target, item)], f'{path}.{key}', source, depth + 1)
            else:
                yield from _walk(item, f'{path}.{key}', source, depth + 1)
    elif isinstance(value, list | tuple | set):
        for index, item in enumerate(value):
            yield from _walk(item, f'{path}[{index}]', source, depth + 1)
    else:
        yield path, value


def _target(value: object) -> object:
    """Return an entry of LoRA's ``targets`` with its 'type' under another key: it is the name of a layer."""
    return {TARGET if key == 'type' else key: item for key, item in value.items()} if isinstance(value, dict) else value


def _find(name: object) -> list[object]:
    """Return the models that are registered under a name, which may carry the prefix of a library."""
    if not isinstance(name, str):
        return []
    scope, _, plain = name.rpartition('.')
    registries = {'mmengine': MODELS, **{library: MODELS.children[library] for library in installed_libraries()}}
    wanted = {scope: registries[scope]} if scope in registries else {} if '.' in name else registries
    for registry in wanted.values():
        registry.import_from_location()
    return [registry.module_dict[plain] for registry in wanted.values() if plain in registry.module_dict]


def _is_layer(model: object) -> bool:
    """Return whether a registered model does no more than build layers; registered functions download."""
    is_module = isinstance(model, type) and issubclass(model, nn.Module)
    return is_module and model.__module__.startswith(LAYERS) and model.__module__ != DOWNLOADS


@contextmanager
def _only_registered() -> Iterator[None]:
    """Let mmengine's registries import nothing within the block, under any key; make no weights."""

    def imported(name: str) -> ModuleType:
        if name not in sys.modules:
            raise ImportError(name)
        return sys.modules[name]

    def unknown(name: str) -> None:
        raise KeyError(name)

    with (
        patch.object(registry_module, 'import_module', imported),
        patch.object(registry_module, 'get_object_from_string', unknown),
        patch.object(BaseModule, 'init_weights', lambda module: None),  # it reads values, and a meta tensor has none
    ):
        yield


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'


def _refusal(source: Path | str, path: str, reason: str) -> UserError:
    message = (
        f'{source}: its own config is refused at {path:.200}: {reason}; name a config file of your own with --configs'
    )
    return UserError(''.join(letter if letter.isprintable() else '?' for letter in message))
