import re

import torch

from benchmarks.studies import precision
from pyg_viglad import PDN, ViGLAD


def test_a_row_per_precision(tmp_path, capsys):
    torch.manual_seed(0)
    ViGLAD("small", 96, PDN("small", 8), "conv").save_pretrained(tmp_path)
    sizes = '{"num_train": 4, "num_val": 3, "num_test_good": 2, "num_test_anomalous": 2}'
    precision.main(["--model", str(tmp_path), "--data", "digits", "--options", sizes])
    lines = [re.sub(" +", " ", line) for line in capsys.readouterr().out.splitlines()]
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert rows[0][:3] == ["statistics", "scores", "A, logical"]
    assert [row[:2] for row in rows[1:]] == [list(run) for run in precision._RUNS]
    assert rows[1][-2:] == ["+0.000", "0.000"]
    assert rows[2][-1] != rows[3][-1] != "0.000"
