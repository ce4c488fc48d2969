"""Vision graph networks for logical anomaly detection, native to PyTorch Geometric."""

import warnings

with warnings.catch_warnings():
    # A notice of torch to the authors of PyG, not to users of either.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    # In notebooks: of tqdm, which PyG imports, about its bars where ipywidgets are missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import torch_geometric.nn

from pyg_viglad.models import PDN, GraphConstructor, Prediction, ViGAutoEncoder, ViGLAD

__all__ = ["PDN", "GraphConstructor", "Prediction", "ViGAutoEncoder", "ViGLAD", "__version__"]

__version__ = "0.1.0"
