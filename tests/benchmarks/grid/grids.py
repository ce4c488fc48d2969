"""Tiny benchmarks: real digits, few of them, and models that take no time."""

import yaml

BACKBONE = {"backbone": "mobilenetv1_100", "backbone_options": {"pad_type": "same"}}


def write_weights(path):
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0)
    save_file(network.state_dict(), path)


MEAN = "tests.benchmarks.grid.mean_image:MeanImage"


def tiny(models=None, **changes):
    """One or two models on Digit Anatomy, with two seeds."""
    config = {
        "name": "tiny",
        "seeds": [0, 1],
        "image_size": 96,
        "metrics": ["image_auroc", "defect_auroc", "pixel_auroc"],
        "data": {
            "Digits": {
                "dataset": "digit_anatomy",
                "root": "digits",
                "reseed": True,
                "options": {
                    "num_train": 6,
                    "num_val": 3,
                    "num_test_good": 3,
                    "num_test_anomalous": 4,
                },
                "categories": {"3 altered": {"num_wrong_cells": 3}},
            }
        },
        "models": models or {"Mean": {"type": MEAN}, "Other": {"type": MEAN, "wait": 0.01}},
    }
    config.update(changes)
    return config


def padim(weights):
    """Options of a small PaDiM."""
    return {
        "type": "padim",
        "strides": [16],
        "num_features": 4,
        "weights": str(weights),
        **BACKBONE,
    }


def write_config(folder, config):
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
