"""What is kept from one solve for the next: bounded, and gone with the denoiser it was made for."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Bounded(Generic[T]):
    """Values by owner and key, the least recently used of which goes first.

    The owner is held weakly, and a value must not hold it either. An owner without weak references
    (an instance with `__slots__`, say) has nothing kept for it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.RLock()  # an owner may die, and call back, while the lock is held
        self._values: OrderedDict[tuple[int, Hashable], list[T]] = OrderedDict()
        self._owners: dict[int, weakref.ref[Any]] = {}

    def __len__(self) -> int:
        with self._lock:
            return sum(len(values) for values in self._values.values())

    def find(self, owner: Any, key: Hashable) -> T | None:
        """The value of a key, which stays where it is; None where there is none."""
        with self._lock:
            values = self._values.get((id(owner), key))
            return values[0] if values else None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()

    def _find(self, owner: Any, key: Hashable) -> list[T]:
        """The values of a key, now the most recently used."""
        place = (id(owner), key)
        if place not in self._values:
            return []
        self._values.move_to_end(place)
        return self._values[place]

    def _add(self, owner: Any, key: Hashable, value: T) -> None:
        if not self._watch(owner):
            return
        self._values.setdefault((id(owner), key), [])
        self._find(owner, key).append(value)
        while len(self) > self.capacity:
            oldest = next(iter(self._values))
            self._values[oldest] = self._values[oldest][1:]
            if not self._values[oldest]:
                del self._values[oldest]

    def _watch(self, owner: Any) -> bool:
        number = id(owner)
        if number not in self._owners:
            try:
                self._owners[number] = weakref.ref(owner, lambda _: self._forget(number))
            except TypeError:
                return False
        return True

    def _forget(self, number: int) -> None:
        with self._lock:
            self._owners.pop(number, None)
            for place in [p for p in self._values if p[0] == number]:
                del self._values[place]


class SharedCache(_Bounded[T]):
    """Values without a state of their own, which many may use at once."""

    def get(self, owner: Any, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made by the first who asks."""
        with self._lock:
            values = self._find(owner, key)
            if values:
                return values[0]
            value = make()
            self._add(owner, key, value)
            return value


class ExclusiveCache(_Bounded[T]):
    """Values with a state, each in one pair of hands: who takes one has it until they put it back.

    So two solvers, or two threads of one, never share memory; the second makes a value of its own.
    """

    def take(self, owner: Any, key: Hashable) -> T | None:
        """A value of the key, no longer in the cache; None where there is none."""
        with self._lock:
            values = self._find(owner, key)
            value = values.pop() if values else None
            if not values:
                self._values.pop((id(owner), key), None)
            return value

    def put_back(self, owner: Any, key: Hashable, value: T) -> None:
        """Give a value to whoever asks next."""
        with self._lock:
            self._add(owner, key, value)
