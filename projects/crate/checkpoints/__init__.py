"""Checkpoints: one reader of files with weights, one filler of models, one converter of released files."""

from .fill import fill, load_pretrained
from .read import CheckpointError, Weights, read_checkpoint, read_weights, weights_of
from .safetensors_file import save_safetensors

__all__ = [
    'CheckpointError',
    'Weights',
    'fill',
    'load_pretrained',
    'read_checkpoint',
    'read_weights',
    'save_safetensors',
    'weights_of',
]
