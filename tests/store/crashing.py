"""A job over the simulated file system: its requests, its commits, its output, and what must hold.

The store's own code runs (job, log, index, output); only requests and answers are made up. After
every crash the job is run again: its output must be right, nothing that was acknowledged may be
asked for again, and at most the slots' requests may be paid for twice a crash.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tests.store.simulated import Crash, SimulatedFileSystem

from tovec.store import log
from tovec.store.durable import OutputFile
from tovec.store.job import Entry, Job, finish_removal
from tovec.store.keys import keys_of

IDENTITY = {"model": "m", "dimensions": None}
DIMENSIONS = 4
SLOTS = 3
log.RESERVE_BYTES = 64  # its size takes time and proves nothing
REQUEST = 2  # rows
TEXTS = [f"text {i % 11}" for i in range(14)]  # three of them twice


def vector(text: str) -> np.ndarray:
    rng = random.Random(text)
    return np.array([rng.random() for _ in range(DIMENSIONS)], np.float32)


def expected() -> bytes:
    return b"".join(vector(text).tobytes() for text in TEXTS)


@dataclass
class World:
    """What outlives a process: the disk, and what the endpoint has answered."""

    fs: SimulatedFileSystem
    paid: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    crashes: int = 0


class Broken(AssertionError):
    """A promise was broken."""


def run(world: World, rng: random.Random, *, keep: bool = False) -> None:
    """Run the job once, to its end or a Crash."""
    if finish_removal("/d/job", world.fs) is not None:
        return
    job = Job("/d/job", IDENTITY, world.fs)
    output = OutputFile("/d/out", ours=job.published, fs=world.fs)
    ask(job, world, rng)
    ordinals = job.index.find(keys_of(TEXTS, job.digest))
    if (ordinals < 0).any():
        raise Broken("a text is not known after everything was asked for")
    vectors, refused, unknown = job.vectors(ordinals)
    if refused or len(unknown):
        raise Broken("a text has no vector after everything was asked for")
    output.file.write(vectors.tobytes())
    published = output.prepare()
    job.note("published", published)
    output.publish()
    job.finish(keep=keep, finished={"published": published})
    job.close()


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


def operations(seed: int) -> int:
    """Give how many operations an undisturbed run takes."""
    world = World(SimulatedFileSystem(seed))
    run(world, random.Random(seed))
    check(world)
    return world.fs.operations


def explore(seed: int, plan: list[tuple[str, int]]) -> None:
    """Crash as planned, in one run after another, then run to the end; raise Broken if it is wrong.

    A plan has (kind, operations from the run's start); kind is "kill" or "power".
    """
    world, rng = World(SimulatedFileSystem(seed)), random.Random(seed)
    for kind, after in plan:
        world.fs.crash_at = world.fs.operations + after
        try:
            if is_unfinished(world):
                run(world, rng)
            break
        except Crash:
            world.crashes += 1
        (world.fs.kill if kind == "kill" else world.fs.lose_power)()
        look(world)
    world.fs.crash_at = None
    if is_unfinished(world):
        run(world, rng)
    check(world)


def is_unfinished(world: World) -> bool:
    """Say whether the command is worth running again: a job that is done leaves no directory."""
    left = set(world.fs._now.get("/d/job", ())) - {"lock"}
    return world.fs.content("/d/out") != expected() or bool(left)


def look(world: World) -> None:
    """What is visible after a crash is nothing, or everything."""
    if world.fs.content("/d/out") not in (None, expected()):
        raise Broken("half an output is visible")


def check(world: World) -> None:
    """What must hold at the end."""
    if world.fs.content("/d/out") != expected():
        raise Broken("the output is wrong")
    twice = sum(count - 1 for count in world.paid.values())
    if twice > world.crashes * SLOTS * REQUEST:
        raise Broken(f"{twice} rows were paid twice in {world.crashes} crashes")
    if set(world.fs._now.get("/d/job", ())) - {"lock"}:
        raise Broken("the job's directory is left behind")


def plans(seed: int) -> list[tuple[str, int]]:
    """Give a random plan of one to three crashes."""
    rng = random.Random(seed)
    return [
        (rng.choice(("kill", "power")), rng.randint(1, 70)) for _ in range(rng.choice((1, 1, 2, 3)))
    ]


def first_broken(states: int, first: int = 0, before: Callable[[], None] = lambda: None) -> str:
    """Give the first broken promise among so many states, or nothing."""
    for seed in range(first, first + states):
        before()
        try:
            explore(seed, plans(seed))
        except Exception as broken:
            return f"seed {seed}, {plans(seed)}: {type(broken).__name__}: {broken}"
    return ""
