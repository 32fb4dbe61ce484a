#!/usr/bin/env python3
"""Show photographs as a CRATE and a ViT see them, then train a small CRATE and a small ViT, on one page.

The photographs come first, within a minute: attention, principal components and MaskCut, with the weights of this
repository. The page is complete after the trainings. The demo runs the commands that a user would type:
tools/make_sample_set.py, tools/train.py, tools/test.py. An interrupted demo continues where it stopped; a finished one
only writes its page again.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _commands import Commands

CONFIGS = {
    'CRATE': 'configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py',
    'ViT': 'configs/classification/vit-w128d5-p4_1xb48-coslr-400i_sample-48px.py',
}
WEIGHTS = _cli.ROOT / 'docs' / 'experiments' / 'weights'
RESULTS = WEIGHTS.parent / 'emergence.json'
MEASURED = ('CRATE', 'ViT-lr1.5e-4')  # the trainings of ``RESULTS`` whose seed 0 is in ``WEIGHTS``
PHOTO_SIDE = 128  # longer side in pixels: the size at which docs/experiments compares the weights


def main(argv=None):
    return _cli.run('demo', show, parse_args(argv), 'interrupted; run the same command to continue')


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('--out', type=Path, default=Path('work_dirs/demo'), help='folder for trainings and page (default: %(default)s)')
    add('--seeds', type=_cli.positive, default=1, help='trainings per model; more than one gives the spread')
    text = 'number of training and of validation images (default: those of the sample set)'
    add('--images', type=int, help=text)
    text = 'folder of photographs to show (default: samples of installed packages)'
    add('--photos', type=Path, metavar='FOLDER', help=text)
    add('--format', choices=('html', 'md'), default='html', help='format of the page (default: %(default)s)')
    add('--photos-only', action='store_true', help='show photographs and train nothing')
    _cli.add_cfg_options(parser, 'as in tools/train.py, for both models')
    args = parser.parse_args(argv)
    if args.photos and not args.photos.exists():
        parser.error(f'--photos: not found: {args.photos}')
    return args


def show(args):
    """Write the page with photographs; then run the commands and complete the page."""
    started = time.monotonic()
    page = args.out / f'index.{args.format}'
    photos, credits = draw_photos(args.photos)
    write(page, {}, [], photos, credits, to_train=not args.photos_only)
    print(f'demo: open {page.resolve()} in a browser ({time.monotonic() - started:.0f} seconds)', flush=True)
    if args.photos_only:
        return
    print('demo: the second half of the page follows after the trainings', flush=True)
    commands = Commands('demo')
    size = [] if args.images is None else ['--images', args.images, '--val-images', args.images]
    data_root = f'{os.environ.get("CRATE_DATA", "data")}/sample'  # where the configs look for the sample set
    commands.run('tools/make_sample_set.py', data_root, '--layouts', 'imagenet', *size)
    trained = {name: [train(commands, args, name, seed) for seed in range(args.seeds)] for name in CONFIGS}
    print('demo: looking at the attention of both models', flush=True)
    write(page, trained, commands.typed, photos, credits)
    minutes = (time.monotonic() - started) / 60
    print(f'demo: complete ({minutes:.1f} minutes): reload {page.resolve()}', flush=True)


def train(commands, args, name, seed):
    """Train and test one model."""
    from mmengine.config import Config

    from projects.crate.engine.resume import last_checkpoint
    from projects.crate.study.demo import TrainedRun

    work_dir = args.out / f'{name.lower()}-seed{seed}'
    options = [f'randomness.seed={seed}', *args.cfg_options]
    commands.run('tools/train.py', CONFIGS[name], '--work-dir', work_dir, '--resume', '--cfg-options', *options)
    checkpoint = last_checkpoint(work_dir)
    test_dir = work_dir / 'test'
    commands.run('tools/test.py', CONFIGS[name], checkpoint, '--work-dir', test_dir, '--cfg-options', *options)
    metrics = json.loads(max(test_dir.glob('*/*.json')).read_text())
    config = Config.fromfile(work_dir / Path(CONFIGS[name]).name)
    return TrainedRun(config, seed, work_dir, checkpoint, metrics['accuracy/top1'])


def write(path, trained, commands, photos, credits, to_train=False):
    """Measure the models and write the page; with no trained model, only photographs."""
    import numpy as np
    import torch
    from PIL import Image

    from projects.crate.study.demo import demo_page, measure
    from projects.crate.study.experiment import read_results, summary_table

    def target_of(image_path):
        """Return 1 on the object: the sample set keeps a mask beside each image."""
        image = Path(image_path).resolve()
        mask = np.asarray(Image.open(image.parents[2] / 'masks' / image.relative_to(image.parents[2])))
        return torch.from_numpy((mask > 0).astype(np.int64))

    results = {name: measure(runs, target_of) for name, runs in trained.items()}
    config = trained['CRATE'][0].config if trained else None
    rows = [row for row in read_results(RESULTS)[0] if row.model in MEASURED]
    measured = summary_table(rows, f'{PHOTO_SIDE} x {PHOTO_SIDE}')
    demo_page(path, results, config, commands, photos, credits, measured, to_train)


def draw_photos(folder):
    """Return figures of the models in ``WEIGHTS`` on photographs (None without weights), and the photographs' authors.

    ``folder`` has the photographs; None: those in installed packages.
    """
    from projects.crate.study.comparison import last_layer_figures
    from projects.crate.study.images import fit, packaged_photographs, read_images
    from projects.crate.study.observer import repository_observers

    observers = repository_observers(WEIGHTS)
    packaged = {} if folder else packaged_photographs()  # matplotlib, which is required, has one
    images = [fit(image, PHOTO_SIDE) for path in packaged or [folder] for _, image in read_images(path)]
    return last_layer_figures(observers, images) if observers and images else None, [*packaged.values()]


if __name__ == '__main__':
    sys.exit(main())
