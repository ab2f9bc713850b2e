"""Sends every hazard through every door of a running clinic, and gathers what is seen."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from tests.clinic.helpers import wait_until

from . import doors, films, proofs
from .clinic import SETTLED, Clinic, settle, start_watch
from .doors import DOORS, Door, Seen
from .entries import GOOD, HAZARDS, Cannot, Hazard

Key = tuple[str, Door]
STATEFUL = ("47", "48", "49")  # by the command line they come as `hilum queue add`
LAST = ("28", "29")  # one needs a result, one keeps others waiting
SENDERS: dict[Door, Callable[[Clinic, bytes, int], Seen]] = {
    "upload": doors.upload,
    "stow": doors.stow,
    "store": doors.store,
}


def number_of(hazard: Hazard, door: Door) -> int:
    """From which the UIDs of its films are made."""
    return 1000 * (HAZARDS.index(hazard) + 1) + 100 * DOORS.index(door)


def observe(clinic: Clinic) -> dict[Key, Seen]:
    """What is seen of each hazard at each door by which it can come."""
    seen: dict[Key, Seen] = {}
    early = [h for h in HAZARDS if h is not GOOD and h.number not in LAST]
    _fill_archive(clinic, early)
    start_watch(clinic)
    with ThreadPoolExecutor(32) as pool:
        waiting: dict[Key, Future[Seen]] = {}
        for hazard in early:
            for door, probe in hazard.probes.items():
                waiting[(hazard.name, door)] = pool.submit(_tried, partial(probe, clinic, door))
        by_commands = pool.submit(_by_commands, clinic)
        sent = [pool.submit(_send_all, clinic, each, early) for each in (("upload", "stow"), ("store",))]
        for part in sent:
            seen |= part.result()
        settle(clinic)
        seen |= by_commands.result()
        settle(clinic)
        seen |= {key: future.result() for key, future in waiting.items()}
    for hazard in early:
        if _by_watch(hazard):
            number = number_of(hazard, "watch") + (hazard.number == "49")
            seen[(hazard.name, "watch")] = _tried(partial(doors.watched, clinic, number))
    for hazard in (h for h in HAZARDS if h.number in LAST):
        for door, probe in hazard.probes.items():
            seen[(hazard.name, door)] = _tried(partial(probe, clinic, door))
            if hazard.number == "29":
                seen[(hazard.name, door)] = _then_served(clinic, door, seen[(hazard.name, door)])
    seen |= _good_films(clinic)
    settle(clinic)
    return {(name, door): _ended(clinic, _named(name), door, each) for (name, door), each in seen.items()}


def _ended(clinic: Clinic, hazard: Hazard, door: Door, seen: Seen) -> Seen:
    """What became of it in the end, with what must be found beside."""
    seen = doors.analysed(clinic, seen.job) if seen.job is not None else seen
    return proofs.proven(clinic, hazard, door, seen, number_of(hazard, door))


def made(clinic: Clinic, hazard: Hazard, door: Door) -> list[bytes]:
    if hazard.number == "36":
        return [films.pickled(clinic.place / "loaded")]
    assert hazard.make is not None
    return hazard.make(number_of(hazard, door))


def _named(name: str) -> Hazard:
    return next(hazard for hazard in HAZARDS if hazard.name == name)


def _is_film(hazard: Hazard, door: Door) -> bool:
    there = hazard.make is not None or hazard.number == "36"
    return there and door not in hazard.probes and not isinstance(hazard.wants[door], Cannot)


def _by_watch(hazard: Hazard) -> bool:
    return _is_film(hazard, "watch") or hazard.sends is not None


def _tried(probe: Callable[[], Seen]) -> Seen:
    """What a probe saw; its own fault is no reason for the others to end."""
    try:
        return probe()
    except Exception as error:
        return Seen("the test failed", f"{type(error).__name__}: {error}")


def _send_all(clinic: Clinic, by: tuple[Door, ...], hazards: list[Hazard]) -> dict[Key, Seen]:
    seen: dict[Key, Seen] = {}
    for hazard in hazards:
        for door in by:
            if _is_film(hazard, door):
                seen[(hazard.name, door)] = _tried(partial(_send, clinic, hazard, door))
    return seen


def _send(clinic: Clinic, hazard: Hazard, door: Door) -> Seen:
    """All of its films, one after the other; what became of the last."""
    *before, last = made(clinic, hazard, door)
    number = number_of(hazard, door)
    for each in before:
        first = SENDERS[door](clinic, each, number)
        assert first.verb == "queued", first
    return SENDERS[door](clinic, last, number + (hazard.number == "49"))


def _fill_archive(clinic: Clinic, hazards: list[Hazard]) -> None:
    """All but the last of a hazard's films came by upload before the archive shows the last."""
    for hazard in filter(_by_watch, hazards):
        number = number_of(hazard, "watch")
        if hazard.sends is not None:
            doors.listed(clinic, b"", number)
            clinic.archive.sent[doors.uids(number)[0]] = hazard.sends
            clinic.broken.add(doors.uids(number)[1])
            continue
        *before, last = made(clinic, hazard, "watch")
        for each in before:
            assert doors.upload(clinic, each).verb == "queued"
        doors.listed(clinic, last, number + (hazard.number == "49"))


