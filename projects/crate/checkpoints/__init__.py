"""Checkpoints: one reader for every file with weights, and one filler that leaves no weight of a model random."""

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
