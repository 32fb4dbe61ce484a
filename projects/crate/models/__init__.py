"""Models: backbone, necks, detector, segmentor."""

from .attention_segmentor import AttentionSegmentor
from .batch_norm_neck import BatchNormNeck
from .crate import CRATE
from .frozen_vit import FrozenViT
from .library_vit import load_vit
from .maskcut_detector import MaskCutDetector
from .observe import Observation, observe
from .simple_fpn import SimpleFPN

__all__ = [
    'CRATE',
    'AttentionSegmentor',
    'BatchNormNeck',
    'FrozenViT',
    'MaskCutDetector',
    'Observation',
    'SimpleFPN',
    'load_vit',
    'observe',
]
