"""The notebooks: without outputs in the repository, and they run as they stand."""

import json

import pytest
from config_tree import ROOT

NOTEBOOKS = sorted(ROOT.glob('docs/notebooks/*.ipynb'))
# figures of each, and lines that it prints
SEEN = dict(
    attention_and_components=(3, ['MSSA and ISTA 5 layers 3 heads', 'largest difference']),
    crate_in_mask_rcnn=(4, ['40 scenes to test', 'Average Precision', '000000000003.jpg']),
    maskcut_step_by_step=(6, ['equal, token for token', 'rocket: [']),
    masks_without_labels=(2, ['without a network, give a folder', '0.15 [']),
    what_each_layer_compresses=(2, ['by hand', 'share of non-zeros by layer']),
)

every_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)


@every_notebook
def test_outputs_are_stripped(path):
    cells = [cell for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'code']
    assert cells and all(cell['outputs'] == [] and cell['execution_count'] is None for cell in cells)


@every_notebook
@pytest.mark.slow
def test_a_notebook_runs_without_a_network(path, monkeypatch):
    """It needs the weights of this repository alone."""
    client = pytest.importorskip('nbclient')
    nbformat = pytest.importorskip('nbformat')
    for package in ('ipykernel', 'skimage'):
        pytest.importorskip(package)
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    notebook = nbformat.read(path, as_version=4)
    client.NotebookClient(notebook, timeout=3600, resources=dict(metadata=dict(path=str(ROOT)))).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    figures, lines = SEEN[path.stem]
    assert sum('image/png' in output.get('data', {}) for output in outputs) == figures
    text = ''.join(output.get('text', '') for output in outputs)
    assert [line for line in lines if line not in text] == []


def test_the_page_of_notebooks_lists_all():
    text = (ROOT / 'docs/notebooks/README.md').read_text()
    assert [path.name for path in NOTEBOOKS if f']({path.name})' not in text] == []
