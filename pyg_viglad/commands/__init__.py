"""The commands of ``pyg-viglad``, one per file."""

from pyg_viglad.commands.convert import convert
from pyg_viglad.commands.data import check, compare
from pyg_viglad.commands.demo import demo
from pyg_viglad.commands.distill import distill
from pyg_viglad.commands.export import export
from pyg_viglad.commands.graph import graph
from pyg_viglad.commands.predict import predict
from pyg_viglad.commands.test import test
from pyg_viglad.commands.train import train

__all__ = [
    "check",
    "compare",
    "convert",
    "demo",
    "distill",
    "export",
    "graph",
    "predict",
    "test",
    "train",
]
