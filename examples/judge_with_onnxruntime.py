"""Judge images with an exported detector; needs numpy and onnxruntime alone.

pyg-viglad export --model runs/demo --dtype uint8
python examples/judge_with_onnxruntime.py runs/demo/model.onnx images.npy  # uint8 [B, 3, H, W]
"""

import sys

import numpy as np
from onnxruntime import InferenceSession

session = InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
values = session.run(None, {"images": np.load(sys.argv[2])})
found = dict(zip(names, values, strict=True))
for number, (score, heat) in enumerate(zip(found["score"], found["anomaly_map"], strict=True)):
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    word = "normal" if score <= found["threshold"] else "anomalous"  # so is NaN
    print(f"image {number}: {word}, score {score:.2f}, most anomalous at x={column}, y={row}")
