"""Drawing of objects whose score is no confidence."""

import numpy as np
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData


class ObjectVisualizer(DetLocalVisualizer):
    """mmdet's ``DetLocalVisualizer`` without scores beside the names of the classes.

    A score of MaskCut ranks masks. It is no probability, and ``DetLocalVisualizer`` writes it in percent.
    """

    def _draw_instances(self, image: np.ndarray, instances: InstanceData, *names_and_colours) -> np.ndarray:
        instances = instances.clone()
        instances.pop('scores', None)
        return super()._draw_instances(image, instances, *names_and_colours)
