"""Read checkpoints of any suffix and layout. Nothing in them is executed, and damage is an error."""

import argparse
import errno
import math
import pickle
import re
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import ArgumentError
from ..files import can_block, printable
from .grids import is_grid, recorded_grids
from .pickled import allow_mmengine_checkpoints, refuse_code
from .safetensors_file import SUFFIX, is_safetensors, load_from_safetensors

# Errors of torch.load for a file that is cut off, damaged, of another kind, or needs code to be run
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# Keys under which trainings keep their weights, the first of them in a file counts
CONTAINERS = (
    'state_dict',
    'model',
    'teacher',
    'model_state_dict',
    'ema_state_dict',
    'state_dict_ema',
    'model_ema',
    'ema',
)
# Names that torch.compile, FSDP and gradient checkpointing put between the names of a model
WRAPPERS = re.compile(r'(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
PARALLEL = 'module.'
# Limits of a file's content: depth of dictionaries and lists, and entries of all of them together
MAX_DEPTH, MAX_ENTRIES = 100, 10**7
# Limits of all tensors together: times the size of the file (some share their numbers), and bytes that no file needs
MAX_REPEATED, MAX_SMALL = 10, 10**8


class CheckpointError(ArgumentError):
    """A checkpoint cannot be read, or does not fit the model that it should fill; the message names the file."""


@dataclass(frozen=True)
class Weights:
    """Weights of a checkpoint, without the wrappers around them.

    Attributes:
        source: File or URL, for messages.
        tensors: Tensors by their names in the model. ``_metadata`` has the entries that torch keeps of each module,
            such as its version and the grid of a position table.
        training: Config that the file was trained with; empty if the file does not say.
        left_out: Names of entries that are not tensors.
    """

    source: str
    tensors: Mapping[str, Tensor]
    training: str = ''
    left_out: list[str] = field(default_factory=list)

    def under(self, prefix: str) -> 'Weights':
        """Return the weights whose names begin with ``prefix``, without it."""
        return self._renamed(lambda name: _without(name, prefix) if f'{name}.'.startswith(prefix) else None)

    def below(self, prefix: str) -> 'Weights':
        """Return the weights with ``prefix`` before their names."""
        return self._renamed(lambda name: f'{prefix}{name}'.removesuffix('.'))

    def _renamed(self, rename: Callable[[str], str | None]) -> 'Weights':
        return Weights(self.source, rename_state(self.tensors, rename), self.training, self.left_out)


def read_weights(source: str, map_location: str = 'cpu') -> Weights:
    """Read a checkpoint and return its weights; see :func:`read_checkpoint` and :func:`weights_of`."""
    return weights_of(read_checkpoint(source, map_location), source)


def read_checkpoint(source: str, map_location: str | None = 'cpu', mmap: bool = True):
    """Return the content of a checkpoint. Nothing in it is executed.

    The checksums of a local .pth file are verified (at 5 GB/s). Safetensors and the format before torch 1.6 have none.

    Args:
        source: Path of a file by torch or safetensors, or an address of mmengine's loader (``https://``,
            ``torchvision://``).
        map_location: Argument of ``torch.load``.
        mmap: Whether to map the file into memory, so that only used tensors are copied. The file must stay unchanged.

    Raises:
        CheckpointError: The file is missing or damaged, or asks for code to be run; or there is no network.
    """
    allow_mmengine_checkpoints()  # again: onedl-mmengine takes its types off the list after a load of its own
    if '://' in source:
        return _download(CheckpointLoader.load_checkpoint)(source, map_location)
    path = check_file(source)
    try:
        if is_safetensors(path):
            return load_from_safetensors(path, map_location)
        return _load(path, map_location, mmap)
    except UNREADABLE as error:
        raise CheckpointError(f'cannot read the checkpoint {printable(source)}: {_reason(error)}') from error


def check_exists(path: str) -> Path:
    """Return the path of a file or folder.

    Raises:
        CheckpointError: There is none.
    """
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:  # ValueError: the name holds a zero byte
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise CheckpointError(f'cannot read the checkpoint {printable(path)}: {error.strerror}') from error
        raise CheckpointError(f'checkpoint not found: {printable(path)}') from error
    if can_block(path):
        raise CheckpointError(f'cannot read the checkpoint {printable(path)}: it is no regular file')
    return Path(path)


def check_file(path: str) -> Path:
    """Return the path of a file; refuse what :func:`check_exists` refuses, and a folder."""
    if check_exists(path).is_dir():
        raise CheckpointError(f'cannot read the checkpoint {printable(path)}: it is a folder')
    return Path(path)


@CheckpointLoader.register_scheme(prefixes=rf'.*\{SUFFIX}$')
def load_from_file(filename: str, map_location: str | None = None):
    """Call :func:`read_checkpoint` as a loader of mmengine; the file may be removed later.

    mmengine finds weights at the top and under 'state_dict'. Weights in other known wrappers are put there.
    """
    if '://' in filename:
        raise CheckpointError(f'cannot read the checkpoint {printable(filename)}: unknown kind of address')
    content = read_checkpoint(filename, map_location, mmap=False)
    if isinstance(content, dict) and isinstance(content.get('meta'), dict):
        content['meta'].setdefault('dataset_meta', {})  # without it, mmdet and mmseg guess classes (COCO, Cityscapes)
    found = content.get('state_dict', content) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or any(_is_weight(*each) and not _is_wrapped(each[0]) for each in found.items()):
        return content
    return {**content, 'state_dict': weights_of(content, filename).tensors}


def read_all_files() -> None:
    """Let mmengine read every local file with :func:`read_checkpoint`, and every address with its errors; for tools."""
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_file, force=True)
    for prefix, loader in [*CheckpointLoader._schemes.items()]:
        if prefix and loader.__module__ != __name__:
            CheckpointLoader.register_scheme(prefixes=prefix, loader=_download(loader), force=True)


