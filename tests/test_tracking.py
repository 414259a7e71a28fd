"""Tracking decisions on made-up sightings: who is kept, lost, found again, and under which id."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest

from atpn.faces import tracking
from atpn.faces.tracking import Rules, Sighting, State, Track
from atpn.geometry import Box, crop, square

RULES = Rules(max_faces=2, threshold=0.7, redetect_every=30)
LEFT, RIGHT = square(100, 100, 80), square(400, 100, 80)


def seen(roi: Box, confidence: float = 0.9) -> Sighting:
    return Sighting(confidence, roi)


def detected(state: State, *rois: Box) -> State:
    """The state after the detector found ``rois`` in the state's frame."""
    fresh = tracking.unclaimed(state, list(rois), RULES)
    return tracking.admit(state, fresh, [seen(roi) for roi in fresh], RULES)


def ids(state: State) -> list[int]:
    return [t.track_id for t in state.tracks]


def test_a_confident_face_moves_its_region_to_where_its_landmarks_are() -> None:
    state = detected(State(seq=1), LEFT)
    state = tracking.follow(state, 2, [seen(square(110, 105, 82))], RULES)
    assert state.tracks == (Track(1, square(110, 105, 82), seen=2, vx=5.0, vy=2.5),)


@pytest.mark.parametrize(("confidence", "kept"), [(0.7, True), (0.699, False)])
def test_a_face_is_found_at_the_papers_threshold(confidence: float, kept: bool) -> None:
    state = tracking.admit(State(seq=1), [LEFT], [seen(LEFT, confidence)], RULES)
    assert bool(state.tracks) is kept


def test_a_face_that_was_sure_may_be_unsure_for_a_few_frames() -> None:
    state = detected(State(seq=1), LEFT)
    for seq in range(2, 2 + tracking.WEAK_FRAMES):
        state = tracking.follow(state, seq, [seen(LEFT, 0.6)], RULES)
        assert ids(state) == [1]
    again = tracking.follow(state, 9, [seen(LEFT, 0.8)], RULES)
    assert again.tracks[0].weak == 0
    assert tracking.follow(state, 9, [seen(LEFT, 0.6)], RULES).tracks == ()


def test_a_face_far_below_the_threshold_is_lost_at_once() -> None:
    state = detected(State(seq=1), LEFT)
    assert tracking.follow(state, 2, [seen(LEFT, 0.49)], RULES).tracks == ()


def test_a_lost_face_is_taken_up_where_a_rung_of_the_ladder_shows_it() -> None:
    before = detected(State(seq=1), LEFT)
    state = tracking.follow(before, 2, [seen(LEFT, 0.2)], RULES)
    rungs = tracking.ladder(before.tracks[0])
    tries = [
        seen(rung, confidence) for rung, confidence in zip(rungs, (0.3, 0.75, 0.9), strict=True)
    ]
    found, rung = tracking.recover(state, before.tracks[0], tries, RULES)
    assert (ids(found), rung, found.lost) == ([1], 2, ())
    assert found.tracks[0].roi == rungs[2]
    assert found.tracks[0].generation == 1


def test_no_rung_takes_up_a_face_that_is_too_unsure_or_somebody_elses() -> None:
    before = detected(State(seq=1), LEFT, RIGHT)
    state = tracking.follow(before, 2, [seen(LEFT, 0.2), seen(RIGHT)], RULES)
    lost = before.tracks[0]
    for tries in ([seen(LEFT, 0.69)] * 3, [seen(RIGHT, 0.99)] * 3):
        assert tracking.recover(state, lost, tries, RULES) == (state, -1)


def test_the_ladder_looks_wider_and_at_turned_heads() -> None:
    wide, left, right = tracking.ladder(Track(1, LEFT, seen=1))
    assert wide.width > LEFT.width
    assert left.angle < 0 < right.angle
    assert left.width == right.width == LEFT.width


