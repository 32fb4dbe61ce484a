"""What has weights."""

from .crate import CRATE
from .observe import Observation, observe

__all__ = ['CRATE', 'Observation', 'observe']
