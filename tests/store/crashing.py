"""A job over the simulated file system: its requests, its commits, its output, and what must hold.

The store's own code runs (job, log, index, output); only requests and answers are made up. After
every crash the job is run again: its output must be right, nothing that was acknowledged may be
asked for again, and at most the slots' requests may be paid for twice a crash.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tests.store.simulated import Crash, SimulatedFileSystem

from tovec.store import log
from tovec.store.content_keys import keys_of
from tovec.store.durable import OutputFile
from tovec.store.job import Entry, Job
from tovec.store.output_directory import OutputDirectory
from tovec.store.removal import FinishedJob, find_finished

IDENTITY = {"model": "m", "dimensions": None}
DIMENSIONS = 4
SLOTS = 3
log.RESERVE_BYTES = 64  # its size takes time and proves nothing
REQUEST = 2  # rows
TEXTS = [f"text {i % 11}" for i in range(14)]  # three of them twice
PART = 6  # rows
OLD = b"what an earlier run wrote" * 3


class Kind(NamedTuple):
    """An output: one file or a directory of parts, over an old one or not."""

    parts: bool
    replaces: bool
    can_exchange: bool = True  # whether the file system exchanges two names in one step


KINDS = (
    Kind(parts=False, replaces=False),
    Kind(parts=True, replaces=True),
    Kind(parts=False, replaces=True),
    Kind(parts=True, replaces=False),
    Kind(parts=True, replaces=True, can_exchange=False),
)


def vector(text: str) -> np.ndarray:
    rng = random.Random(text)
    return np.array([rng.random() for _ in range(DIMENSIONS)], np.float32)


def expected() -> bytes:
    return b"".join(vector(text).tobytes() for text in TEXTS)


@dataclass
class World:
    """What outlives a process: the disk, and what the endpoint has answered."""

    kind: Kind
    fs: SimulatedFileSystem
    paid: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    crashes: int = 0


def new_world(seed: int, kind: Kind) -> World:
    """Make a disk, with an old output where the kind has one."""
    world = World(kind, SimulatedFileSystem(seed, can_exchange=kind.can_exchange))
    if kind.replaces:
        world.fs.plant("/d/out/part-00000" if kind.parts else "/d/out", OLD)
    return world


class Broken(AssertionError):
    """A promise was broken."""


def run(world: World, rng: random.Random, *, keep: bool = False) -> None:
    """Run the job once, to its end or a Crash."""
    if (finished := find_finished("/d/job", world.fs)) is not None:
        remove(finished)
        return
    job = Job("/d/job", IDENTITY, world.fs)
    output = new_output(world, job)
    ask(job, world, rng)
    ordinals = job.index.find(keys_of(TEXTS, job.digest))
    if (ordinals < 0).any():
        raise Broken("a text is not known after everything was asked for")
    vectors, refused, unknown = job.vectors(ordinals)
    if refused or len(unknown):
        raise Broken("a text has no vector after everything was asked for")
    write(output, vectors)
    published = output.prepare()
    job.note("published", published)
    output.publish()
    finished = job.finish(keep=keep, record={"published": published})
    job.close()
    if finished is not None:
        remove(finished)


def remove(finished: FinishedJob) -> None:
    finished.remove_contents()
    finished.remove_directory()
    finished.close()


def new_output(world: World, job: Job) -> OutputFile | OutputDirectory:
    kind = OutputDirectory if world.kind.parts else OutputFile
    return kind("/d/out", force=world.kind.replaces, ours=job.published, fs=world.fs)


def write(output: OutputFile | OutputDirectory, vectors: np.ndarray) -> None:
    if isinstance(output, OutputFile):
        output.file.write(vectors.tobytes())
        return
    for number, first in enumerate(range(0, len(vectors), PART)):
        part = output.part(f"part-{number:05d}")
        part.file.write(vectors[first : first + PART].tobytes())


def ask(job: Job, world: World, rng: random.Random) -> None:
    """Ask for what is lacking, SLOTS requests at a time; a stored answer frees its slot."""
    wanted = job.look_up(keys_of(TEXTS, job.digest)).wanted
    texts = [TEXTS[i] for i in wanted.tolist()]
    requests = [texts[i : i + REQUEST] for i in range(0, len(texts), REQUEST)]
    for text in texts:
        if text in world.acknowledged:
            raise Broken(f"{text!r} was acknowledged and is asked for again")
    under_way: list[list[str]] = []
    while requests or under_way:
        while requests and len(under_way) < SLOTS:
            under_way.append(requests.pop(0))
            world.paid.update(under_way[-1])
        rng.shuffle(under_way)
        group = [under_way.pop() for _ in range(rng.randint(1, len(under_way)))]
        job.keep([answer(job, one) for one in group])
        for one in group:
            world.acknowledged.update(one)


def answer(job: Job, texts: list[str]) -> Entry:
    return Entry(keys_of(texts, job.digest), np.array([vector(text) for text in texts]), (), 7)


def operations(seed: int, kind: Kind) -> int:
    """Give how many operations an undisturbed run takes."""
    world = new_world(seed, kind)
    before = world.fs.operations
    run(world, random.Random(seed))
    check(world)
    return world.fs.operations - before


def explore(seed: int, plan: list[tuple[str, int]], kind: Kind) -> None:
    """Crash as planned, in one run after another, then run to the end; raise Broken if it is wrong.

    A plan has (crash, operations from the run's start); a crash is "kill" or "power".
    """
    world, rng = new_world(seed, kind), random.Random(seed)
    for crash, after in plan:
        world.fs.crash_at = world.fs.operations + after
        try:
            if is_unfinished(world):
                run(world, rng)
            break
        except Crash:
            world.crashes += 1
        (world.fs.kill if crash == "kill" else world.fs.lose_power)()
        look(world)
    world.fs.crash_at = None
    if is_unfinished(world):
        run(world, rng)
    check(world)


def is_unfinished(world: World) -> bool:
    """Say whether the command is worth running again: a job that is done leaves no directory."""
    return world.fs.content("/d/out") != expected() or bool(left_of_the_job(world))


def left_of_the_job(world: World) -> set[str]:
    there = "job" in world.fs.names("/d")
    return set(world.fs.names("/d/job") if there else ()) - {"lock"}


def look(world: World) -> None:
    """What is visible after a crash is what was there before, or everything.

    Without an exchange an old directory may be under its other name, to be brought back.
    """
    found = world.fs.content("/d/out")
    names = [name for name in world.fs.names("/d") if name.endswith(".old")]
    if found is None and names and not world.kind.can_exchange:
        found = world.fs.content(f"/d/{names[0]}")
    if found not in (OLD if world.kind.replaces else None, expected()):
        raise Broken("half an output is visible, or an old one is lost")


def check(world: World) -> None:
    """What must hold at the end."""
    if world.fs.content("/d/out") != expected():
        raise Broken("the output is wrong")
    twice = sum(count - 1 for count in world.paid.values())
    if twice > world.crashes * SLOTS * REQUEST:
        raise Broken(f"{twice} rows were paid twice in {world.crashes} crashes")
    if left_of_the_job(world):
        raise Broken("the job's directory is left behind")
    if left := set(world.fs.names("/d")) - {"job", "out"}:
        raise Broken(f"left behind: {left}")


class Case(NamedTuple):
    """A seed, the crashes to come, and the kind of output."""

    seed: int
    plan: list[tuple[str, int]]
    kind: Kind


def every_operation() -> Iterator[Case]:
    """Crash each operation of each kind of run once; also cut the power of the run after a kill."""
    for number, kind in enumerate(KINDS):
        for after in range(1, operations(0, kind) + 1):
            seed = 100 * number + after
            yield Case(seed, [("kill", after)], kind)
            yield Case(seed, [("power", after)], kind)
            yield Case(seed, [("kill", after), ("power", 25)], kind)


def random_cases(states: int, first: int = 0) -> Iterator[Case]:
    """Crash one to three times at random, in each kind of run in turn."""
    for seed in range(first, first + states):
        rng = random.Random(seed)
        most = rng.choice((10, 60, 80))  # to its beginning, to the requests' end, or anywhere
        plan = [
            (rng.choice(("kill", "power")), rng.randint(1, most))
            for _ in range(rng.choice((1, 1, 2, 3)))
        ]
        yield Case(seed, plan, KINDS[seed % len(KINDS)])


def first_broken(cases: Iterable[Case]) -> str:
    """Return the first broken promise, or nothing."""
    for case in cases:
        try:
            explore(*case)
        except Exception as broken:
            return f"{case}: {type(broken).__name__}: {broken}"
    return ""
