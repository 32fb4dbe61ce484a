"""Make arrays, figures and pages from checkpoints and images.

The hooks of ``engine`` look their drawing functions up in mmengine's ``FUNCTIONS``, since nothing there imports this
package. A drawing function is imported when it is called: matplotlib takes a second.
"""

from importlib import import_module

from mmengine.registry import FUNCTIONS

DRAWINGS = {
    'crate_draw_attention': ('attention', 'attention_picture'),
    'crate_draw_masks': ('masks', 'mask_grid'),
    'crate_draw_curves': ('curves', 'curve_figure'),
    'crate_draw_sparse_rate': ('sparse_rate', 'sparse_rate_figure'),
    'crate_save_figure': ('drawing', 'save_figure'),
}


def _register(name: str, module: str, function: str) -> None:
    def draw(*args, **kwargs):
        return getattr(import_module(f'{__name__}.{module}'), function)(*args, **kwargs)

    FUNCTIONS.register_module(name=name, module=draw, force=True)


for _name, _place in DRAWINGS.items():
    _register(_name, *_place)
