"""The notebooks: without outputs in the repository, and they run as they stand."""

import json

import pytest
from config_tree import ROOT

NOTEBOOKS = sorted(ROOT.glob('docs/notebooks/*.ipynb'))

every_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)


@every_notebook
def test_outputs_are_stripped(path):
    cells = [cell for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'code']
    assert cells and all(cell['outputs'] == [] and cell['execution_count'] is None for cell in cells)


@every_notebook
@pytest.mark.slow
def test_a_notebook_runs_without_a_network(path, monkeypatch):
    """It falls back to weights of this repository."""
    client = pytest.importorskip('nbclient')
    nbformat = pytest.importorskip('nbformat')
    for package in ('ipykernel', 'skimage'):
        pytest.importorskip(package)
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    notebook = nbformat.read(path, as_version=4)
    client.NotebookClient(notebook, timeout=600, resources=dict(metadata=dict(path=str(ROOT)))).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 2
    text = ''.join(output.get('text', '') for output in outputs)
    assert 'without a network, give a folder' in text and '0.15 [' in text