def _download(loader: Callable) -> Callable:
    """Return a loader of mmengine for addresses that names the address in its errors, and runs no code."""

    def load(filename: str, map_location: str | None = None):
        try:
            if Path(filename).suffix == SUFFIX:
                raise OSError('safetensors are read from a local file only: download it')
            with refuse_code():
                content = loader(filename, map_location=map_location)
            _tame(content)
            return content
        except CheckpointError:
            raise
        except (*UNREADABLE, URLError) as error:
            reason = f'{type(error).__name__}: {error}'.splitlines()[0]
            raise CheckpointError(f'cannot read the checkpoint {printable(filename)}: {reason}') from error

    return load


def weights_of(content, source: str) -> Weights:
    """Return the weights in a checkpoint; the log says under which key and in which wrappers they were.

    Known are the keys ``CONTAINERS``, also nested, the prefix ``module.`` of all names, and the names that
    ``torch.compile`` and FSDP add.

    Args:
        content: Content of a checkpoint, from :func:`read_checkpoint`.
        source: File or URL, for messages.

    Raises:
        CheckpointError: The checkpoint holds no weights by name.
    """
    source = printable(source)
    found, path = content, []
    while name := next((name for name in CONTAINERS if isinstance(_get(found, name), Mapping)), None):
        found = found[name]
        path.append(name)
    entries = found if isinstance(found, Mapping) else {}
    named = {key: value for key, value in entries.items() if _is_weight(key, value)}
    if path and path[-1] == 'ema_state_dict':
        named.pop('steps', None)
    if not named:
        raise CheckpointError(f'{source} holds no weights by name{_elsewhere(entries)}')
    tensors = OrderedDict((key, Tensor.detach(value)) for key, value in named.items())  # without attributes of the file
    tensors._metadata = _known(getattr(found, '_metadata', None))
    tensors, wrappers = _unwrapped(tensors, source)
    meta = _get(content, 'meta') if isinstance(_get(content, 'meta'), Mapping) else {}
    for name, grid in recorded_grids(meta).items():
        tensors._metadata.setdefault(name, {}).setdefault('grid', grid)
    _say(source, content, path, wrappers)
    left_out = [str(key) for key, value in entries.items() if not _is_weight(key, value)]
    return Weights(source, tensors, _training(meta), left_out)


def rename_state(tensors: Mapping[str, Tensor], rename: Callable[[str], str | None]) -> OrderedDict:
    """Return a state dict, and torch's metadata of its modules, under other names; None leaves a name out."""
    renamed = OrderedDict((new, value) for name, value in tensors.items() if (new := rename(name)) is not None)
    metadata = getattr(tensors, '_metadata', {})
    renamed._metadata = {new: dict(entry) for name, entry in metadata.items() if (new := rename(name)) is not None}
    return renamed


