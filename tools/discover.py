#!/usr/bin/env python3
"""Make a class-agnostic detector from a folder of images without labels (CutLER, arXiv 2301.11320).

  python tools/discover.py IMAGES --out DIR --backbone dinov2-small
  python tools/discover.py IMAGES --out DIR --config configs/maskcut/NAME.py --checkpoint CHECKPOINT

The steps are MaskCut's masks, a detector that learns from them, and rounds of self-training. Each step is a command
that the page shows. DIR/index.html shows all of it. After a Ctrl-C or a kill, the same command continues.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _commands import Commands

DETECTOR = [
    f'configs/detection/mask-rcnn_vit-small-p14_dinov2-pre-1xb4-step-{epochs}e_coco-pseudo-448x448px.py'
    for epochs in (12, 6)
]


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('images', type=Path, help='folder of images, searched with all folders in it')
    add('--out', type=Path, required=True, metavar='DIR', help='folder for masks, trainings and page')
    add('--backbone', metavar='NAME', help='pretrained ViT, as in tools/maskcut.py')
    add('--config', help='in place of --backbone: a config of configs/maskcut')
    add('--checkpoint', help='weights of its backbone')
    text = 'config of the first detector, and config of the rounds if another (default: a small Mask R-CNN on the ViT)'
    add('--detector', nargs='+', metavar='CONFIG', help=text)
    add('--rounds', type=_cli.natural, default=2, help='rounds of self-training (default: %(default)s)')
    text = 'score above which a prediction is kept in round 1; 0.05 less in each further round (default: %(default)s)'
    add('--threshold', type=_cli.share, default=0.7, help=text)
    add('--val', type=Path, metavar='COCO.json', help='annotations, to evaluate with')
    add('--val-images', type=Path, metavar='FOLDER', help='folder of the images of --val (default: IMAGES)')
    add('--processes', type=_cli.positive, default=1, help='processes of a step, one per GPU (default: %(default)s)')
    args = parser.parse_args(argv)
    if (args.backbone is None) == (args.config is None or args.checkpoint is None):
        parser.error('give --backbone, or --config and --checkpoint')
    if args.detector and len(args.detector) > 2:
        parser.error('--detector takes one or two configs')
    if args.threshold < (least := round(0.05 * (args.rounds - 1), 4)):
        parser.error(f'--threshold {args.threshold}: {args.rounds} rounds, 0.05 less in each, need {least} or more')
    return args


def main(argv=None):
    return _cli.run('discover', discover, parse_args(argv), 'interrupted; run the same command to continue')


def discover(args):
    """Run the steps and write the page."""
    from projects.crate.pseudo_labels.merge import count_entries
    from projects.crate.study import discovery

    if not args.images.is_dir():
        raise _cli.mistake(f'not a folder: {args.images}')
    run = Run(args)
    source = (
        ['--backbone', args.backbone] if args.backbone else ['--config', args.config, '--checkpoint', args.checkpoint]
    )
    labels, predictions, trainings, results = {'MaskCut': args.out / 'masks-0.json'}, {}, {}, {}
    run.label(args.images, labels['MaskCut'], source)
    if not count_entries(labels['MaskCut'])[1]:
        raise _cli.mistake(f'MaskCut found no mask in {args.images}: try another --backbone, see docs/maskcut.md')
    run.evaluate('MaskCut', 0, source, results)
    checkpoint = None
    for number in range(args.rounds + 1):
        name, learnt = (f'round {number}' if number else 'first detector'), [*labels.values()][-1]
        config, work_dir = args.out / f'detector-{number}.py', args.out / f'detector-{number}'
        checkpoint = run.train(config, work_dir, number, learnt, checkpoint)
        trainings[name] = work_dir
        detector = ['--config', config, '--checkpoint', checkpoint]
        run.evaluate(name, number + 1, detector, results)
        if number < args.rounds:
            following = f'round {number + 1}'
            predictions[following], labels[following] = run.merge(number + 1, learnt, detector)
    page = discovery.discovery_page(args.out, args.images, labels, predictions, trainings, results, run.commands.typed)
    print(f'discover: the detector is {checkpoint}; open {page.resolve()} in a browser', flush=True)


class Run:
    """The steps of one run; each is left out if its result is there."""

    def __init__(self, args):
        from projects.crate.files import make_folder
        from projects.crate.study import discovery

        self.args, self.commands = args, Commands('discover')
        make_folder(args.out)
        names = ('images', 'backbone', 'config', 'checkpoint', 'threshold', 'val', 'val_images')
        settings = {name: value if value is None else str(value) for name in names if (value := vars(args)[name])}
        discovery.write_once(args.out / 'settings.json', json.dumps(settings, indent=2) + '\n')
        if args.val:  # before the first step, which may take hours
            discovery.write_image_list(args.val, args.out / 'val.txt')

    def step(self, tool, *arguments, is_done):
        """Run a tool, by several processes if so asked."""
        if self.args.processes > 1 and tool != 'tools/merge_labels.py':
            launcher = ['-m', 'torch.distributed.run', '--nproc-per-node', self.args.processes, tool]
            tool, arguments = launcher[0], [*launcher[1:], *arguments, '--launcher', 'pytorch']
        self.commands.run(tool, *arguments, is_done=is_done)

    def label(self, images, out, model, *more):
        """Write the masks that a model finds."""
        self.step('tools/maskcut.py', images, out, *model, *more, is_done=out.exists())

    def train(self, config, work_dir, number, labels, start):
        """Train a detector, from the checkpoint of the last one, if any; return its last checkpoint."""
        from projects.crate.engine.resume import last_checkpoint
        from projects.crate.study import discovery

        args = self.args
        base = (args.detector or DETECTOR)[: 1 + bool(number)][-1]
        source = args.backbone, args.config, args.checkpoint
        discovery.write_config(config, base, args.images, labels, source, start)
        is_done = discovery.is_finished(work_dir, config)
        self.step('tools/train.py', config, '--work-dir', work_dir, '--resume', is_done=is_done)
        return last_checkpoint(work_dir)

    def merge(self, number, old, detector):
        """Let the detector predict on the images, and merge that with the old masks; return both files."""
        predictions, out = (self.args.out / f'{name}-{number}.json' for name in ('predictions', 'masks'))
        self.label(self.args.images, predictions, detector)
        threshold = round(self.args.threshold - 0.05 * (number - 1), 4)
        self.step('tools/merge_labels.py', old, predictions, out, '--threshold', threshold, is_done=out.exists())
        return predictions, out

    def evaluate(self, name, number, model, results):
        """Compare what a model finds in the images of --val with the annotations."""
        from projects.crate.study import discovery

        if self.args.val is None:
            return
        listed, found = self.args.out / 'val.txt', self.args.out / f'val-{number}.json'
        self.label(listed, found, model, '--root', self.args.val_images or self.args.images)
        path = self.args.out / f'results-{number}.json'
        if not path.exists():
            discovery.write_once(path, json.dumps(discovery.evaluate(found, self.args.val), indent=2) + '\n')
        results[name] = json.loads(path.read_text())


if __name__ == '__main__':
    sys.exit(main())
