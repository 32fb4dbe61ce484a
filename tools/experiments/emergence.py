#!/usr/bin/env python3
"""Repeat Tables 1 and 2 of arXiv 2308.16271 in miniature: does segmentation emerge?

  python tools/experiments/emergence.py --budget cpu --data-root /datasets  # two cores, two and a half hours
  python tools/experiments/emergence.py --budget gpu --data-root /datasets  # a data-centre GPU, half an hour (estimate)
  python tools/experiments/emergence.py --budget evidence --data-root /datasets  # the trainings that are still missing
  python tools/experiments/emergence.py --budget smoke                      # a minute or two, on generated images

CRATE, CRATE-MLP, CRATE-MHSA and the ViT are trained alike on the 100 classes of Tiny-ImageNet. Then they are measured
on images that none of them saw: coarse segmentation by attention, MaskCut, one object per image, and k-NN. This is
done along training, for every layer, and with random weights. After an interrupt, run the same command to continue; a
training whose rows are in the results is not repeated. Run it in the folder of the repository.

--data-root contains tiny-imagenet-100/{train,val}/<wnid>/*.JPEG, a data set in VOC layout and one in COCO layout. The
data sets are in this folder or in a folder of it; the first of each layout counts.
"""

import argparse
import json
import os
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli
from _commands import Commands

MODELS = {'CRATE': 'crate-{}', 'CRATE-MLP': 'crate-{}-mlp', 'CRATE-MHSA': 'crate-{}-mhsa', 'ViT': 'vit-{}'}
FOUR = dict.fromkeys(MODELS, 1)
# of the budget 'evidence': the ViT has the parameters of CRATE-wide, ViT-narrow those of CRATE
EQUAL = {'ViT-narrow': 'vit-w96d6', 'CRATE-wide': 'crate-w384d6', 'ViT-registers': 'vit-{}-reg4'}
MODELS |= EQUAL
TRAINING_SET = 'tiny-imagenet-100'  # where the configs look for it
SAMPLE = '--images 16 --val-images 8 --scenes 8 --val-scenes 8'  # images of the smoke budget
TUNED = ('CRATE', 'ViT')  # learning rates are chosen by the two that differ most
# two trainings are the same if these parts of their configs are equal
SETTINGS = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')
SETTINGS += ('custom_hooks', 'randomness')


@dataclass(frozen=True)
class Budget:
    """Settings of the trainings and of their measurements."""

    size: str  # of the models, as in the names of their configs
    recipe: str  # the rest of those names
    # (h, w) that images are measured at; along the training the last one
    image_sizes: tuple[tuple[int, int], ...] = ((128, 128), (64, 64))
    seeds: dict[str, int] = field(default_factory=lambda: dict(FOUR))  # trainings; --also adds to them
    num_resamples: int = 1000  # draws behind the intervals of AP
    max_images: int = 500  # of each data set that is measured
    options: tuple[str, ...] = ()  # as --cfg-options of tools/train.py
    rates: dict[str, tuple[float, ...]] = field(default_factory=dict)  # learning rates that --tune tries, by model
    tuning: tuple[str, ...] = ()  # options of the shorter trainings for that
    results: str = ''  # file with the rows of all sessions; default: results.json in the folder of the trainings


