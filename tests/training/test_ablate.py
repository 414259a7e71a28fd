"""The ablation's variants differ in the parts that they name, train and export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from atpn.geometry import crop, roi_from_landmarks
from atpn_training.artefacts.export import check, to_onnx, trial_crops
from atpn_training.data.held_back import Validation
from atpn_training.network import cost
from atpn_training.network.atpn import ATPN
from atpn_training.network.config import VARIANTS, NetConfig
from atpn_training.network.parts import heatmap
from atpn_training.train import ablate
from atpn_training.train.ablate import Budget
from atpn_training.train.checkpoint import load_net, load_weights
from atpn_training.train.run import Material, Run
from tests.training.synthetic import made_up_faces, made_up_sampler, shake_batch_norm

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "models" / "checkpoints" / "atpn-1.pt"
SHIPPED = ROOT / "models" / "artifacts" / "atpn" / "1" / "model.onnx"
TINY = NetConfig(stem=8, channels=(8, 12, 16), fpn=(8, 8, 16), vector=16, head=(8, 12))


def tiny(name: str) -> ATPN:
    """A variant with few channels and uneven batch norms."""
    torch.manual_seed(0)
    net = ATPN(replace(TINY, variant=VARIANTS[name]))
    shake_batch_norm(net)
    return net.eval()


def made_up_material() -> Material:
    """Training and validation on noise pictures."""
    sampler = made_up_sampler()
    faces = made_up_faces(3)
    faces.source[:] = "lfpw"
    faces.hand68[:] = np.random.default_rng(0).uniform(40, 150, (3, 68, 2))
    rois = [roi_from_landmarks(points) for points in faces.teacher]
    crops = np.stack([crop(i, r) for i, r in zip(faces.images, rois, strict=True)])
    negatives = np.random.default_rng(1).integers(0, 256, (4, *crops.shape[1:])).astype(np.uint8)
    return Material.of(sampler, Validation(faces, rois, crops, negatives))


def test_the_shipped_checkpoint_still_exports_the_shipped_network() -> None:
    model = to_onnx(load_net(CHECKPOINT))
    crops = trial_crops(3, 112)
    own, shipped = (
        ort.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, {"image": crops})
        for m in (model, SHIPPED.read_bytes())
    )
    for a, b in zip(own, shipped, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_full_network_has_the_checkpoints_parameters_in_its_order() -> None:
    assert list(ATPN().state_dict()) == list(load_weights(CHECKPOINT))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_exports_to_the_same_function(name: str) -> None:
    net = tiny(name)
    assert max(check(net, to_onnx(net)).values()) < 1e-4


def test_each_part_adds_parameters() -> None:
    def parameters(name: str) -> int:
        net = tiny(name)
        return sum(p.numel() for p in net.parameters())

    ladder = [parameters(n) for n in ("baseline", "low-level", "multiview", "full", "no-sharing")]
    assert ladder == sorted(set(ladder))
    assert parameters("no-heatmap") == parameters("full")


def test_the_baseline_aligns_by_the_last_features_alone() -> None:
    net = tiny("baseline")
    f1, f2, f3 = net.backbone(torch.rand(2, 3, 112, 112))
    assert torch.equal(net.alignment(f1, f2, f3), net.alignment(f1 * 0, f2 * 0, f3))
    full = tiny("full")
    f1, f2, f3 = full.backbone(torch.rand(2, 3, 112, 112))
    assert not torch.equal(full.alignment(f1, f2, f3), full.alignment(f1 * 0, f2, f3))
    assert not torch.equal(full.alignment(f1, f2, f3), full.alignment(f1, f2 * 0, f3))


def test_without_the_heatmap_the_heads_see_the_features_as_they_are() -> None:
    images, points, features = torch.rand(2, 3, 112, 112), torch.rand(2, 98, 2), torch.rand(1)
    plain = tiny("no-heatmap").fuse(images, points, features)
    weighted = tiny("full").fuse(images, points, features)
    assert all(torch.equal(f, features) for f in plain)
    assert all(torch.equal(f, features * heatmap(points, 28)) for f in weighted)


def test_without_sharing_each_head_has_features_of_its_own() -> None:
    net = tiny("no-sharing")
    images, points = torch.rand(2, 3, 112, 112) * 255, torch.rand(2, 98, 2)
    _, shared = net.align(images)
    pose, tracking = net.fuse(images, points, shared)
    assert pose.shape == tracking.shape == shared.shape
    assert not torch.equal(pose, tracking)
    assert torch.equal(pose, net.fuse(images, points, shared * 0)[0])


def test_the_cost_command_lists_every_variant() -> None:
    text = cost.variants_table()
    assert all(f"| {name} |" in text for name in VARIANTS)
    assert text.splitlines()[2] != text.splitlines()[5]


def test_a_folder_of_another_variants_run_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, made_up_material(), workers=0)
    run.new_net("baseline")
    run.new_net("baseline")
    with pytest.raises(ValueError, match=r"variant 'baseline', not 'full'"):
        run.new_net("full")


BUDGET = Budget(steps=2, head_steps=1, batch=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the table of a short ablation."""
    out = tmp_path_factory.mktemp("ablation")
    return out, ablate.ablate(runs_below(out), out, BUDGET)


def runs_below(out: Path) -> dict[str, Run]:
    """A run a variant."""
    material = made_up_material()
    return {name: Run(out / name, material, workers=0, every=2) for name in VARIANTS}


def test_an_ablation_trains_all_variants_and_writes_a_table(trained: tuple[Path, str]) -> None:
    out, text = trained
    assert (out / "ablation.md").read_text() == text
    for name, title in ablate.TITLES.items():
        assert f"| {title} |" in text
        for stage in ablate.STAGES_OF[name]:
            assert (out / name / f"{stage}.done.pt").exists()
    assert "| 5.61 |" in text
    assert "| 1.71 / 3.17 |" in text


def test_a_finished_ablation_is_not_trained_again(
    trained: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, text = trained
    assert ablate.ablate(runs_below(out), out, BUDGET) == text
    assert capsys.readouterr().out.count("was finished before") == 3 + 3 + 2 + 2


def test_variants_of_the_heads_keep_the_full_networks_alignment(
    trained: tuple[Path, str],
) -> None:
    full, other = (
        load_weights(trained[0] / path)
        for path in ("full/alignment.done.pt", "no-sharing/pose.done.pt")
    )
    for name, value in full.items():
        if name.startswith(("backbone", "alignment")):
            assert torch.equal(value, other[name]), name
    assert any(name.startswith("tracking_features") for name in other)