def without_wrappers(name: str) -> str:
    """Return the name of a weight or module without what torch.compile, FSDP and checkpointing add."""
    return WRAPPERS.sub('', f'{name}.').removesuffix('.')


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return 'a, b, c, ...'."""
    names = [*map(printable, names)]
    return ', '.join([*names[:most], *(['...'] if len(names) > most else [])])


def _load(path: Path, map_location: str | None, mmap: bool):
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _verify(path)
    elif path.stat().st_size == 0:
        raise OSError('it is empty')
    elif _begins_as_zip(path):
        raise OSError('its end is missing')
    # A DINO training saves its options, too, in a type that is data only. torch < 2.5 cannot allow it.
    allow = getattr(torch.serialization, 'safe_globals', nullcontext)
    with allow([argparse.Namespace]):
        mmap = mmap and is_zip and not re.search('[\udc80-\udcff]', str(path))  # torch maps no name that is not UTF-8
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    _tame(content, path.stat().st_size)
    return content


def _tame(content, size: float = math.inf) -> None:
    """Limit how deep and how large a content is, and drop attributes that a file gives to its dictionaries.

    An attribute ``items`` would take the place of the method. Whatever walks through the content may now recurse. One
    number of a file of ``size`` bytes may stand for a large tensor, as in ``torch.ones(1).expand(10**6, 10**6)``.
    """
    stack, number, total = [(content, 0)], 0, 0
    while stack:
        value, depth = stack.pop()
        number += 1
        if depth > MAX_DEPTH or number > MAX_ENTRIES:
            raise OSError(f'more than {MAX_DEPTH} dictionaries and lists in each other, or {MAX_ENTRIES:,} entries')
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
            if total > MAX_REPEATED * size + MAX_SMALL:
                raise OSError(f'its tensors would take more than {MAX_REPEATED} times the size of the file')
        if isinstance(value, OrderedDict):
            kept = {key: entry for key, entry in vars(value).items() if key == '_metadata'}
            vars(value).clear()
            vars(value).update(kept)
        if isinstance(value, dict):
            stack += [(each, depth + 1) for each in (*value, *value.values())]
        elif isinstance(value, list | tuple | set):
            stack += [(each, depth + 1) for each in value]


def _begins_as_zip(path: Path) -> bool:
    with path.open('rb') as file:
        return file.read(4) == b'PK\x03\x04'


def _verify(path: Path) -> None:
    """Compare every part of the file with its checksum; torch reads damaged parts as they are.

    ``torch.save`` does not compress. A file with more content than bytes is forged, and could fill the memory.
    """
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
        is_compressed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
        if is_compressed or sum(part.file_size for part in parts) > path.stat().st_size:
            raise OSError('its parts are compressed or overlap, which torch.save does not do')
        has_checksums = any(part.CRC for part in file.infolist())  # torch can be told to leave them out
        if has_checksums and (damaged := file.testzip()):
            raise OSError(f'it is damaged, {damaged} does not have its checksum')


def _reason(error: Exception) -> str:
    refused = re.search(r'GLOBAL (\S+)', str(error))
    if refused:
        return (
            f'refused, since it holds Python objects beside tensors ({refused[1]}) and reading them could run code; '
            'ask for a file with the state dict alone'
        )
    if 'checkpoint refused: ' in str(error):  # by the project's own constructors of arrays
        return str(error).splitlines()[0]
    if isinstance(error, OSError) and error.errno != errno.EINVAL:  # torch seeks to where a damaged file tells it
        return error.strerror or str(error).splitlines()[0]
    return 'it is damaged, or neither torch.save nor safetensors wrote it'


def _get(content, name: str):
    return content.get(name) if isinstance(content, Mapping) else None


def _without(name: str, prefix: str) -> str:
    """Return the name of a weight or module without ``prefix``, which ends in a dot and may be the whole name."""
    return f'{name}.'.removeprefix(prefix).removesuffix('.')


def _is_weight(key, value) -> bool:
    """Return True for a name with a tensor of real numbers: none that is sparse, nested, quantised or empty (meta)."""
    is_plain = type(value) in (Tensor, nn.Parameter) and not (value.is_nested or value.is_quantized or value.is_meta)
    return is_plain and isinstance(key, str) and value.layout == torch.strided and not value.is_complex()


def _is_wrapped(name: str) -> bool:
    return name.startswith(PARALLEL) or WRAPPERS.search(name) is not None


def _known(metadata) -> dict[str, dict]:
    """Return the used part of what torch keeps of modules: their versions, and the grids of position tables."""
    entries = metadata.items() if isinstance(metadata, Mapping) else ()
    return {
        name: {key: value for key, value in entry.items() if type(value) is int or is_grid(value)}
        for name, entry in entries
        if isinstance(name, str) and isinstance(entry, Mapping)
    }


def _elsewhere(entries: Mapping) -> str:
    """Return a hint: where the weights may be, or what the file has in their place."""
    for name, value in entries.items():
        if isinstance(value, Mapping) and any(map(_is_weight, value, value.values())):
            return f', but under the key {name!r}: save checkpoint[{name!r}] alone'
    return f', only {listed(map(str, entries))}' if entries else ''


def _unwrapped(tensors: OrderedDict, source: str) -> tuple[OrderedDict, list[str]]:
    """Return the weights without the names of wrappers, and these names."""
    wrappers = sorted({name for key in tensors for name in WRAPPERS.findall(key)})
    number, tensors = len(tensors), rename_state(tensors, without_wrappers)
    if len(tensors) < number:
        raise CheckpointError(f'{source}: without {", ".join(wrappers)} two of its weights have one name')
    while all(key.startswith(PARALLEL) for key in tensors):
        tensors = rename_state(tensors, lambda name: _without(name, PARALLEL))
        wrappers.append(PARALLEL)
    return tensors, wrappers


def _training(meta: Mapping) -> str:
    name = meta.get('experiment_name')
    return re.sub(r'_\d{8}_\d{6}$', '', printable(name)) if isinstance(name, str) else ''


def _say(source: str, content, path: list[str], wrappers: list[str]) -> None:
    notes = []
    if path not in ([], ['state_dict']):
        notes.append(f'taken from {".".join(path)!r}')
    if wrappers:
        notes.append(f'names without {", ".join(map(repr, dict.fromkeys(wrappers)))}')
    if path == ['state_dict'] and _get(content, 'ema_state_dict'):
        notes.append('averaged over the training (EMA)')
    if notes:
        print_log(f'weights of {source}: {"; ".join(notes)}', logger='current')