SMALL = dict(size='w192d5', recipe='p4_1xb128-coslr-1750i_tinyimagenet100-64px')
BUDGETS = {
    'smoke': Budget(
        **SMALL,
        image_sizes=((48, 64),),
        num_resamples=20,
        options=(
            'model.backbone.arch.num_layers=2',
            'model.backbone.arch.embed_dims=48',
            'model.head.in_channels=48',
            'train_cfg.max_iters=4',
            'default_hooks.checkpoint.interval=4',
            'default_hooks.logger.interval=1',
            'custom_hooks.1.until=2',
            'train_dataloader.batch_size=8',
            'auto_scale_lr.enable=False',
            'param_scheduler.0.end=2',
            'param_scheduler.1.begin=2',
            'data_preprocessor.num_classes=8',
            'model.head.num_classes=8',
            'model.head.loss.num_classes=8',
        ),
    ),
    'cpu': Budget(
        **SMALL,
        rates=dict.fromkeys(TUNED, (1.5e-4, 4e-4, 1e-3, 2.5e-3)),
        tuning=('train_cfg.max_iters=350', 'custom_hooks.1.until=320'),
    ),
    'gpu': Budget(
        size='w384d6',
        recipe='p4_1xb512-coslr-3000i_tinyimagenet100-64px',
        seeds={**FOUR, 'CRATE': 3},
        rates=dict.fromkeys(TUNED, (1.5e-4, 4e-4, 1e-3, 2.5e-3)),
        tuning=('train_cfg.max_iters=600',),
    ),
    'evidence': Budget(
        size='w192d6',
        recipe='p8_1xb128-coslr-4000i_tinyimagenet100-64px',
        image_sizes=((128, 128), (224, 224), (64, 64)),
        seeds={**dict.fromkeys(('CRATE', 'ViT'), 3), **dict.fromkeys((*EQUAL, 'CRATE-MLP', 'CRATE-MHSA'), 2)},
        rates={'CRATE': (4e-4, 1e-3), 'ViT': (1.5e-4, 4e-4)},
        tuning=(
            'train_cfg.max_iters=200',
            'default_hooks.checkpoint.interval=200',
            'param_scheduler.0.end=50',
            'param_scheduler.1.begin=50',
        ),
        results='docs/experiments/evidence.json',
    ),
}


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('--budget', choices=BUDGETS, required=True, help='size of the experiment')
    add('--data-root', type=Path, metavar='D', help='folder with the data sets; smoke makes its own')
    text = 'folder for trainings and results (default: work_dirs/emergence-BUDGET)'
    add('--out', type=Path, metavar='DIR', help=text)
    text = 'more trainings. CRATE=3: at least seeds 0, 1, 2. ViT-lr1e-3=1: a ViT with this learning rate'
    add('--also', nargs='+', action='extend', type=name_and_seeds, default=[], metavar='MODEL=SEEDS', help=text)
    text = 'only train: for a machine without mmdet and mmseg. To measure, run the command without it elsewhere'
    add('--train-only', action='store_true', help=text)
    text = 'train and measure only these models, if they are missing; several commands may run side by side'
    add('--only', nargs='+', choices=MODELS, metavar='MODEL', help=text)
    add('--pictures', nargs='+', type=Path, metavar='IMAGE', help='images to show (default: some measured images)')
    text = 'only compare learning rates: short trainings of CRATE and the ViT, accuracy on the validation images'
    add('--tune', action='store_true', help=text)
    args = parser.parse_args(argv)
    if args.data_root is None and args.budget != 'smoke':
        parser.error(f'--budget {args.budget} needs --data-root')
    if args.data_root is not None and args.budget == 'smoke':
        parser.error('--data-root: the smoke budget makes its own images')
    if args.tune and args.also:
        parser.error('--tune and --also do not go together: remove one')
    if args.tune and not BUDGETS[args.budget].rates:
        parser.error(f'--tune: budget {args.budget} has no learning rates to compare')
    named = [*(args.only or []), *(name.partition('-lr')[0] for name, _ in args.also)]
    if unknown := [name for name in named if name not in BUDGETS[args.budget].seeds]:
        parser.error(f'budget {args.budget} has no {unknown[0]}')
    if missing := [path for path in args.pictures or [] if not path.exists()]:
        parser.error(f'--pictures: not found: {missing[0]}')
    args.out = args.out or Path(f'work_dirs/emergence-{args.budget}')
    return args


def name_and_seeds(text):
    """Return ('ViT-lr1e-3', 2) for 'ViT-lr1e-3=2'."""
    match = re.fullmatch(rf'((?:{"|".join(MODELS)})(?:-lr(\d+(?:\.\d+)?(?:e-\d+)?))?)=([1-9]\d*)', text)
    if not match or float(match[2] or 1) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not like CRATE=3 or ViT-lr1e-3=1 (models: {", ".join(MODELS)})')
    return match[1], int(match[3])


