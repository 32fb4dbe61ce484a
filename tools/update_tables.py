#!/usr/bin/env python3
"""Write the tables of README.md and docs/ again that come from results.

  python tools/update_tables.py          # after a change of docs/experiments/*.json or of study/published.py
  python tools/update_tables.py --check  # exit code 1 if a table is stale

A table stands between <!-- table: NAME --> and <!-- end of table -->.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli

RESULTS = _cli.ROOT / 'docs/experiments/emergence.json'
DENSE = _cli.ROOT / 'docs/experiments/dense.json'
EVIDENCE = _cli.ROOT / 'docs/experiments/evidence.json'
SIZES = ('128 x 128', '64 x 64')
MARKED = re.compile(r'(<!-- table: ([^\n]+) -->\n).*?(<!-- end of table -->)', re.DOTALL)


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('--check', action='store_true', help='change nothing; name the pages with stale tables')
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('update_tables', update, parse_args(argv))


def update(args):
    """Write the pages whose tables are stale, or only name them."""
    known = tables()
    pages = _cli.ROOT / 'README.md', *sorted(_cli.ROOT.glob('docs/**/*.md'))
    stale = {page: text for page in pages if (text := updated(page.read_text(), known)) != page.read_text()}
    for page, text in stale.items():
        if not args.check:
            page.write_text(text)
        print(f'{"stale" if args.check else "written"}: {page.relative_to(_cli.ROOT)}')
    return int(args.check and bool(stale))


def tables():
    """Return name -> table in Markdown."""
    from projects.crate.study import dense, experiment, published
    from projects.crate.study.tables import write_table

    rows, _ = experiment.read_results(RESULTS)
    found = experiment.tables(rows)
    found |= {f'summary, {size}': experiment.summary_table(rows, size) for size in SIZES}
    models = ('CRATE', 'ViT', 'ViT-lr1.5e-4')
    found['along training'] = experiment.along_training_table(rows, SIZES[-1], models)
    if EVIDENCE.is_file():
        rows, _ = experiment.read_results(EVIDENCE)
        found |= {f'evidence, {name}': table for name, table in experiment.tables(rows).items()}
        models = dict.fromkeys(model for model, *_ in experiment.trainings_of(rows))
        found['evidence, models'] = experiment.seed_table(rows, SIZES[0], models)
    if DENSE.is_file():
        rows, _ = experiment.read_results(DENSE)
        found |= {f'dense, {task}': dense.dense_table(rows, task) for task in dense.TASKS}
    found |= {'Table 1': published.table_1(), 'Figure 4b': published.figure_4b()}
    return {name: write_table(table, 'md') for name, table in found.items()}


def updated(text, known):
    """Return a page with the tables as they are now."""

    def write(match):
        if match[2] not in known:
            raise _cli.mistake(f'no table {match[2]!r}; there are: {"; ".join(known)}')
        return f'{match[1]}\n{known[match[2]]}\n\n{match[3]}'

    return MARKED.sub(write, text)


if __name__ == '__main__':
    sys.exit(main())
