"""Check arguments of a constructor against its signature, so that a wrong value is told apart from a bug."""

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import get_args, get_origin, get_type_hints

from ..errors import ArgumentError

NUMBERS = {bool: Integral, int: Integral, float: Real}


def check_arguments(owner: type, arguments: Mapping, name: str) -> None:
    """Raise an error for an argument that a constructor does not take, or that has another kind than its annotation.

    Args:
        owner: Class with annotations of numbers, text, dictionaries, and sequences of numbers.
        arguments: Arguments by name.
        name: Name of the constructor or the setting, for messages.

    Raises:
        ArgumentError: The message names the argument and its kind.
    """
    try:
        inspect.signature(owner).bind(**arguments)
    except TypeError as error:
        raise ArgumentError(f'{name}: {error}') from error
    hints = get_type_hints(owner.__init__)  # type: ignore[misc]  # the signature above is of the same class
    for key, value in arguments.items():
        if not _is_of(value, hints[key]):
            wanted = inspect.formatannotation(hints[key]).replace('collections.abc.', '')
            raise ArgumentError(f'{name}: {key} must be {wanted}, not {value!r}')


def _is_of(value: object, hint: type) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(_is_of(value, each) for each in inner)
    if origin in (tuple, Sequence):
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        return (origin is Sequence or len(value) == len(inner)) and all(_is_of(each, inner[0]) for each in value)
    if hint in NUMBERS:
        return isinstance(value, NUMBERS[hint]) and (hint is bool or not isinstance(value, bool))
    return isinstance(value, NoneType if hint is None else hint)
