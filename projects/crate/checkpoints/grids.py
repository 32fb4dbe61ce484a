"""Read the grids of position tables from a checkpoint. The shape of a table gives the number of positions only."""

import ast
from collections.abc import Iterator, Mapping, Sequence

# Type of a backbone with a position table -> its default img_size and patch_size
BACKBONES = dict(CRATE=(224, 16), VisionTransformer=(224, 16))
MAX_DEPTH = 20  # of dictionaries in each other: a config that needs more is not one of a training


def recorded_grids(meta: Mapping) -> dict[str, tuple[int, int]]:
    """Return {module: (height, width) in patches}, from the entries beside the weights of a checkpoint.

    Args:
        meta: Metadata of the file: ``grids`` by ``save_safetensors``, ``backbone`` by the converter, or ``cfg``, the
            text of a training's config.
    """
    grids = {}
    if isinstance(meta.get('cfg'), str):
        try:
            model = literal_values(meta['cfg'], ['model']).get('model')
        except ValueError:  # more than plain values
            model = None
        grids.update(_grids_in(model, ()))
    grids.update(_grids_in(meta.get('backbone'), ('backbone',)))
    given = meta.get('grids')
    if isinstance(given, Mapping):
        grids.update({name: tuple(grid) for name, grid in given.items() if isinstance(name, str) and is_grid(grid)})
    return grids


def literal_values(text: str, names: Sequence[str]) -> dict:
    """Return the values of some variables of a config's text, as mmengine writes it, without running it.

    Only literals and ``dict()`` are read.

    Raises:
        ValueError: A value is more than that, or the text is no Python.
    """
    try:
        statements = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        values = {getattr(target, 'id', None): node.value for node in statements for target in node.targets}
        return {name: ast.literal_eval(_DictCalls().visit(values[name])) for name in names if name in values}
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def _grids_in(cfg, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield (module, grid) of every backbone in a config; parts of a model have their names of the config."""
    if not isinstance(cfg, Mapping) or len(path) > MAX_DEPTH:
        return
    kind = str(cfg.get('type')).rsplit('.', 1)[-1]
    if kind in BACKBONES:
        image, patch = (cfg.get(key, default) for key, default in zip(('img_size', 'patch_size'), BACKBONES[kind]))
        image, patch = ([size] * 2 if isinstance(size, int) else size for size in (image, patch))
        if is_grid(image) and is_grid(patch):
            yield '.'.join(path), tuple(-(-side // step) for side, step in zip(image, patch))
    for name, part in cfg.items():
        yield from _grids_in(part, (*path, str(name)))


def is_grid(sizes) -> bool:
    """Return True for two integers above 0."""
    return isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes)


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` and ``dict({'a': 1})`` become ``{'a': 1}``, which ``ast.literal_eval`` takes."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        is_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        is_plain = all(isinstance(given, ast.Dict) for given in node.args) and all(key.arg for key in node.keywords)
        if not (is_dict and is_plain):
            return node
        names, values = [ast.Constant(key.arg) for key in node.keywords], [key.value for key in node.keywords]
        for given in node.args:
            names, values = [*given.keys, *names], [*given.values, *values]
        return ast.Dict(keys=names, values=values)
