"""KITTI's text files of boxes, a file per image, as a data set of mmdet."""

import math
from pathlib import Path

from mmdet.datasets import BaseDetDataset

from ..errors import ArgumentError

IGNORED = 'DontCare'  # a region with objects that have no boxes of their own


class KITTIDataset(BaseDetDataset):
    """Boxes of KITTI's object benchmark: a line of 15 words per object, of which word 1 and words 5 to 8 are read.

    Word 1 is the class, words 5 to 8 are x1, y1, x2, y2 in pixels. mmdet has no data set for this layout. Regions
    ``DontCare`` are ignored, as crowds of COCO are.

    Args:
        ann_file: Folder of the text files (``label_2``).
        data_prefix: ``dict(img=FOLDER)``: folder of the images (``image_2``), PNGs with the names of the text files.
        **kwargs: Arguments of mmdet's ``BaseDetDataset``.

    Raises:
        ValueError: The folder has no text file, or a line is none of KITTI's.
    """

    METAINFO = dict(classes=('Car', 'Van', 'Truck', 'Pedestrian', 'Person_sitting', 'Cyclist', 'Tram', 'Misc'))

    def load_data_list(self) -> list[dict]:
        """Read the text files, in the order of their names."""
        files = sorted(Path(self.ann_file).glob('*.txt'))
        if not files:
            raise ArgumentError(f'KITTIDataset: no .txt file in {self.ann_file}: ann_file is the folder label_2')
        return [self._read(path) for path in files]

    def _read(self, path: Path) -> dict:
        instances = []
        for number, line in enumerate(path.read_text('utf-8-sig', 'replace').splitlines(), start=1):
            name, *words = line.split() or ['']
            box = _box(words[3:7])
            if name not in (*self.metainfo['classes'], IGNORED) or box is None:
                raise ArgumentError(f'{path}, line {number}: not a line of KITTI (class, truncated, occluded, ...)')
            label = 0 if name == IGNORED else self.metainfo['classes'].index(name)
            instances.append(dict(bbox=box, bbox_label=label, ignore_flag=int(name == IGNORED)))
        image = Path(self.data_prefix['img'], f'{path.stem}.png')
        return dict(img_id=path.stem, img_path=str(image), instances=instances)


def _box(words: list[str]) -> list[float] | None:
    """Return x1, y1, x2, y2; None if the words are no box."""
    try:
        left, top, right, bottom = box = [float(word) for word in words]
    except ValueError:
        return None
    return box if left <= right and top <= bottom and all(map(math.isfinite, box)) else None
