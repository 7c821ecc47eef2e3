"""What is kept between solves: bounded, in one pair of hands, gone with its owner."""

from __future__ import annotations

import gc
import threading

from vml_fast.runtime.cache import ExclusiveCache, SharedCache


class Owner:
    pass


def test_a_shared_value_is_made_once() -> None:
    cache: SharedCache[list[int]] = SharedCache(4)
    owner, other = Owner(), Owner()
    first = cache.get(owner, "key", list)
    assert cache.get(owner, "key", list) is first
    assert cache.find(owner, "key") is first
    assert cache.get(owner, "another", list) is not first
    assert cache.get(other, "key", list) is not first
    assert cache.find(other, "none") is None


def test_the_least_recently_used_goes_first() -> None:
    cache: SharedCache[list[int]] = SharedCache(2)
    owner = Owner()
    first = cache.get(owner, 1, list)
    cache.get(owner, 2, list)
    assert cache.get(owner, 1, list) is first
    cache.get(owner, 3, list)
    assert len(cache) == 2
    assert cache.find(owner, 1) is first
    assert cache.find(owner, 2) is None


def test_a_taken_value_is_nobody_elses() -> None:
    cache: ExclusiveCache[str] = ExclusiveCache(2)
    owner = Owner()
    assert cache.take(owner, "key") is None
    cache.put_back(owner, "key", "one")
    assert cache.take(owner, "key") == "one"
    assert cache.take(owner, "key") is None
    for value in ("one", "two", "three"):
        cache.put_back(owner, "key", value)
    assert len(cache) == 2
    assert {cache.take(owner, "key"), cache.take(owner, "key")} == {"two", "three"}


def test_values_go_with_their_owner() -> None:
    cache: ExclusiveCache[str] = ExclusiveCache(4)
    owner, other = Owner(), Owner()
    cache.put_back(owner, 1, "one")
    cache.put_back(other, 1, "another")
    del owner
    gc.collect()
    assert len(cache) == 1
    assert cache.take(other, 1) == "another"


def test_nothing_is_kept_for_what_cannot_be_watched() -> None:
    cache: SharedCache[list[int]] = SharedCache(4)
    owner = (1, 2)  # a tuple has no weak references, as some callables have none
    assert cache.get(owner, "key", list) is not cache.get(owner, "key", list)
    assert len(cache) == 0


def test_threads_never_hold_one_value_together() -> None:
    cache: ExclusiveCache[list[int]] = ExclusiveCache(4)
    owner, held, clashes = Owner(), set(), []

    def work() -> None:
        for _ in range(300):
            value = cache.take(owner, "key") or [0]
            if id(value) in held:
                clashes.append(value)
            held.add(id(value))
            value[0] += 1
            held.discard(id(value))
            cache.put_back(owner, "key", value)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
    assert len(cache) <= 4
