"""mmseg's IoU metric, which names a label map of another size than the prediction."""

from collections.abc import Sequence

from mmseg.evaluation import IoUMetric

from ..errors import UserError
from ..files import printable


class MatchedIoUMetric(IoUMetric):
    """mmseg's ``IoUMetric``. It masks one map with the other, and fails without a name if their sizes differ.

    Predictions have the size of the image file. Label maps have it unless a transform behind ``LoadAnnotations``
    resizes them. Arguments and results are the same as those of :class:`mmseg.evaluation.IoUMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Add the results of a batch.

        Raises:
            UserError: A label map does not have the size of its prediction.
        """
        for sample in data_samples:
            label = None if self.format_only else sample['gt_sem_seg']['data'].shape[-2:]
            found = sample['pred_sem_seg']['data'].shape[-2:]
            if label is not None and label != found:
                raise UserError(
                    f'{printable(str(sample.get("seg_map_path")))}: the label map has (height, width) {(*label,)} at '
                    f'the end of its pipeline, and the prediction {(*found,)}: move LoadAnnotations behind the '
                    'transforms that change the size of the image'
                )
        super().process(data_batch, data_samples)