def test_the_detector_rests_longer_and_longer_while_it_finds_nothing() -> None:
    state, looked = State(seq=1), []
    for seq in range(1, 100):
        before, state = state, tracking.follow(state, seq, [], RULES)
        if tracking.wants_detection(before, state, RULES):
            looked.append(seq)
            state = detected(state)
    gaps = [b - a for a, b in pairwise(looked)]
    assert gaps[:3] == [1, 1, 1]
    assert gaps == sorted(gaps)
    assert max(gaps) == tracking.LONGEST_REST
    found = detected(state, LEFT)
    assert found.vain == 0


def test_two_people_who_are_lost_together_get_their_own_ids_back_in_any_order() -> None:
    """Both have moved by two thirds of a face: one stands nearly where the other stood."""
    first, second = square(100, 100, 120), square(200, 100, 120)
    state = detected(State(seq=1), first, second)
    state = tracking.follow(state, 2, [seen(first, 0.1), seen(second, 0.1)], RULES)
    moved = [square(180, 100, 120), square(280, 100, 120)]
    for order in ([0, 1], [1, 0]):
        found = detected(replace(state, seq=3), *(moved[k] for k in order))
        assert {t.track_id: t.roi for t in found.tracks} == {1: moved[0], 2: moved[1]}
        assert not found.lost


