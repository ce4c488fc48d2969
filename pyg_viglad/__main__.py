"""``python -m pyg_viglad``, the same as ``pyg-viglad``."""

from pyg_viglad.cli import main

if __name__ == "__main__":
    main()
