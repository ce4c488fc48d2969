"""How the command line is read."""

from collections.abc import Callable
from typing import Any, get_args

from jsonargparse import ArgumentParser

__all__ = ["CommandParser"]


class CommandParser(ArgumentParser):
    """Options by name, with two comforts.

    A command about one image, data set or benchmark takes its required parameters without names, and
    what is true or false is also true when named alone (``--html`` for ``--html true``).
    """

    def add_function_arguments(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> list[str]:
        """Add the parameters of a command."""
        first = next(iter(function.__annotations__), "")
        kwargs["as_positional"] = first in ("grid", "image", "name")
        added = super().add_function_arguments(function, *args, **kwargs)
        for action in self._actions:
            typehint = getattr(action, "_typehint", None)
            if typehint is bool or bool in get_args(typehint):
                action.nargs, action.const = "?", True
        return added
