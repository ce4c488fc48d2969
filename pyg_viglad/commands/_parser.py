"""How the command line is read."""

from collections.abc import Callable
from typing import Any, get_args

from jsonargparse import ArgumentParser

__all__ = ["CommandParser"]


class CommandParser(ArgumentParser):
    """Options by name, with three comforts.

    A command about one image or data set takes its required parameters without names; what
    is true or false is also true when named alone (``--html`` for ``--html true``); and of what takes
    several names, they follow one another (``--images a.png b.png``).
    """

    def add_function_arguments(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> list[str]:
        """Add the parameters of a command."""
        first = next(iter(function.__annotations__), "")
        kwargs["as_positional"] = first in ("image", "name")
        added = super().add_function_arguments(function, *args, **kwargs)
        actions: list[Any] = self._actions
        for action in actions:
            typehint = getattr(action, "_typehint", None)
            if typehint is bool or bool in get_args(typehint):
                action.nargs, action.const = "?", True
            if list[str] in (typehint, *get_args(typehint)):
                action.nargs, action._typehint, action.metavar = "+", str, action.dest.upper()
        return added
