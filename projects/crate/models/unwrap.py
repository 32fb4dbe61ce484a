"""Find a backbone and the names of its parameters inside wrappers."""

from torch import nn

# The names under which wrappers hold what they wrap: mmengine's and torch's parallel wrappers, averaged models and
# mmpretrain's LoRAModel; torch.compile; torch's activation checkpointing; mmpretrain's TIMMBackbone.
WRAPPED = ('module', '_orig_mod', '_checkpoint_wrapped_module', 'timm_model')
# The names under which an adapter of one Linear holds it: mmpretrain's LoRALinear; peft.
ADAPTED = ('original_layer', 'base_layer')


def unwrap(module: nn.Module) -> nn.Module:
    """Return the module itself, without the wrappers whose only child it is."""
    while (inner := _wrapped(module)) is not None:
        module = inner
    return module


def _wrapped(module: nn.Module) -> nn.Module | None:
    base = getattr(module, 'get_base_model', None)
    if callable(base):  # peft's wrapper: it holds the model under a name that many modules use, 'model'
        return base()
    children = dict(module.named_children())
    (name, inner), *others = children.items() or [('', None)]
    return inner if name in WRAPPED and not others else None


def plain_name(name: str) -> str:
    """Return the name that a parameter (or a prefix) has without wrappers: 'backbone.module.ln1' -> 'backbone.ln1'."""
    return '.'.join(part for part in name.split('.') if part not in WRAPPED)


def plain_linear(module: nn.Module | None) -> nn.Linear | None:
    """Return the Linear that a module is or adapts; None if there is none."""
    while module is not None and not isinstance(module, nn.Linear):
        children = dict(module.named_children())
        module = next((children[name] for name in (*WRAPPED, *ADAPTED) if name in children), None)
    return module
