"""Names for ``mmpretrain.get_model`` and ``list_models``, such as ``crate-emergence-small-p8_in21k``."""

from pathlib import Path

import mmengine

from .registration import installed_libraries

INDEX = Path('classification', 'metafile.yml')


def register_models() -> None:
    """Give mmpretrain the models of the config tree; a second call, or a missing mmpretrain, changes nothing.

    Raises:
        ValueError: Another package has registered one of the names.
    """
    configs = config_root()
    if configs is None or 'mmpretrain' not in installed_libraries():
        return
    from mmpretrain.apis import ModelHub

    index = configs / INDEX
    first = mmengine.load(index)['Models'][0]['Name']
    if not ModelHub.has(first):
        ModelHub.register_model_index(index, config_prefix=configs)


def config_root() -> Path | None:
    """Return the folder of the configs: beside this file in an installed package, else the repository's, or None."""
    here = Path(__file__).resolve()
    folders = (here.parent / 'configs', here.parents[2] / 'configs')
    return next((folder for folder in folders if (folder / INDEX).is_file()), None)