def test_somebody_new_gets_no_id_of_one_who_is_back() -> None:
    state = tracking.follow(detected(State(seq=1), LEFT), 2, [seen(LEFT, 0.1)], RULES)
    found = detected(replace(state, seq=3), square(170, 100, 80), LEFT)
    assert {t.track_id: t.roi for t in found.tracks} == {1: LEFT, 2: square(170, 100, 80)}


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (3, 5), (5, 6)])
def test_the_assignment_has_the_least_sum_of_all(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        costs = rng.integers(0, 9, shape).astype(np.float64)
        found = tracking.assigned(costs)
        assert len(set(found)) == shape[0]
        sums = [costs[range(shape[0]), p].sum() for p in permutations(range(shape[1]), shape[0])]
        assert costs[range(shape[0]), found].sum() == min(sums)


def test_the_detector_looks_when_nothing_is_tracked() -> None:
    state = State(seq=1)
    assert tracking.wants_detection(state, state, RULES)


def test_the_detector_looks_in_the_very_frame_that_lost_a_face() -> None:
    before = detected(State(seq=1), LEFT, RIGHT)
    after = tracking.follow(before, 2, [seen(LEFT), seen(RIGHT, 0.1)], RULES)
    assert tracking.wants_detection(before, after, RULES)


def test_the_detector_rests_while_every_face_is_tracked_and_no_room_is_left() -> None:
    state = detected(State(seq=1), LEFT, RIGHT)
    for seq in range(2, 200):
        before, state = state, tracking.follow(state, seq, [seen(LEFT), seen(RIGHT)], RULES)
        assert not tracking.wants_detection(before, state, RULES)


def test_with_room_for_more_faces_the_detector_looks_now_and_then() -> None:
    state = detected(State(seq=1), LEFT)
    looked = []
    for seq in range(2, 70):
        before, state = state, tracking.follow(state, seq, [seen(LEFT)], RULES)
        if tracking.wants_detection(before, state, RULES):
            looked.append(seq)
            state = detected(state, LEFT)
    assert looked == [31, 61]


def test_a_detection_of_a_tracked_face_is_not_a_second_face() -> None:
    state = detected(State(seq=1), LEFT)
    state = detected(state, square(104, 98, 84), RIGHT)
    assert ids(state) == [1, 2]


def test_a_detection_that_the_network_does_not_confirm_is_not_tracked() -> None:
    state = tracking.admit(State(seq=1), [LEFT], [seen(LEFT, 0.3)], RULES)
    assert state.tracks == ()
    assert state.detected == 1


def test_there_are_never_more_faces_than_asked_for() -> None:
    assert ids(detected(State(seq=1), LEFT, RIGHT, square(250, 300, 80))) == [1, 2]


def test_a_stream_that_is_told_to_follow_fewer_faces_loses_the_others() -> None:
    state = detected(State(seq=1), LEFT, RIGHT)
    fewer = tracking.limited(state, replace(RULES, max_faces=1))
    assert (ids(fewer), [t.track_id for t in fewer.lost]) == ([1], [2])
    assert tracking.limited(state, RULES) is state
    again = tracking.follow(fewer, 2, [seen(LEFT)], RULES)
    assert ids(detected(again, RIGHT)) == [1, 2]


def test_a_face_that_comes_back_where_it_was_lost_gets_its_id_back() -> None:
    state = detected(State(seq=1), LEFT, RIGHT)
    state = tracking.follow(state, 2, [seen(LEFT), seen(RIGHT, 0.1)], RULES)
    state = tracking.follow(state, 3, [seen(LEFT)], RULES)
    state = detected(state, square(410, 110, 85))
    assert ids(state) == [1, 2]


def test_a_face_that_appears_elsewhere_gets_a_new_id() -> None:
    state = detected(State(seq=1), LEFT)
    state = tracking.follow(state, 2, [seen(LEFT, 0.1)], RULES)
    assert ids(detected(state, RIGHT)) == [2]


def test_an_id_is_given_up_after_a_while_and_never_used_for_someone_else() -> None:
    state = detected(State(seq=1), LEFT)
    state = tracking.follow(state, 2, [seen(LEFT, 0.1)], RULES)
    state = tracking.follow(state, 2 + tracking.FORGET_AFTER, [], RULES)
    assert ids(detected(state, LEFT)) == [2]


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_tracks_that_ran_onto_one_face_the_one_that_was_expected_there_stays(
    swapped: bool,
) -> None:
    places = (RIGHT, LEFT) if swapped else (LEFT, RIGHT)
    state = detected(State(seq=1), *places)
    here = [seen(square(102, 100, 80)), seen(square(103, 100, 80))]
    state = tracking.follow(state, 2, here, RULES)
    assert ids(state) == [2 if swapped else 1]
    assert [t.track_id for t in state.lost] == [1 if swapped else 2]


def test_a_face_that_passes_behind_another_comes_out_with_its_own_id() -> None:
    """Two faces walk through each other; for a while one is hidden and both regions see one."""
    state = detected(State(seq=1), square(100, 100, 80), square(400, 100, 80))
    for seq in range(2, 32):
        x = 10.0 * (seq - 1)
        front, behind = square(100 + x, 100, 80), square(400 - x, 100, 80)
        hidden = front.iou(behind) > 0.2
        tracked = {1: front, 2: front if hidden else behind}
        sightings = [seen(tracked[t.track_id]) for t in state.tracks]
        before, state = state, tracking.follow(state, seq, sightings, RULES)
        if tracking.wants_detection(before, state, RULES):
            state = detected(state, *([front] if hidden else [front, behind]))
    places = {t.track_id: t.roi.centre[0] for t in state.tracks}
    assert places == {1: 400.0, 2: 100.0}
    assert {t.track_id: t.generation for t in state.tracks} == {1: 1, 2: 2}


def test_crossing_faces_keep_their_ids() -> None:
    """Two faces pass each other, one above the other, in steps that overlap their last place."""
    state = detected(State(seq=1), square(100, 100, 80), square(400, 150, 80))
    for seq in range(2, 32):
        x = 10 * (seq - 1)
        sightings = [seen(square(100 + x, 100, 80)), seen(square(400 - x, 150, 80))]
        state = tracking.follow(state, seq, sightings, RULES)
    assert ids(state) == [1, 2]
    assert state.tracks[0].roi == square(400, 100, 80)


def test_a_stream_that_changes_resolution_keeps_its_regions_in_place() -> None:
    state = detected(State(seq=1, width=640, height=480), LEFT)
    half = tracking.resized(state, 320, 240)
    assert half.tracks[0].roi == square(50, 50, 40)
    assert tracking.resized(half, 640, 480) == state


def test_a_stream_that_changes_its_shape_keeps_square_regions() -> None:
    state = detected(State(seq=1, width=640, height=480), square(300, 200, 200))
    roi = tracking.resized(state, 60000, 100).tracks[0].roi
    assert roi.width == roi.height
    crop(np.zeros((100, 60000, 3), np.uint8), roi)  # OpenCV takes no wider pictures
