"""The command line ``pyg-viglad``."""

import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run ``pyg-viglad``; mistakes of the user end in one line on standard error and exit code 1."""
    from jsonargparse import ArgumentParser, auto_cli

    from pyg_viglad.commands import check, demo, distill, predict, test, train

    class Parser(ArgumentParser):
        def add_function_arguments(self, function: Any, *args: Any, **kwargs: Any) -> Any:
            if function is check:  # `data check NAME ROOT`; all others take options alone
                kwargs["as_positional"] = True
            return super().add_function_arguments(function, *args, **kwargs)

    commands: Any = {
        "demo": demo,
        "train": train,
        "test": test,
        "predict": predict,
        "distill": distill,
        "data": {"_help": "Look at the data sets on disk.", "check": check},
    }
    try:
        auto_cli(
            commands,
            as_positional=False,
            args=None if args is None else list(args),
            prog="pyg-viglad",
            parser_class=Parser,
        )
    except (ValueError, FileNotFoundError) as error:
        print(f"pyg-viglad: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("pyg-viglad: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
