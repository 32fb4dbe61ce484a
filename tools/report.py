#!/usr/bin/env python3
"""Write one page about one or more checkpoints: tables, curves and pictures, side by side, in a single file.

  python tools/report.py work_dirs/demo/{crate,vit}-seed0/iter_400.pth --data-root data/sample --out report
  python tools/report.py A.pth B.pth --data-root data data/coco128 --max-images 100 --size 224 224 --out report

The report measures coarse segmentation by attention on a data set in VOC layout, and MaskCut on one in COCO layout. It
takes the first data set of each layout below the data roots. It also measures the compression and sparsity of every
layer. Measurements are kept beside the page: the same command again only does what is missing. Empty the folder after a
change of images, masks or code.

A checkpoint of a training contains its config. It is read, never executed. It may name only layers whose weights are in
the file. For other checkpoints, such as converted ones, name a config with --configs. Config files are Python code and
are executed, so take them from people you trust.
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('checkpoints', nargs='+', type=Path, metavar='CHECKPOINT', help='files with weights')
    add('--data-root', nargs='+', type=Path, required=True, metavar='D', help='folders with VOC or COCO layout')
    add('--out', type=Path, required=True, metavar='DIR', help='folder for the page and the measurements')
    text = "config files with the backbones, one per checkpoint; '-': the checkpoint's own (default: '-' for all)"
    add('--configs', nargs='+', metavar='C', help=text)
    add('--names', nargs='+', metavar='N', help='model names, one per checkpoint (default: folder names)')
    text = 'resize images to this height and width (default: 480 480, the protocol of MaskCut)'
    _cli.add_size(parser, text, default=[480, 480])
    add('--layer', type=int, default=-1, help='layer for MaskCut and pictures, from 0; -1 is the last (default: -1)')
    _cli.add_facet(parser)
    add('--all-layers', action='store_true', help='slower: one MaskCut run per layer')
    text = 'number of images per data set, evenly spaced (default: all)'
    add('--max-images', type=_cli.positive, metavar='N', help=text)
    rules = ('mass', 'top')
    text = 'rule that turns attention into a mask: patches with 60%% of the mass, or top 60%% of the patches '
    text += '(default: both)'
    add('--rule', nargs='+', choices=rules, default=rules, help=text)
    add('--format', choices=('html', 'md'), default='html', help='format of the page (default: %(default)s)')
    add('--num-workers', type=_cli.natural, default=2, help='processes that load images (default: %(default)s)')
    args = parser.parse_args(argv)
    for name in ('configs', 'names'):
        given = getattr(args, name)
        if given is not None and len(given) != len(args.checkpoints):
            parser.error(f'--{name}: {len(given)} for {len(args.checkpoints)} checkpoints; give one for each')
    if args.names and len({*args.names}) < len(args.names):
        parser.error('--names must differ')
    args.command = shlex.join(['python', 'tools/report.py', *argv])
    return args


def main(argv=None):
    return _cli.run('report', write_report, parse_args(sys.argv[1:] if argv is None else argv))


def write_report(args):
    """Measure every model and write the page."""
    from projects.crate.files import make_folder
    from projects.crate.study.checkpoint_model import default_names, read_model
    from projects.crate.study.images import find_images, object_shares
    from projects.crate.study.measure import measure_model, versions
    from projects.crate.study.report import report_page

    configs = [None if config == '-' else config for config in args.configs or ['-'] * len(args.checkpoints)]
    names = args.names or default_names(args.checkpoints)
    models = [read_model(*each) for each in zip(args.checkpoints, names, configs)]
    images = find_images(args.data_root, args.size, args.max_images)
    options = dict(rules=args.rule, layer=args.layer, all_layers=args.all_layers, num_workers=args.num_workers)
    options |= dict(facet=args.facet, centred=args.centred)
    make_folder(args.out)
    reports = []
    for model in models:
        print(f'report: measuring {model.name}', file=sys.stderr, flush=True)
        reports.append(measure_model(model, images, args.out, **options))
    shares = [] if images.voc is None else object_shares(images.voc)
    page = args.out / f'index.{args.format}'
    report_page(page, reports, images, shares, args.command, versions())
    print(f'report: open {page.resolve()} in a browser')


if __name__ == '__main__':
    sys.exit(main())
