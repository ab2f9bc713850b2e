"""Batches that are read ahead: the same ones, in the same order, no further ahead than said, and errors in their turn."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.learning.feed import ahead


@given(st.lists(st.integers(), max_size=12), st.integers(0, 4))
def test_what_is_read_ahead_is_what_would_have_been_read(numbers: list[int], depth: int):
    assert list(ahead(lambda n: n + 1, numbers, depth)) == [n + 1 for n in numbers]


def test_no_more_is_read_than_the_depth_ahead_and_by_another_thread():
    read: list[tuple[int, str]] = []

    def take(n: int) -> int:
        read.append((n, threading.current_thread().name))
        return n

    batches = ahead(take, range(10), 2)
    assert next(batches) == 0
    until = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    assert [n for n, _ in read] == [0, 1, 2]
    assert all(name.startswith("feed") for _, name in read)
    assert list(batches) == list(range(1, 10))


def test_a_batch_that_cannot_be_read_raises_where_it_would_have_come():
    def take(n: int) -> int:
        if n == 3:
            raise OSError("the disk is gone")
        return n

    batches = ahead(take, range(6), 2)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_an_epoch_that_is_left_early_leaves_no_thread():
    batches = ahead(lambda n: n, range(100), 2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]
