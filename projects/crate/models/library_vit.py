"""Pretrained ViTs by the names that timm and Hugging Face give them."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import nn

from ..errors import MissingPackageError, UserError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of red, green, blue, from 0 to 1
FORMS = 'timm/NAME, hf/NAME, or a folder with config.json and weights'


@dataclass(frozen=True)
class LibraryViT:
    """A pretrained ViT.

    Attributes:
        module: The model, in evaluation mode.
        mean, std: Normalisation of red, green and blue, from 0 to 255.
    """

    module: nn.Module
    mean: list[float]
    std: list[float]

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of names, types, shapes and bytes of all weights."""
        digest = hashlib.sha256()
        for name, value in self.module.state_dict().items():
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def load_vit(name: str) -> LibraryViT:
    """Load a pretrained ViT by its library, which downloads it where there is a network and keeps a copy.

    Args:
        name: 'timm/NAME', 'hf/NAME' (transformers), or a folder as either library saves it.

    Raises:
        UserError: The name is unknown, the weights cannot be had, or the library is not installed.
    """
    library, _, model = name.partition('/')
    folder = Path(name)
    if folder.is_dir():
        library, model = _library_of(folder), name
    if library not in LOADERS or not model:
        raise UserError(f'--backbone {name}: no such folder, and not a name of the form {FORMS}')
    with _explained(name, library):
        module, mean, std = LOADERS[library](model, folder.is_dir())
    return LibraryViT(module.eval(), *([255 * value for value in values] for values in (mean, std)))


@MODELS.register_module('LibraryViT')  # a function: a config out of a checkpoint may name classes only (untrusted.py)
def library_vit(name: str) -> nn.Module:
    """Return the module of :func:`load_vit`, as ``backbone=dict(type='LibraryViT', name=...)`` of a config."""
    return load_vit(name).module


def _library_of(folder: Path) -> str:
    """Return the library that saved a folder, by its config.json."""
    try:
        content = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'--backbone {folder}: its config.json cannot be read ({error})') from error
    return 'timm' if isinstance(content, dict) and 'architecture' in content else 'hf'


def _load_timm(name: str, is_folder: bool) -> tuple[nn.Module, tuple, tuple]:
    import timm

    source = f'local-dir:{name}' if is_folder else name
    module = timm.create_model(source, pretrained=True, num_classes=0, dynamic_img_size=True)
    data = timm.data.resolve_model_data_config(module)
    return module, data['mean'], data['std']


def _load_hugging_face(name: str, is_folder: bool) -> tuple[nn.Module, tuple, tuple]:
    from transformers import AutoModel
    from transformers.image_processing_utils import BaseImageProcessor

    module = AutoModel.from_pretrained(name, local_files_only=is_folder)
    try:
        found, _ = BaseImageProcessor.get_image_processor_dict(name, local_files_only=is_folder)
    except OSError:  # without preprocessor_config.json
        found = {}
    mean, std = (found.get(key, default) for key, default in zip(('image_mean', 'image_std'), IMAGENET))
    return getattr(module, 'vision_model', module), mean, std  # CLIP has a text model, too


LOADERS = dict(timm=_load_timm, hf=_load_hugging_face)


@contextmanager
def _explained(name: str, library: str) -> Iterator[None]:
    """Turn what the libraries raise for a name into one line."""
    try:
        yield
    except ImportError as error:
        package = dict(timm='timm', hf="'transformers>=4.56,<5'")[library]
        raise MissingPackageError(f'--backbone {name}: pip install {package} ({error})') from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'--backbone {name}: it cannot be loaded: {reason:.200}') from error
