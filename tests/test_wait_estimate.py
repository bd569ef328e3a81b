from service.jobs.wait_estimate import INITIAL_ESTIMATE_S, WaitEstimate


def estimate_from(*compute_s):
    estimate = WaitEstimate()
    for seconds in compute_s:
        estimate.add(seconds)
    return estimate


def test_the_estimate_before_the_first_case_is_a_default():
    assert WaitEstimate().remaining_s(3) == 3 * INITIAL_ESTIMATE_S


def test_the_estimate_is_the_median_of_recent_cases():
    estimate = estimate_from(*[1.0] * 8, 60.0)
    assert estimate.remaining_s(4) == 4.0
    assert estimate.remaining_s(1, elapsed_s=0.4) == 0.6
    assert estimate.remaining_s(1, elapsed_s=7) == 0.0


def test_the_retry_delay_is_the_time_to_empty_half_of_the_queue():
    assert estimate_from(*[1.5] * 9).half_empty_s(depth=8) == 7
