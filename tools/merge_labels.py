#!/usr/bin/env python3
"""Merge the predictions of a detector with the masks that it learnt from: the labels of the next round.

  python tools/maskcut.py IMAGES PREDICTIONS.json --config DETECTOR.py --checkpoint CHECKPOINT
  python tools/merge_labels.py OLD.json PREDICTIONS.json OUT.json --threshold 0.7

Predictions above the threshold are kept. An old mask stays if its IoU with each of them is below 0.5. After a kill,
repeat the command: OUT.json is whole or absent.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('old', type=Path, metavar='OLD.json', help='masks that the detector learnt from')
    add('predictions', type=Path, metavar='PREDICTIONS.json', help='what tools/maskcut.py wrote with the detector')
    add('out', type=Path, metavar='OUT.json', help='COCO file to write')
    text = 'score above which a prediction is kept (default: %(default)s)'
    add('--threshold', type=_cli.share, default=0.7, help=text)
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('merge_labels', merge, parse_args(argv), 'interrupted; run the same command again')


def merge(args):
    from projects.crate.files import make_folder
    from projects.crate.pseudo_labels import count_sources, merge_labels

    for path in (args.old, args.predictions):
        if not path.is_file():
            raise _cli.mistake(f'not found: {path}')
    make_folder(args.out.parent)
    counts = merge_labels(args.old, args.predictions, args.out, args.threshold)
    state = f'{counts["images"]} images, {counts["annotations"]} masks' if counts else 'complete, nothing to do'
    kept, stayed = count_sources(args.out, args.predictions)
    print(f'merge_labels: {args.out}: {state} ({kept} predictions kept, {stayed} old masks stayed)')


if __name__ == '__main__':
    sys.exit(main())
