import pytest
import torch

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.models import ConvAutoEncoder
from pyg_viglad.scoring import anomaly_map


def test_weights_and_shapes_of_efficientad():
    model = ConvAutoEncoder()
    assert sum(p.numel() for p in model.parameters()) == 1_096_320
    grids = []
    for layer in model.decoder:
        layer.register_forward_pre_hook(lambda _, inputs: grids.append(inputs[0].shape[-1]))
    assert model.eval()(torch.rand(1, 3, 256, 256)).shape == (1, 384, 56, 56)
    assert grids == [3, 8, 15, 32, 63, 127]


@pytest.mark.parametrize("size", [(96, 96), (128, 192), (100, 96)])
def test_other_sizes(size):
    model = ConvAutoEncoder(8, size)
    output = model(torch.rand(2, 3, *size))
    assert output.shape == (2, 8, (size[0] - 32) // 4, (size[1] - 32) // 4)
    output.sum().backward()


def test_bad_sizes():
    with pytest.raises(ValueError, match="Expected 'image_size'"):
        ConvAutoEncoder(8, 60)
    with pytest.raises(ValueError, match="Expected images of 96 x 96"):
        ConvAutoEncoder(8, 96)(torch.zeros(1, 3, 128, 128))


@torch.no_grad()
def test_the_variant_is_anomalib_s_efficientad_on_equal_weights():
    from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel

    torch.manual_seed(0)
    ours = ViGLAD("small", 256, PDN("small", 32), "conv", losses="efficientad").eval()
    theirs = EfficientAdModel(32).eval()
    theirs.teacher.load_state_dict(ours.teacher.state_dict())
    theirs.student.load_state_dict(ours.student.state_dict())
    pairs = zip(theirs.ae.parameters(), ours.autoencoder.parameters(), strict=True)
    for parameter, value in pairs:
        parameter.copy_(value)
    image, penalty = torch.rand(2, 1, 3, 256, 256)
    ours.fit_teacher_statistics(torch.rand(2, 3, 256, 256))
    theirs.mean_std["mean"] = ours.teacher_normalization.mean.view(1, -1, 1, 1)
    theirs.mean_std["std"] = ours.teacher_normalization.std.view(1, -1, 1, 1)

    student, distance = theirs.compute_student_teacher_distance(image)
    features = ours.features(image)
    local = anomaly_map(features.teacher, features.student_first)
    assert torch.allclose(distance.mean(1), local, rtol=1e-4)
    assert torch.allclose(student[:, 32:], features.student_second, atol=1e-5)
    assert torch.allclose(theirs.ae(image, (256, 256)), features.autoencoder, atol=1e-5)
    for seed in (0, 7, 1):  # brightness, contrast and saturation
        torch.manual_seed(seed)
        parts = ours.loss(image, penalty)
        torch.manual_seed(seed)
        expected = theirs.compute_losses(image, penalty, distance)
        found = (
            parts["student_teacher"] + parts["penalty"],
            parts["autoencoder_teacher"],
            parts["student_autoencoder"],
        )
        for value, other in zip(found, expected, strict=True):
            assert float(value) == pytest.approx(float(other), rel=1e-4)
