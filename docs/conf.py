"""The documentation site: `make docs` builds it from the pages of this folder, README.md and CONTRIBUTING.md.

The source folder is the repository, so that links between pages and to files are the same on GitHub and on the site.
"""

import sys
from pathlib import Path

import latex2mathml.converter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project, author, copyright = 'CRATE in OpenMMLab', 'the authors', 'the authors, Apache-2.0'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
root_doc = 'docs/README'
include_patterns = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'docs/**']
exclude_patterns = [
    'docs/_build',
    '.venv*',
    'data',
    'work_dirs',
    'checkpoints',
    'configs',
    'projects',
    'tests',
    'tools',
]
html_theme, html_title, html_show_sourcelink = 'furo', project, False
html_static_path, html_css_files = ['site.css'], ['site.css']

myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 4  # names of headings as on GitHub
autodoc_member_order, autodoc_typehints = 'bysource', 'none'
html_math_renderer = 'mathml'  # needs no JavaScript and no other host

# groups of pages, in the order of the menu
MENU = {
    'Start': ['/README', 'install', 'demo', 'app', 'gallery', 'inference', 'faq', 'troubleshooting'],
    'Train': ['configs', 'detectors', 'training', 'data', 'checkpoints', 'export', 'self-supervised'],
    'See and cut': [
        'attention',
        'masks-without-labels',
        'maskcut',
        'pseudo-labels',
        'detector-without-labels',
        'zero-shot',
        'notebooks/README',
    ],
    'Results': [
        'models',
        'reproduce',
        'small-models',
        'experiments/emergence',
        'experiments/evidence',
        'experiments/dense',
        'experiments/weights/README',
        'performance',
    ],
    'Code': ['api', '/CONTRIBUTING', '/CHANGELOG'],
}


def add_menu(app, name, source):
    """Append the menu to the front page, which GitHub shows without it."""
    if name == root_doc:
        for caption, pages in MENU.items():
            source[0] += '\n'.join(['', '```{toctree}', ':hidden:', f':caption: {caption}', *pages, '```', ''])


def unlink_folders(app, doctree):
    """Show links to folders of the repository as text: the site has no page for them. Other dead links warn."""
    from sphinx.addnodes import pending_xref

    here = Path(app.srcdir, app.env.docname).parent
    for node in [*doctree.findall(pending_xref)]:
        if (here / node['reftarget']).is_dir():
            node.replace_self(node.children)


def write_mathml(writer, node, display):
    """Write an equation as MathML."""
    from docutils import nodes

    text = latex2mathml.converter.convert(node.astext(), display=display)
    writer.body.append(f'<div class="equation">{text}</div>' if display == 'block' else text)
    raise nodes.SkipNode


def setup(app):
    """Connect the functions above."""
    app.connect('source-read', add_menu)
    app.connect('doctree-read', unlink_folders)
    renderers = [
        lambda writer, node, display=display: write_mathml(writer, node, display) for display in ('inline', 'block')
    ]
    app.add_html_math_renderer('mathml', (renderers[0], None), (renderers[1], None))