def _by_commands(clinic: Clinic) -> dict[Key, Seen]:
    """The column of the command line: all films in one call of `hilum analyze`, and what needs calls of its own."""
    chosen = [h for h in HAZARDS if _is_film(h, "cli") and h.number not in (*STATEFUL, "36")]
    names = {hazard.name: f"{HAZARDS.index(hazard):02}-film" for hazard in chosen}
    # The good film is the last: the same process goes on to it.
    found = doors.analyze(clinic, {names[h.name]: made(clinic, h, "cli")[0] for h in chosen})
    seen: dict[Key, Seen] = {(h.name, "cli"): found[names[h.name]] for h in chosen}
    stateful = [h for h in HAZARDS if h.number in STATEFUL]
    several = [(h, data) for h in stateful for data in made(clinic, h, "cli")]
    for (hazard, _), each in zip(
        several, doors.added(clinic, [(h.number, data) for h, data in several]), strict=True
    ):
        seen[(hazard.name, "cli")] = each
    for number in ("36", "37"):
        hazard = next(h for h in HAZARDS if h.number == number)
        seen[(hazard.name, "cli")] = _bad_bundle(clinic, number)
    return seen


def _bad_bundle(clinic: Clinic, number: str) -> Seen:
    """`hilum analyze --bundle` of a pickle, or of a bundle with a byte of its weights changed."""
    import shutil

    path = clinic.place / "bundles" / f"bad-{number}"
    if number == "36":
        path = path.with_suffix(".pt")
        path.write_bytes(films.pickled(clinic.place / "loaded"))
    else:
        shutil.copytree(clinic.bundle, path)
        weights = path / "weights.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(bytes(data))
    film = clinic.place / "films" / f"for-{number}.dcm"
    film.write_bytes(made(clinic, GOOD, "cli")[0])
    name = f"analyze with {path.name}"
    started = clinic.hilum(
        "analyze", film, "--out", clinic.place / "out" / number, "--bundle", path, name=name
    )
    code = started.wait(300)
    said = (clinic.place / "logs" / f"{name}.err").read_text().strip().splitlines()[-1]
    said = said.replace(str(path), path.name)
    return Seen("refused" if code == 1 and said.startswith("hilum: ") else f"ended with {code}", said)


def _then_served(clinic: Clinic, door: Door, seen: Seen) -> Seen:
    """After a flood a film that is sent is taken."""
    number = number_of(next(h for h in HAZARDS if h.number == "29"), door)

    def taken() -> bool:
        try:
            return SENDERS[door](clinic, films.a_film(number), number).verb in ("queued", "known")
        except OSError:
            return False

    wait_until(taken, 60)
    return Seen(seen.verb, "the next film is served")


def _good_films(clinic: Clinic) -> dict[Key, Seen]:
    """Through each door, from the very processes that had all the others."""
    seen = _send_all(clinic, ("upload", "stow", "store"), [GOOD])
    number = number_of(GOOD, "watch")
    doors.listed(clinic, made(clinic, GOOD, "watch")[0], number)
    instance = doors.uids(number)[0]
    wait_until(lambda: instance in clinic.archive.fetched, SETTLED)
    settle(clinic)
    seen[(GOOD.name, "watch")] = doors.watched(clinic, number)
    return seen
