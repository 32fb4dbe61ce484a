#!/usr/bin/env python3
"""Train a config of mmpretrain, mmdet or mmseg, on CPU or GPU, in one process or many.

  python tools/train.py configs/classification/NAME.py
  python tools/train.py CONFIG --resume                    # continue after a kill, or start: always the same command
  python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=64 randomness.seed=0
  python tools/train.py CONFIG --cfg-options load_from=FILE load_from_except=PART,PART  # fine-tune; PARTs start random
  bash tools/dist_train.sh CONFIG 8                        # one machine; more: NNODES, NODE_RANK, MASTER_ADDR, PORT
  bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR  # GPUS=64 GPUS_PER_NODE=8

--resume restores iteration, optimiser, schedulers, EMA and the order of samples. It does not load past samples again.
The random numbers of augmentations start anew. Checkpoints within an epoch: --cfg-options
default_hooks.checkpoint.by_epoch=False default_hooks.checkpoint.interval=1000
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('--work-dir', help="logs and checkpoints (default: the config's work_dir, or work_dirs/CONFIG)")
    text = 'continue from the last checkpoint of the work folder (start if there is none), or from PATH'
    add('--resume', nargs='?', const='auto', metavar='auto|PATH', help=text)
    add('--amp', action='store_true', help='mixed precision; on a CPU bfloat16 without a loss scaler')
    add('--no-validate', action='store_true', help='do not evaluate during training')
    text = 'multiply the learning rate by batch size / auto_scale_lr.base_batch_size; configs of this project do so'
    add('--auto-scale-lr', action='store_true', help=text)
    _cli.add_cfg_options(parser)
    _cli.add_launcher(parser)
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('train', train, parse_args(argv), 'interrupted; run the same command with --resume to continue')


def train(args):
    from projects.crate.engine import disk, launch
    from projects.crate.engine.mistakes import mistakes_of

    launch.flush_tiny_numbers()
    cfg = launch.read_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    launch.prepare_training(cfg, args.resume, args.amp, not args.no_validate, args.auto_scale_lr)
    runner = launch.build_runner(cfg)
    with mistakes_of(cfg), launch.running(runner, disk.GO_ON):
        runner.train()


if __name__ == '__main__':
    sys.exit(main())
