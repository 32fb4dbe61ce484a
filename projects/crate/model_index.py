"""Names for ``mmpretrain.get_model`` and ``list_models``, such as ``crate-emergence-small-p8_in21k``."""

from pathlib import Path

import mmengine

from .registration import installed_libraries

INDEX = Path('classification', 'metafile.yml')


def register_models() -> None:
    """Give mmpretrain the models of the config tree; a second call, or a missing mmpretrain, changes nothing.

    Weights that are files of this project get an absolute path: ``get_model(name, pretrained=True)`` then finds them
    from any folder. The other models have no weights.

    Raises:
        ValueError: Another package has registered one of the names.
    """
    configs = config_root()
    if configs is None or 'mmpretrain' not in installed_libraries():
        return
    from mmpretrain.apis import ModelHub

    models = mmengine.load(configs / INDEX)['Models']
    if not ModelHub.has(models[0]['Name']):
        ModelHub.register_model_index(configs / INDEX, config_prefix=configs.parent)
        for name, (_, weights) in models_with_weights().items():
            # the library resolves the paths of configs, not of weights, and has no public way to the entries
            ModelHub._models_dict[name].weights = weights


def models_with_weights() -> dict[str, tuple[str, str]]:
    """Return {name: (config, file with the weights)} of the models whose weights are files of this project."""
    configs = config_root()
    if configs is None:
        return {}
    models = [model for model in mmengine.load(configs / INDEX)['Models'] if 'Weights' in model]
    return {model['Name']: tuple(str(configs.parent / model[key]) for key in ('Config', 'Weights')) for model in models}


def config_root() -> Path | None:
    """Return the folder of the configs: beside this file in an installed package, else the repository's, or None."""
    here = Path(__file__).resolve()
    folders = (here.parent / 'configs', here.parents[2] / 'configs')
    return next((folder for folder in folders if (folder / INDEX).is_file()), None)
