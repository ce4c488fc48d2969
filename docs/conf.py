"""Settings of Sphinx: ``make docs`` writes the pages to docs/_build/html."""

import importlib.metadata
from pathlib import Path

project = "pyg_viglad"
author = "the pyg_viglad authors"
release = importlib.metadata.version("pyg-viglad")
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_nb",
]
exclude_patterns = ["_build"]
smartquotes = False  # else --resume has a dash
html_theme = "furo"
html_title = f"pyg_viglad {release}"
html_static_path = ["_static"]
html_css_files = ["phone.css"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks are stored with their outputs
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell types and shapes
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Shapes", "notes_style")]

_docs = Path(__file__).parent
(_docs / "notebooks").mkdir(exist_ok=True)
for _notebook in (_docs.parent / "examples").glob("*.ipynb"):
    _text = _notebook.read_text().replace("../docs/", "../")  # links, of another place
    (_docs / "notebooks" / _notebook.name).write_text(_text)
