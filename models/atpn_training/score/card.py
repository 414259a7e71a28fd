"""The tables of the model card and of its figures: numbers to Markdown, between markers."""

from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.score.measures import Figures

CARD, FIGURES_PAGE = ARTIFACTS.parent / "README.md", ARTIFACTS.parent / "figures.md"
BEGIN, END = "<!-- figures {}: begin -->", "<!-- figures {}: end -->"

ALIGNMENT = {
    "teacher": "teacher's points, ROI from those points",
    "teacher_jittered_roi": "the same, ROI moved by noise",
    "teacher_detector_roi": "the same, ROI from the detector",
    "teacher_photograph": "the same as /align answers: seen twice where it lies askew",
    "teacher_second_look": "the same, all seen again from the upright ROI that this gives",
    "teacher_box": "as /align answers where the points' rectangle is the box",
    "teacher_sure": "teacher's points where its passes are within 3 %, ROI from them",
    "wflw_val": "WFLW test faces held back, hand labels, ROI from them",
    "wflw_val_second_look": "the same, seen again upright",
    "wflw30_hand": "WFLW's own labels of three faces, ten rotations each",
    "wflw30_second_look": "WFLW's own labels, seen again upright",
    "wflw30_teacher": "WFLW's own labels, the teacher's own points",
    "lfpw_hand": "LFPW hand labels, mapped points 17-67",
    "lfpw_second_look": "LFPW hand labels, seen again upright",
    "lfpw_teacher": "LFPW hand labels, the teacher's own points",
    "infanface_hand": "InfAnFace hand labels (infants), mapped points 17-67",
    "infanface_second_look": "InfAnFace hand labels, seen again upright",
    "infanface_teacher": "InfAnFace hand labels, the teacher's own points",
}
POSE = {"mesh": "face mesh", "pointing04": "Pointing'04 (steps of 15°; no roll)"}


#: Of the model card: where a figure is among a model's, and how it is called there.
BRIEF = {
    ("alignment", "wflw_val", "nme_percent"): "WFLW test faces held back, hand labels: NME %",
    ("alignment", "lfpw_hand", "nme_percent"): "LFPW, hand labels: NME %",
    ("alignment", "infanface_hand", "nme_percent"): "infants, hand labels: NME %",
    ("alignment", "teacher", "nme_percent"): "teacher's points, ROI from them: NME %",
    ("alignment", "teacher_photograph", "nme_percent"): "the same as /align answers: NME %",
    ("pose", "mesh", "mean_deg"): "head pose from a face mesh's, mean of the angles °",
    ("pose", "mesh", "yaw_deg"): "yaw °",
    ("pose", "mesh", "pitch_deg"): "pitch °",
    ("pose", "mesh", "roll_deg"): "roll °",
    ("pose", "pointing04", "yaw_deg"): "from where people were told to look (0 to 90°): yaw °",
    ("pose", "pointing04", "pitch_deg"): "pitch, likewise °",
    ("confidence", "ap_percent"): "face confidence: AP %",
    ("confidence", "recall_percent"): "faces with a confidence of 0.7 or more %",
}


def brief_table(models: dict[str, Figures]) -> str:
    """The card's table: one column a model, empty where something was not measured."""
    rows = []
    for path, title in BRIEF.items():
        cells = []
        for figures in models.values():
            found: Figures | float | None = figures
            for key in path:
                found = found.get(key) if isinstance(found, dict) else None
            cells.append(number(found if isinstance(found, float) else None))
        rows.append([title, *cells])
    return table(["measured", *models], rows)


def figures_table(figures: Figures) -> str:
    """The figures as Markdown tables; parts that were not measured are left out."""
    own = figures["alignment"]
    named = {title: own[key] for key, title in ALIGNMENT.items() if key in own}
    by_source = {f"teacher's points, {k}": v for k, v in own["by_source"].items()}
    blocks = [
        alignment_table({**named, **by_source}),
        pose_table({POSE[key]: t for key, t in figures["pose"].items() if key in POSE}),
    ]
    if "pointing04_bins" in figures["pose"]:
        blocks.append(bins_table(figures["pose"]["pointing04_bins"]))
    blocks.append(confidence_table({"faces wider than 60 px": figures["confidence"]}))
    if "tracking" in figures:
        blocks.append(tracking_table(figures["tracking"]))
    return "\n\n".join(blocks)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all but the first column are aligned right."""
    ruler = "|".join(["---", *["---:"] * (len(head) - 1)])
    lines = [f"| {' | '.join(head)} |", f"|{ruler}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, digits: int = 2) -> str:
    """A figure as text; empty where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def alignment_table(tests: Figures) -> str:
    """One row a test."""
    head = ["landmarks, against", "faces", "NME %", "inter-pupil NME %", "median %"]
    rows = [
        [
            name,
            str(t["faces"]),
            number(t["nme_percent"]),
            number(t.get("interpupil_percent")),
            number(t["median_percent"]),
            number(t["fr_percent"]),
            number(t["auc"], 3),
        ]
        for name, t in tests.items()
    ]
    return table([*head, "FR@0.1 %", "AUC@0.1"], rows)


def pose_table(tests: Figures) -> str:
    """Mean absolute errors in degrees."""
    head = ["head pose, against", "faces", "yaw °", "pitch °", "roll °", "mean °", "FR@10° %"]
    rows = [
        [
            name,
            str(t["faces"]),
            number(t["yaw_deg"]),
            number(t["pitch_deg"]),
            number(t.get("roll_deg")),
            number(t["mean_deg"]),
            number(t["fr_percent"]),
        ]
        for name, t in tests.items()
    ]
    return table(head, rows)


def bins_table(bins: dict[str, list[Figures]]) -> str:
    """Pointing'04 by angle: faces, median answer and mean absolute error of each."""
    blocks = []
    for key, name in (("yaw", "yaw = pan"), ("pitch", "pitch = tilt")):
        own = bins[key]
        rows = [
            ["faces", *(str(b["faces"]) for b in own)],
            ["median found °", *(number(b["median_deg"], 1) for b in own)],
            ["MAE °", *(number(b["mae_deg"], 1) for b in own)],
        ]
        blocks.append(table([f"{name} °", *(f"{b['wanted_deg']:+.0f}" for b in own)], rows))
    return "\n\n".join(blocks)


def confidence_table(tests: Figures) -> str:
    """Face against background."""
    head = ["face confidence", "faces", "negatives", "AP %", "recall at 0.7 %"]
    rows = [
        [
            name,
            str(t["faces"]),
            str(t["negatives"]),
            number(t["ap_percent"]),
            number(t["recall_percent"]),
            number(t["false_positive_percent"]),
        ]
        for name, t in tests.items()
    ]
    return table([*head, "false tracks at 0.7 %"], rows)


def tracking_table(clips: Figures) -> str:
    """One row a clip."""
    head = ["tracking, clip", "frames", "without a face %", "given up / 1000 frames", "jitter %"]
    rows = [
        [
            name,
            str(c["frames"]),
            number(c.get("lost_percent")),
            number(c.get("given_up_per_1000")),
            number(c.get("jitter_percent")),
            str(c.get("lingered_frames", "")),
        ]
        for name, c in clips.items()
    ]
    return table([*head, "frames tracked on after the face left"], rows)


def with_table(card: str, of: str, text: str) -> str:
    """The page with a table between the markers "of MODEL" or "in brief"; ValueError without."""
    first, last = BEGIN.format(of), END.format(of)
    before, begin, rest = card.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page has no {first} ... {last}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
