"""Faults of files, habits and machines that the library must survive, a module for each kind.

Each module has a function ``check(repeats)`` with a default for ``make faults``; the tests take 2.
It yields an :class:`Outcome` for each fault once all its repeats are done.
"""

from typing import NamedTuple

__all__ = ["Outcome"]


class Outcome(NamedTuple):
    """What became of one fault, a row of the table.

    Args:
        what: What was tried.
        tried: How often.
        happened: What happened, in a few words.
        wrong: How many of them ended otherwise than they should.
    """

    what: str
    tried: int
    happened: str
    wrong: int
