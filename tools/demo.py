#!/usr/bin/env python3
"""Train a small CRATE and its ViT twin on the generated sample set, and write a page that shows what they look at.

The same commands a user would type, one after the other: tools/make_sample_set.py, tools/train.py, tools/test.py. An
interrupted demo goes on where it stopped; a finished one only writes its page again.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _cli import positive

CONFIGS = {
    'CRATE': 'configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py',
    'ViT': 'configs/classification/vit-w128d5-p4_1xb48-coslr-400i_sample-48px.py',
}


WEIGHTS = Path(__file__).resolve().parent.parent / 'docs' / 'experiments' / 'weights'
PHOTO_SIZE = (160, 160)  # height and width


def main(argv=None):
    return _cli.run('demo', show, parse_args(argv), 'interrupted; the same command goes on')


def show(args):
    """Run the commands and write the page."""
    started = time.monotonic()
    commands = []
    size = [] if args.images is None else ['--images', args.images, '--val-images', args.images]
    run(commands, 'tools/make_sample_set.py', data_root(), '--layouts', 'imagenet', *size)
    trained = {name: [train(commands, args, name, seed) for seed in range(args.seeds)] for name in CONFIGS}
    page = args.out / 'index.html'
    print('demo: looking at the attention of both models', flush=True)
    write(page, trained, commands, args.photos)
    print(f'demo: open {page.resolve()} in a browser ({(time.monotonic() - started) / 60:.1f} minutes)', flush=True)


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/demo'), help='where to train (default: %(default)s)'
    )
    parser.add_argument('--seeds', type=positive, default=1, help='trainings per model; more than one gives the spread')
    parser.add_argument('--images', type=int, help="images for training and for validation, in place of the set's own")
    parser.add_argument(
        '--photos', type=Path, metavar='FOLDER', help='photographs to be shown (default: some of installed packages)'
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], help='as in tools/train.py, for both models')
    args = parser.parse_args(argv)
    if args.photos and not args.photos.exists():
        parser.error(f'--photos: not found: {args.photos}')
    return args


def data_root():
    """Where the configs look for the sample set."""
    return Path(f'{os.environ.get("CRATE_DATA", "data")}/sample')


def run(commands, *command):
    """Run a tool of this folder with its output on the screen, and remember it as typed."""
    words = ['python', *map(str, command)]
    commands.append(shlex.join(words))
    print(f'\n$ {commands[-1]}', flush=True)
    if subprocess.run([sys.executable, *words[1:]]).returncode:
        raise _cli.mistake(f'`{commands[-1]}` failed: see above')


def train(commands, args, name, seed):
    """Train and test one model; returns (config as trained, seed, folder, checkpoint, accuracy in percent)."""
    work_dir = args.out / f'{name.lower()}-seed{seed}'
    options = [f'randomness.seed={seed}', *args.cfg_options]
    run(commands, 'tools/train.py', CONFIGS[name], '--work-dir', work_dir, '--resume', '--cfg-options', *options)
    checkpoint = work_dir / Path((work_dir / 'last_checkpoint').read_text().strip()).name
    test_dir = work_dir / 'test'
    run(commands, 'tools/test.py', CONFIGS[name], checkpoint, '--work-dir', test_dir, '--cfg-options', *options)
    metrics = json.loads(max(test_dir.glob('*/*.json')).read_text())
    return work_dir / Path(CONFIGS[name]).name, seed, work_dir, checkpoint, metrics['accuracy/top1']


def write(path, trained, commands, photos):
    """Measure the models and write the page."""
    import numpy as np
    import torch
    from mmengine.config import Config
    from PIL import Image

    from projects.crate.study.demo import TrainedRun, demo_page, measure, picture_paths

    def target_of(image_path):
        """1 on the object: the sample set keeps a mask beside each image."""
        image = Path(image_path).resolve()
        mask = np.asarray(Image.open(image.parents[2] / 'masks' / image.relative_to(image.parents[2])))
        return torch.from_numpy((mask > 0).astype(np.int64))

    runs = {
        name: [TrainedRun(Config.fromfile(config), *rest) for config, *rest in several]
        for name, several in trained.items()
    }
    results = {name: measure(several, target_of) for name, several in runs.items()}
    config = runs['CRATE'][0].config
    arch = config.model.backbone.arch
    about = (
        f'CRATE and ViT, {arch.num_layers} layers of width {arch.embed_dims} with {arch.num_heads} heads each, trained '
        f'for {config.train_cfg.max_iters} iterations of {config.train_dataloader.batch_size} generated images '
        f'({config.model.backbone.img_size} x {config.model.backbone.img_size} pixels, '
        f'{config.model.head.num_classes} classes) with the same recipe.'
    )
    images = [(np.asarray(Image.open(path)), target_of(path).numpy()) for path in picture_paths(config)]
    demo_page(path, results, about, commands, images, draw_photos(photos))


def draw_photos(folder):
    """What the models in ``WEIGHTS`` see in photographs; None without weights."""
    from projects.crate.study.experiment_page import pictures
    from projects.crate.study.observer import Observer, read_images
    from projects.crate.study.trained import read_trained

    observers = {}
    for name in CONFIGS:
        for weights in WEIGHTS.glob(f'{name.lower()}-*.safetensors'):
            observers[name] = Observer.from_config(read_trained(weights, name).config, str(weights))
    paths = [folder] if folder else packaged_photos()
    images = [image for path in paths for _, image in read_images(path, PHOTO_SIZE)]
    return pictures(observers, images) if observers and images else None


def packaged_photos():
    """Photographs that installed packages bring along; matplotlib is always there."""
    places = {
        'matplotlib': ['mpl-data/sample_data/grace_hopper.jpg'],
        'sklearn': ['datasets/images/flower.jpg', 'datasets/images/china.jpg'],
        'skimage': ['data/astronaut.png', 'data/chelsea.png', 'data/coffee.png'],
    }
    found = {package: find_spec(package) for package in places}
    files = [Path(spec.origin).parent / name for package, spec in found.items() if spec for name in places[package]]
    return [path for path in files if path.is_file()]


if __name__ == '__main__':
    sys.exit(main())
