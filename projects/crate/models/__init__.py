"""What has weights."""

from .crate import CRATE
from .maskcut_detector import MaskCutDetector
from .observe import Observation, observe

__all__ = ['CRATE', 'MaskCutDetector', 'Observation', 'observe']
