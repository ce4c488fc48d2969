import json

import torch

from benchmarks.speed import export
from pyg_viglad import ViGLAD

FEW = {"num_train": 8, "num_val": 4, "num_test_good": 3, "num_test_anomalous": 4}


def test_compares_every_program_with_the_model(tmp_path, capsys):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, autoencoder="conv")
    model.fit_statistics(torch.rand(8, 3, 96, 96), torch.rand(4, 3, 96, 96))
    model.save_pretrained(tmp_path)
    options = ["--model", str(tmp_path), "--options", json.dumps(FEW), "--rounds", "1"]
    export.main([*options, "--warmup", "0"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {name: values for name, *values in cells}
    names = ["program", "model", "torch.export", "ONNX, onnxruntime", "model, eight at once"]
    assert list(rows) == names
    for name in names[1:]:
        megabytes, milliseconds, _, median, scores, beyond, maps, decisions = rows[name]
        if name != names[-1]:
            assert min(float(megabytes), float(milliseconds)) > 0
        assert float(median) <= float(scores) < 1e-2
        assert (int(beyond) > 0) == (float(scores) > 1e-4)
        assert float(maps) < 1e-2
        assert decisions == "0"
