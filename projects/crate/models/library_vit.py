"""Pretrained ViTs by the names that timm, Hugging Face and torch.hub give them."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import torch
from mmengine.registry import MODELS
from torch import nn

from ..errors import MissingPackageError, UserError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of red, green, blue, from 0 to 1
FORMS = 'timm/NAME, hf/NAME, torchhub/OWNER/REPO/NAME, or a folder with config.json and weights'
# Short names of ViTs that many people use
NAMES = {
    'dino-small': 'timm/vit_small_patch8_224.dino',
    'dino-base': 'timm/vit_base_patch8_224.dino',
    'dino-small-p16': 'timm/vit_small_patch16_224.dino',
    'dino-base-p16': 'timm/vit_base_patch16_224.dino',
    'dinov2-small': 'timm/vit_small_patch14_dinov2.lvd142m',
    'dinov2-base': 'timm/vit_base_patch14_dinov2.lvd142m',
    'dinov2-large': 'timm/vit_large_patch14_dinov2.lvd142m',
    'dinov2-small-reg': 'timm/vit_small_patch14_reg4_dinov2.lvd142m',
    'dinov2-base-reg': 'timm/vit_base_patch14_reg4_dinov2.lvd142m',
    'dinov2-large-reg': 'timm/vit_large_patch14_reg4_dinov2.lvd142m',
    'dinov3-small': 'timm/vit_small_patch16_dinov3.lvd1689m',
    'dinov3-base': 'timm/vit_base_patch16_dinov3.lvd1689m',
    'dinov3-large': 'timm/vit_large_patch16_dinov3.lvd1689m',
    'clip-base': 'timm/vit_base_patch16_clip_224.openai',
    'clip-large': 'timm/vit_large_patch14_clip_224.openai',
    'mae-base': 'timm/vit_base_patch16_224.mae',
    'vit-base': 'timm/vit_base_patch16_224.augreg_in21k',
}


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
        name: One of ``NAMES``, 'timm/NAME', 'hf/NAME' (transformers), a folder as either library saves it, or
            'torchhub/OWNER/REPO/NAME'. torch.hub runs the code of the repository: name one that you trust.

    Raises:
        UserError: The name is unknown, the weights cannot be had, or the library is not installed.
    """
    folder = Path(name)
    library, _, model = NAMES.get(name, name).partition('/')
    if folder.is_dir():
        library, model = _library_of(folder), name
    if library not in LOADERS or not model:
        raise UserError(f'backbone {name}: no such folder, and none of {", ".join(NAMES)}, {FORMS}')
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
        raise UserError(f'backbone {folder}: its config.json cannot be read ({error})') from error
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


def _load_torch_hub(name: str, is_folder: bool) -> tuple[nn.Module, tuple, tuple]:
    repository, _, model = name.rpartition('/')
    if repository.count('/') != 1:
        raise ValueError('torchhub/OWNER/REPO/NAME has three parts')
    return torch.hub.load(repository, model, trust_repo=True, verbose=False), *IMAGENET


LOADERS = dict(timm=_load_timm, hf=_load_hugging_face, torchhub=_load_torch_hub)
PACKAGES = dict(timm='timm', hf="'transformers>=4.56,<5'")


@contextmanager
def _explained(name: str, library: str) -> Iterator[None]:
    """Turn what the libraries raise for a name into one line."""
    try:
        yield
    except ImportError as error:
        package = PACKAGES.get(library, error.name)  # code of torch.hub needs packages of its own
        raise MissingPackageError(f'backbone {name}: pip install {package} ({error})') from error
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = '; without a network, give a folder that the library has saved' if isinstance(error, OSError) else ''
        short = shorten(reason, 150, placeholder=' ...')
        raise UserError(f'backbone {name}: it cannot be loaded: {short}{remedy}') from error
