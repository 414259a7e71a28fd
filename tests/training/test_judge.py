"""Networks are judged side by side by hand-made labels, and an ONNX file without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from atpn.engine.inference import shipped_models
from atpn_training.data.wflw_val import ATTRIBUTES, Labelled, looks_aside
from atpn_training.score.judge import (
    Material,
    judge,
    named,
    table,
)
from atpn_training.score.served import Model
from tests.training.synthetic import astronaut_points, write_data, write_image

SHIPPED = shipped_models() / "atpn" / "1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two labelled WFLW faces, one of them in a large pose."""
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    photo = skimage.data.astronaut()
    points = astronaut_points(photo).tolist()
    lines = []
    for name, pose in (("0.png", 0), ("1.png", 1)):
        write_image(root / "wflw_val" / name, photo)
        attributes = dict.fromkeys(ATTRIBUTES, 0) | {"pose": pose}
        lines.append(json.dumps({"file": name, "pts": points, "attr": attributes}))
    (root / "wflw_val" / "labels.jsonl").write_text("\n".join(lines))
    return root


def test_the_table_has_a_column_a_network_and_the_attributes_that_occur(data: Path) -> None:
    rows = judge(Model.load(SHIPPED), Material.load(data))
    text = table({"before": rows, "after": rows})
    assert text.startswith("| error | before | after |")
    assert "WFLW val, all (2)" in rows
    assert "WFLW val, pose (1)" in rows
    assert not any("blur" in name for name in rows)
    assert rows["WFLW val, all (2)"] < 2.5  # labelled by this very network, in another region
    assert rows["faces below 0.7, % (8)"] in {100 * k / 8 for k in range(9)}
    assert {name for name in rows if "1000" in name} == {
        "negatives from 0.7, % (1000)",
        "the same framed in black, % (1000)",
    }
    assert {"Pointing'04 yaw 15", "Pointing'04 yaw 30", "Pointing'04 azimuth 30"} <= set(rows)


def test_no_torch_is_loaded_for_an_onnx_file(data: Path) -> None:
    program = (
        "import sys; from atpn_training.score import judge;"
        f"sys.argv = ['judge', '--data', {str(data)!r}, {str(SHIPPED)!r}];"
        "judge.main(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_measures_and_the_evaluation_load_no_torch() -> None:
    program = (
        "import sys; from atpn_training.score import evaluate, measures;"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_wflw_faces_there_is_nothing_of_them(tmp_path: Path) -> None:
    assert not Labelled.load(tmp_path).images


def test_a_face_looks_aside_where_its_nose_is_far_from_the_middle_of_its_eyes() -> None:
    points = np.zeros((2, 98, 2), np.float32)
    points[:, 72, 0] = 10
    points[0, 54], points[1, 54] = (5.5, 4), (8, 4)
    assert looks_aside(points).tolist() == [False, True]


def test_networks_are_named_by_what_stands_before_the_equals_sign() -> None:
    assert named("new=runs/pose.done.pt") == ("new", Path("runs/pose.done.pt"))
    assert named("runs/pose.pt") == ("pose", Path("runs/pose.pt"))
