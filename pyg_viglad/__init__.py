"""Vision graph networks for logical anomaly detection, native to PyTorch Geometric."""

import warnings

with warnings.catch_warnings():
    # A deprecation warning of torch that only PyG's authors can act on.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    # tqdm, imported by PyG, warns in notebooks without ipywidgets.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import torch_geometric.nn

from pyg_viglad.models import PDN, GraphConstructor, Prediction, ViGAutoEncoder, ViGLAD

__all__ = ["PDN", "GraphConstructor", "Prediction", "ViGAutoEncoder", "ViGLAD", "__version__"]

__version__ = "0.1.0"
