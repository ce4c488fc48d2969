"""The command line ``pyg-viglad``: commands from functions, options from signatures."""

import inspect
import io
import os
import re
import sys
from argparse import Action
from collections.abc import Callable, Collection, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentParser

from pyg_viglad.commands import (
    check,
    compare,
    convert,
    demo,
    distill,
    export,
    graph,
    predict,
    test,
    train,
)
from pyg_viglad.commands.run import OptionsOf, close_runs

__all__ = ["CommandParser", "main"]

_COMMANDS: dict[str, Any] = {
    "demo": demo,
    "train": train,
    "test": test,
    "predict": predict,
    "distill": distill,
    "graph": graph,
    "convert": convert,
    "export": export,
    "data": {"check": check, "compare": compare},
}
_POSITIONAL = {
    "graph": ("image",),
    "convert": ("file",),
    "check": ("folder",),
    "compare": ("name", "root"),
}


def main(args: Sequence[str] | None = None) -> None:
    """Runs ``pyg-viglad``; a mistake of the user ends in one line on standard error.

    Args:
        args: The arguments; by default those of the process.

    Raises:
        SystemExit: With code 1 where a command failed, 2 where the options do not fit, 130 on Ctrl-C, 143
            on SIGTERM in a training.
    """
    parser = CommandParser(prog="pyg-viglad", description="Detects logical anomalies in images.")
    parser.add_commands(_COMMANDS)
    command: Any = _COMMANDS
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that are not UTF-8
    try:
        options = parser.parse_args(
            _command_first(sys.argv[1:] if args is None else args)
        ).as_dict()
        while isinstance(command, dict):
            name = options["subcommand"]
            command, options = command[name], options[name]
        options.pop("config")
        _check_values(command, options)
    except UnicodeDecodeError as error:
        _fail(f"Expected a file of options in UTF-8 ({error})", 2)
    except (ValueError, RecursionError) as error:
        _fail(str(error), 2)
    try:
        command(**_expand_home(options))
    except (ValueError, OSError, ImportError) as error:
        _fail(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or re.search("out of memory|allocate memory", str(error)):
            _fail(f"Expected smaller images or batches: out of memory ({error})", 1)
        raise
    except KeyboardInterrupt as stop:
        print(f"pyg-viglad: interrupted {stop}".rstrip(), file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        close_runs()


class CommandParser(ArgumentParser):
    """Reads the options of commands from the command line and from YAML files."""

    def add_commands(self, commands: dict[str, Any]) -> None:
        """Adds commands: functions, or dictionaries of further commands, by name."""
        subcommands = self.add_subcommands()
        for name, command in commands.items():
            group = isinstance(command, dict)
            text = (
                f"Further commands: {', '.join(command)}."
                if group
                else inspect.cleandoc(command.__doc__)
            )
            parser = CommandParser(description=text.partition("\n\nArgs:")[0])
            subcommands.add_subcommand(name, parser, help=text.splitlines()[0])
            if group:
                parser.add_commands(command)
            else:
                parser.add_argument("--config", action="config", help="A YAML file of options.")
                parser.add_options(command, positional=_POSITIONAL.get(name, ()))

    def add_options(
        self,
        component: Callable[..., Any],
        prefix: str = "",
        skip: Collection[str] = (),
        positional: Collection[str] = (),
    ) -> None:
        """Adds the parameters of a function or class as options, their help from its docstring.

        A parameter marked by :class:`OptionsOf` becomes a group of options. ``--html`` alone means
        ``--html true``, and a list follows its name (``--images a.png b.png``).

        Args:
            component: The function or class.
            prefix: Put before the names, such as ``model.``.
            skip: Parameters that are not options.
            positional: Parameters that are given without a name.
        """
        docs = docstring_parser.parse(component.__doc__ or "").params
        help_of = {doc.arg_name: _plain_text(doc.description or "") for doc in docs}
        title = f"{prefix}*, arguments of {component.__name__}" if prefix else "arguments"
        group: Any = self.add_argument_group(title)
        for name, parameter in inspect.signature(component).parameters.items():
            hint, required = parameter.annotation, parameter.default is parameter.empty
            if name in skip or (prefix and required):
                continue
            part = next((mark for mark in get_args(hint) if isinstance(mark, OptionsOf)), None)
            if part is not None:
                self.add_options(part.component, f"{name}.", part.skip)
                self.set_defaults({f"{name}.{key}": value for key, value in part.defaults.items()})
                continue
            kind = _writable_type(hint)
            options: dict[str, Any] = {"type": kind, "help": help_of.get(name, "")}
            if not required:
                options["default"] = parameter.default
            elif name not in positional:
                options["required"] = True
            if bool in (kind, *get_args(kind)):
                options |= {"nargs": "?", "const": True}
            elif kind == list[str]:
                options |= {"nargs": "+", "type": str, "action": _Join}
            group.add_argument(name if name in positional else f"--{prefix}{name}", **options)

    def _check_value_key(self, action: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Takes a single value in a YAML file as a list of one, where a list is expected."""
        if isinstance(action, _Join) and value is not None and not isinstance(value, list):
            value = [value]
        return super()._check_value_key(action, value, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends in one line on standard error."""
        _fail(message, 2)


class _Join(Action):
    """Joins the values of an option that is given more than once; they replace those of a file."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.values: list[str] = []

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        self.values += values
        setattr(namespace, self.dest, list(self.values))


def _command_first(args: Sequence[str]) -> list[str]:
    """Moves the command before options that were given before it."""
    if not args or not args[0].startswith("-"):
        return list(args)
    place = next((place for place, word in enumerate(args) if word in _COMMANDS), 0)
    return [*args[place : place + 1], *args[:place], *args[place + 1 :]]


def _check_values(component: Callable[..., Any], options: dict[str, Any], prefix: str = "") -> None:
    """Raises ``ValueError`` for missing or empty values in a YAML file, which types do not catch."""
    parameters = inspect.signature(component).parameters
    for name, value in options.items():
        marks = get_args(parameters[name].annotation)
        part = next((mark for mark in marks if isinstance(mark, OptionsOf)), None)
        if part is not None and isinstance(value, dict):
            _check_values(part.component, value, f"{name}.")
        elif part is not None and value is not None:
            raise ValueError(f"Expected options in '{name}' (got {value!r})")
        elif value != parameters[name].default and (
            value == "" or value is None or (isinstance(value, list) and "" in value)
        ):
            raise ValueError(f"Expected a value of '{prefix}{name}' (got {value!r})")


def _plain_text(text: str) -> str:
    """Removes the marks of reStructuredText."""
    return re.sub(r":\w+:`~?([^`<]*?)(?: <[^`]*>)?`|``", r"\1", text)


def _writable_type(hint: Any) -> Any:
    """Returns a type hint without what the command line cannot express, such as a module."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    plain = (str, int, float, bool, NoneType, Literal, tuple, list, dict)
    return Union[tuple(kind for kind in get_args(hint) if (get_origin(kind) or kind) in plain)]  # noqa: UP007


def _expand_home(value: Any) -> Any:
    """Replaces ``~`` at the beginning of strings: shells expand it only at the start of a word."""
    if isinstance(value, dict):
        return {key: _expand_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand_home(item) for item in value]
    return os.path.expanduser(value) if isinstance(value, str) else value


def _fail(message: str, code: int) -> NoReturn:
    if "Original Traceback" in message:  # of a process that loads images
        message = re.split(r"\n\w*Error: ", message)[-1]
    print(f"pyg-viglad: error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)
