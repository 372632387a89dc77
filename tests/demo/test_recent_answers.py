import numpy as np
import pytest

from cadformer_d2.inference import ReferredMask

pytest.importorskip("gradio")
from cadformer_d2.web.answers import ImageAnswers  # noqa: E402
from cadformer_d2.web.recent_answers import RecentAnswers  # noqa: E402

SIZE = 10 * 10 * (3 + 4 + 1)  # bytes of one answer


def answered():
    found = ReferredMask("the pool", np.zeros((10, 10), np.float32), np.zeros((10, 10), bool))
    return ImageAnswers(np.zeros((10, 10, 3), np.uint8), [found])


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recent(clock):
    return RecentAnswers(max_bytes=3 * SIZE, max_age=60, clock=clock)


def kept(recent, names):
    return [name for name in names if name in recent.kept]


def test_the_sessions_that_were_looked_at_longest_ago_make_room(recent):
    for name in "abc":
        recent.put(name, answered())
    recent.get("a")
    for name in "de":
        recent.put(name, answered())
    assert kept(recent, "abcde") == ["a", "d", "e"]


def test_a_thousand_sessions_take_no_more_than_the_limit(recent):
    for number in range(1000):
        recent.put(str(number), answered())
    assert sum(found.bytes for _, found in recent.kept.values()) == 3 * SIZE


def test_one_session_keeps_its_last_answer_only(recent):
    last = answered()
    for one in (answered(), answered(), last):
        recent.put("a", one)
    assert recent.get("a") is last and len(recent.kept) == 1


def test_an_answer_larger_than_the_limit_is_kept_alone(clock):
    recent = RecentAnswers(max_bytes=1, max_age=60, clock=clock)
    for name in "ab":
        recent.put(name, answered())
    assert kept(recent, "ab") == ["b"]


def test_old_answers_are_dropped(recent, clock):
    recent.put("a", answered())
    clock.now = 50
    recent.put("b", answered())
    clock.now = 70
    assert recent.get("a") is None and recent.get("b") is not None
    clock.now = 131
    assert recent.get("b") is None and not recent.kept
