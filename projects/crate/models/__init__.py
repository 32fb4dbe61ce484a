"""What has weights."""

from .attention_segmentor import AttentionSegmentor
from .crate import CRATE
from .maskcut_detector import MaskCutDetector
from .observe import Observation, observe

__all__ = ['CRATE', 'AttentionSegmentor', 'MaskCutDetector', 'Observation', 'observe']
