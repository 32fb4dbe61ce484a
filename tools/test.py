#!/usr/bin/env python3
"""Evaluate a checkpoint with a config of mmpretrain, mmdet or mmseg, on CPU or GPU, in one process or many.

python tools/test.py CONFIG CHECKPOINT
python tools/test.py CONFIG CHECKPOINT --out predictions.pkl --show-dir pictures
bash tools/dist_test.sh CONFIG CHECKPOINT 8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights: a file or a URL')
    parser.add_argument('--work-dir', help="log and metrics (default: the config's work_dir, or work_dirs/CONFIG)")
    parser.add_argument('--out', metavar='FILE.pkl', help='file for all predictions')
    parser.add_argument('--show-dir', help='folder for drawn predictions')
    parser.add_argument(
        '--tta', action='store_true', help='use test-time augmentation (tta_model and tta_pipeline of the config)'
    )
    _cli.add_cfg_options(parser)
    _cli.add_launcher(parser)
    args = parser.parse_args(argv)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out takes a .pkl file, not {args.out}')
    return args


def main(argv=None):
    return _cli.run('test', test, parse_args(argv))


def test(args):
    from projects.crate.engine import disk, launch
    from projects.crate.engine.mistakes import mistakes_of

    outputs = {'--out': args.out and Path(args.out).parent, '--show-dir': args.show_dir}
    for option, folder in outputs.items():  # now, and not after hours of work
        if folder:
            disk.check_folder(folder, option)
    if args.out and Path(args.out).is_dir():
        raise _cli.mistake(f'--out {args.out} is a folder: give the name of a file')
    cfg = launch.read_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    launch.prepare_testing(cfg, args.checkpoint, args.out, args.show_dir, args.tta)
    runner = launch.build_runner(cfg)
    with mistakes_of(cfg), launch.running(runner):
        runner.test()


if __name__ == '__main__':
    sys.exit(main())
