from tf_prune_ofa.bench.rounds import MINIMUM_ROUNDS, interleave


def test_turns_come_in_a_rotating_order():
    order = []
    answers = interleave(lambda i: order.append("abc"[i]) or len(order), 3, 5, 60)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc" + "bca"
    assert answers[0] == [1, 6, 8, 10, 15]


def test_time_limit_leaves_the_rounds_that_percentiles_need():
    answers = interleave(lambda i: None, 2, 10_000, 1e-9)
    assert [len(own) for own in answers] == [MINIMUM_ROUNDS] * 2
