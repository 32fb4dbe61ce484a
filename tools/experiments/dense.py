#!/usr/bin/env python3
"""Train heads for segmentation and detection on CRATE and on a ViT, from random and from trained weights.

  python tools/experiments/dense.py --data-root /datasets                                 # all that is missing
  python tools/experiments/dense.py --data-root /datasets --task linear --only CRATE ViT  # a part of it

A linear probe and UPerNet on CamVid, and Mask R-CNN on half of 128 images of COCO, each with three seeds. The small
CRATE and the small ViT are those of docs/experiments/evidence.md; DINOv2's ViT-S/14 is the upper mark. After an
interrupt, run the same command to continue; a training whose rows are in the results is not repeated. Run it in the
folder of the repository.

--data-root contains camvid/ and coco128/. DINOv2 needs checkpoints/vit-small-p14_dinov2.pth (docs/checkpoints.md).
"""

import itertools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli
from _commands import Commands

HEADS = ('linear', 'upernet', 'mask-rcnn')
MODELS = {
    'CRATE': 'crate-w192d6-p8_tinyimagenet100-pre',
    'ViT': 'vit-w192d6-p8_tinyimagenet100-pre',
    'DINOv2': 'vit-small-p14_dinov2-pre',
}
STARTS = {'trained': (), 'random weights': ('model.backbone.init_cfg=None',)}


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('--data-root', type=Path, required=True, metavar='D', help='folder with the data sets')
    text = 'folder for trainings (default: %(default)s)'
    parser.add_argument('--out', type=Path, default=Path('work_dirs/dense'), metavar='DIR', help=text)
    text = 'file with the rows of all sessions (default: %(default)s)'
    parser.add_argument('--results', type=Path, default=Path('docs/experiments/dense.json'), metavar='FILE', help=text)
    parser.add_argument(
        '--seeds', type=_cli.positive, default=3, metavar='N', help='seeds of each (default: %(default)s)'
    )
    for option, names in (('--task', HEADS), ('--only', [*MODELS])):
        text = f'do only these: {", ".join(names)}; several commands may run side by side'
        parser.add_argument(option, nargs='+', choices=names, default=names, metavar='NAME', help=text)
    _cli.add_cfg_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('dense', work, parse_args(argv), 'stopped; run the same command to continue')


def work(args):
    """Train and measure what is missing."""
    from projects.crate.engine.launch import read_config
    from projects.crate.study import dense
    from projects.crate.study.sweep import find_checkpoints

    os.environ['CRATE_DATA'] = str(args.data_root)
    commands = Commands('dense')
    for seed, task, name, start in missing(args):
        work_dir = args.out / f'{task}-{name}-{start}-seed{seed}'.lower().replace(' ', '-')
        config = f'configs/{dense.TASKS[task].config.format(MODELS[name])}'
        options = [f'randomness.seed={seed}', *STARTS[start], *args.cfg_options]
        words = [config, '--work-dir', work_dir, '--resume', '--no-validate', '--cfg-options', *options]
        commands.run('tools/train.py', *words)
        cfg = read_config(config, options, str(work_dir))
        last = [*find_checkpoints(work_dir)[1].values()][-1]
        keep(args.results, [*dense.measure(task, f'{name}, {start}', seed, cfg, last, args.out)])


def missing(args):
    """Yield seed, head, model and start of what has no rows: first the seed 0 of all."""
    for seed, task, name, start in itertools.product(range(args.seeds), args.task, args.only, STARTS):
        done = ((row.seed, row.metric.split(':')[0], row.model) for row in known(args.results))
        if (name, start) != ('DINOv2', 'random weights') and (seed, task, f'{name}, {start}') not in done:
            yield seed, task, name, start


def known(path):
    """Return the rows of this and earlier sessions."""
    from projects.crate.study.experiment import read_results

    return read_results(path)[0] if path.is_file() else []


def keep(path, new):
    """Add rows to the results."""
    from projects.crate.study.experiment import write_results
    from projects.crate.study.measure import versions
    from tools.bench.timing import machine

    write_results(path, [*known(path), *new], dict(machine=machine(), versions=versions()))


if __name__ == '__main__':
    sys.exit(main())
