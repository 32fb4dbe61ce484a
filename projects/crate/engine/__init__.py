"""What runs around a model: hooks, loops, samplers, optimiser constructors."""

from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor']
