"""From a checkpoint and images to arrays: what the figures and the report show.

Nothing here draws, and sweeps alone write, what they measured; ``visualization`` makes figures of the arrays,
``tools/analysis_tools`` files of those.
"""

from .observer import Observer, iterate_images, read_images

__all__ = ['Observer', 'iterate_images', 'read_images']