def main(argv=None):
    args = parse_args(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception: the training that runs is ended, too
    return _cli.run('emergence', work, args, 'stopped; run the same command to continue')


def work(args):
    experiment = Experiment(args)
    experiment.tune() if args.tune else experiment.run()


def last_checkpoint(work_dir):
    from projects.crate.study.sweep import find_checkpoints

    return [*find_checkpoints(work_dir)[1].values()][-1]


class Experiment:
    """One run of the command."""

    def __init__(self, args):
        self.budget, self.name, self.out = BUDGETS[args.budget], args.budget, args.out
        self.root, self.options, self.commands = args.data_root, self.budget.options, Commands('emergence')
        self.pictures, self.only, self.train_only = args.pictures, args.only, args.train_only
        self.seeds = dict(self.budget.seeds)
        self.results = Path(self.budget.results or self.out / 'results.json')
        for name, seeds in args.also:
            self.seeds[name] = max(seeds, self.seeds.get(name, 0))
        if Path.cwd() != _cli.ROOT:
            raise _cli.mistake(f'run it in the folder of the repository: cd {_cli.ROOT}')
        if self.root is None:
            self.root = self.out / 'data'
            self.commands.run('tools/make_sample_set.py', self.root, *SAMPLE.split())
            self.options += tuple(
                f'{split}_dataloader.dataset.data_root={self.root / "imagenet"}' for split in ('train', 'val', 'test')
            )
        elif not (self.root / TRAINING_SET).is_dir():
            missing = f'no folder {self.root / TRAINING_SET}'
            raise _cli.mistake(f'{missing}: --data-root must contain {TRAINING_SET}/ (see --help)')

    def run(self):
        """Do the missing trainings and measurements; write tables and curves."""
        from projects.crate.study import experiment

        if self.train_only:
            for model, seed in self.missing(self.known()[0]):
                self.train_seed(model, seed)
            return
        image_sets = self.find_images()
        count = self.describe(image_sets[0])
        for model, seed in self.missing(self.known()[0]):
            training = model, seed, self.train_seed(model, seed), self.work_dir(model, seed)
            new = experiment.measure_training(*training, image_sets, self.out, self.budget.num_resamples)
            self.keep(count, new if self.known()[0] else [*experiment.measure_baselines(image_sets[0]), *new])
        rows = self.known()[0]
        for path in experiment.write_pages(rows, self.draw(rows, image_sets[0].pictures), self.out):
            print(f'emergence: wrote {path}')

    def work_dir(self, model, seed):
        """Return the work folder of a training."""
        return self.out / f'{model.lower()}-seed{seed}'

    def train_seed(self, model, seed):
        """Train a model with a seed, or continue; return its config."""
        return self.train(model, self.work_dir(model, seed), [f'randomness.seed={seed}', *self.options])

    def missing(self, rows):
        """Yield model and seed of the trainings that have no rows, first the seed 0 of all models."""
        from projects.crate.study.experiment import trainings_of

        done = {(model, seed) for model, seed, _ in trainings_of(rows)}
        for seed in range(max(self.seeds.values())):
            for model, seeds in self.seeds.items():
                if seed < seeds and (model, seed) not in done and (self.only is None or model in self.only):
                    yield model, seed

    def known(self):
        """Return the rows of this and earlier sessions, also those that another command has just written."""
        from projects.crate.study.experiment import read_results

        return read_results(self.results) if self.results.is_file() else ([], {})

    def keep(self, images, new):
        """Add rows to the results. Machine and versions are those of the last session."""
        from projects.crate.study.experiment import write_results
        from projects.crate.study.measure import versions
        from tools.bench.timing import machine

        new = [*new]  # measured before the results of others are read
        rows, about = self.known()
        rows += new
        commands = dict.fromkeys([*about.get('commands', ()), *self.commands.typed])
        about = dict(budget=self.name, machine=machine(), versions=versions(), images=images, commands=[*commands])
        write_results(self.results, rows, about)

    def draw(self, rows, images):
        """Return pictures of attention and masks of seed 0 of each measured model whose checkpoints are here."""
        from projects.crate.study import comparison, experiment
        from projects.crate.study.images import read_images
        from projects.crate.study.observer import Observer

        if self.pictures:
            size = self.budget.image_sizes[0]
            images = [image for path in self.pictures for _, image in read_images(path, size)]
        observers = {}
        for model in self.seeds:
            work_dir = self.work_dir(model, 0)
            if experiment.find(rows, model=model, seed=0) and any(work_dir.glob('iter_*.pth')):
                observers[model] = Observer.from_checkpoint(last_checkpoint(work_dir))
        return comparison.last_layer_figures(observers, images) if observers else {}

    def tune(self):
        """Print and write the accuracy of CRATE and the ViT with every learning rate."""
        from projects.crate.files import atomic
        from projects.crate.study.sweep import Measurements
        from projects.crate.study.tables import Table, write_table

        table = []
        for rate in sorted({*sum(self.budget.rates.values(), ())}):
            found = {}
            for model in (each for each in TUNED if rate in self.budget.rates[each]):
                name = f'{model}-lr{rate:g}'
                work_dir = self.out / 'tune' / name.lower()
                cfg = self.train(name, work_dir, ['randomness.seed=0', *self.options, *self.budget.tuning])
                measurements = Measurements(self.out / 'tune', 'accuracy')
                metrics = measurements.measure(work_dir.name, cfg, last_checkpoint(work_dir))
                found[model] = metrics['accuracy/top1']
            table.append([f'{rate:g}', *(f'{found[model]:.1f}%' if model in found else '' for model in TUNED)])
        text = write_table(Table(['learning rate', *TUNED], table), 'md')
        with atomic(self.out / 'tune' / 'table.md') as part:
            part.write_text(f'{text}\n')
        print(text)

    def train(self, name, work_dir, options):
        """Train a model, or continue its training; return its config. The name may have a learning rate: ViT-lr1e-3."""
        from projects.crate.engine.launch import read_config

        model, _, rate = name.partition('-lr')
        if rate:
            options = [*options, f'optim_wrapper.optimizer.lr={rate}']
        stem = f'{MODELS[model].format(self.budget.size)}-{self.budget.recipe}'
        config = f'configs/classification/{stem}.py'
        os.environ['CRATE_DATA'] = str(self.root)  # where this config looks for its data, here and in the training
        cfg = read_config(str(_cli.ROOT / config), options, str(work_dir))
        self.check_settings(work_dir, cfg)
        words = [config, '--work-dir', work_dir, '--resume', '--no-validate', '--cfg-options', *options]
        is_done = (work_dir / f'iter_{cfg.train_cfg.max_iters}.pth').is_file()
        self.commands.run('tools/train.py', *words, is_done=is_done)
        return cfg

    def check_settings(self, work_dir, cfg):
        """Raise UserError if the folder holds a training with other settings."""
        from projects.crate.files import atomic, make_folder

        path = work_dir / 'settings.json'
        settings = json.loads(json.dumps({key: cfg.get(key) for key in SETTINGS}, default=str))
        settings['train_dataloader']['dataset'].pop('data_root')  # images may be moved
        if path.is_file():
            try:
                known = dict(json.loads(path.read_bytes()))
            except (ValueError, TypeError, RecursionError) as error:
                raise _cli.mistake(f'{path} is damaged: remove {work_dir}, or name another --out') from error
            if differs := [key for key in SETTINGS if known.get(key) != settings[key]]:
                raise _cli.mistake(
                    f'{work_dir} was trained with another {" and ".join(differs)}: '
                    'remove that folder, or name another --out'
                )
            return
        make_folder(work_dir)
        with atomic(path) as part:
            part.write_text(json.dumps(settings, indent=1))

    def find_images(self):
        """Return the images, once per size."""
        from projects.crate.study.images import find_images

        beneath = sorted(path for path in self.root.iterdir() if path.is_dir())
        return [find_images([self.root, *beneath], size, self.budget.max_images) for size in self.budget.image_sizes]

    def describe(self, images):
        """Print, before hours of training, what will be measured on which images; return {layout: number}."""
        found = {}
        for layout, task in (('voc', 'coarse segmentation'), ('coco', 'MaskCut')):
            data = getattr(images, layout)
            if data is None:
                print(f'emergence: no data set in {layout.upper()} layout below {self.root}: {task} is not measured')
                continue
            found[layout] = len(data.chosen)
            count = f'{len(data.chosen)} of {len(data.images)} images'
            print(f'emergence: {task} on {count} of {data.changes["data_root"]}', flush=True)
        return found


if __name__ == '__main__':
    sys.exit(main())
