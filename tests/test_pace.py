from service.pace import FIRST_GUESS_S, Pace


def pace_of(*compute_s):
    pace = Pace()
    for seconds in compute_s:
        pace.add(seconds)
    return pace


def test_before_any_case_the_pace_is_a_guess():
    assert Pace().left_s(3) == 3 * FIRST_GUESS_S


def test_recent_cases_set_the_pace_and_one_slow_one_does_not():
    pace = pace_of(*[1.0] * 8, 60.0)
    assert pace.left_s(4) == 4.0
    assert pace.left_s(1, done_s=0.4) == 0.6
    assert pace.left_s(1, done_s=7) == 0.0


def test_a_refused_client_is_told_when_half_of_the_queue_will_be_through():
    assert pace_of(*[1.5] * 9).until_half_empty_s(depth=8) == 7
