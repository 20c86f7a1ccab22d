"""Methods that must agree with each other."""

from __future__ import annotations


def of_one_class(instance: object, *methods: str) -> bool:
    """Whether methods that must agree come from one class, so that a subclass which overrides one has overridden all.

    Args:
        instance: Object with the methods.
        methods: Their names.
    """
    owners = {next(cls for cls in type(instance).__mro__ if name in vars(cls)) for name in methods}
    return len(owners) == 1
