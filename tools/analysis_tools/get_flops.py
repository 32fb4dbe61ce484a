#!/usr/bin/env python3
"""Count FLOPs and parameters of a config of mmpretrain, mmdet or mmseg, by module.

  python tools/analysis_tools/get_flops.py CONFIG
  python tools/analysis_tools/get_flops.py CONFIG --size 1024 1024 --depth 2
  python tools/analysis_tools/get_flops.py CONFIG --cfg-options model.backbone.window_size=14

Both conventions are printed: MACs (one per multiply-add, what OpenMMLab calls FLOPs) and FLOPs (two). Fused attention
is counted; within windows, only the pairs of tokens that attend. The count needs no memory. If the forward pass of a
detector needs values (proposals), it runs once on the CPU. The line below the table names what could not be counted.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('config', help='config file')
    _cli.add_size(parser, 'height and width of the image (default: config)')
    parser.add_argument('--depth', type=_cli.positive, default=1, help='levels of modules in the table (default: 1)')
    _cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # torch's profiler tells on stderr when it starts
    return _cli.run('get_flops', count, args)


def count(args):
    from rich.console import Console

    from projects.crate.engine import launch
    from projects.crate.study import complexity

    cfg = launch.read_config(args.config, args.cfg_options)
    size, source = (tuple(args.size), '--size') if args.size else complexity.default_size(cfg)
    result = complexity.measure_config(cfg, size)
    print(f'{args.config}: image of {size[0]} x {size[1]} ({source})')
    Console().print(complexity.table(result, args.depth))


if __name__ == '__main__':
    sys.exit(main())
