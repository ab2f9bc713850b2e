"""Ray actors that take shards, one at a time each, and are replaced where they die.

Ray Data's own pool of actors is not used: it ties a shard to the actor that it was given to, and waits for that one's
restart, for which there may be no room where its node is gone (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hilum.cluster.films import Shard
from hilum.errors import HilumError


class Pool:
    """Actors that take a shard each. One that dies is replaced, by one that joins when there is room for it."""

    def __init__(self, ray: Any, make: Callable[[], Any], count: int) -> None:
        self.ray, self.make = ray, make
        self.starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.running: dict[Any, tuple[Any, Shard]] = {}
        for _ in range(count):
            self._start()

    @property
    def busy(self) -> bool:
        return bool(self.running)

    def give(self, shard: Shard) -> None:
        actor = self.idle.pop()
        self.running[actor.do.remote(shard)] = actor, shard

    def heard(self) -> Iterator[tuple[Shard, int | Exception]]:
        """Wait for any actor: how many films it did, or what it died of; nothing where one only got ready."""
        refs = [*self.starting, *self.running]
        for ref in self.ray.wait(refs, num_returns=1)[0]:
            if ref in self.starting:
                actor = self.starting.pop(ref)
                if isinstance(self._answer(ref), Exception):
                    self._start()
                else:
                    self.idle.append(actor)
                continue
            actor, shard = self.running.pop(ref)
            answer = self._answer(ref)
            if isinstance(
                answer, HilumError
            ):  # a bundle that cannot be loaded, a folder that cannot be written
                raise answer
            if isinstance(answer, Exception):
                self._kill(actor)
                self._start()
            else:
                self.idle.append(actor)
            yield shard, answer

    def stop(self) -> None:
        held = [actor for actor, _ in self.running.values()]
        for actor in [*self.starting.values(), *self.idle, *held]:
            self._kill(actor)

    def _answer(self, ref: Any) -> Any:
        from ray.exceptions import ActorUnavailableError, RayActorError

        try:
            return self.ray.get(ref)
        except (RayActorError, ActorUnavailableError) as death:
            return death

    def _start(self) -> None:
        actor = self.make()
        self.starting[actor.ready.remote()] = actor

    def _kill(self, actor: Any) -> None:
        self.ray.kill(actor)
