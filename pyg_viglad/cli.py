"""The command line ``pyg-viglad``."""

import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run ``pyg-viglad``; mistakes of the user end in one line on standard error and exit code 1."""
    from jsonargparse import auto_cli

    from pyg_viglad.commands import check, demo, distill, graph, predict, test, train
    from pyg_viglad.commands._parser import CommandParser

    commands: Any = {
        "demo": demo,
        "train": train,
        "test": test,
        "predict": predict,
        "distill": distill,
        "graph": graph,
        "data": {"_help": "Look at the data sets on disk.", "check": check},
    }
    try:
        auto_cli(
            commands,
            as_positional=False,
            args=None if args is None else list(args),
            prog="pyg-viglad",
            parser_class=CommandParser,
        )
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"pyg-viglad: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("pyg-viglad: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
