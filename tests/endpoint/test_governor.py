"""The governor over hours of virtual time: limits kept and used up, order, pauses, circuit."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.endpoint.virtual_time import run_virtually
from tests.servers.loopback import Allowance

from tovec.endpoint.admission import ProcessAdmission, Ticket
from tovec.endpoint.governor import Governor
from tovec.endpoint.rate_headers import Rates

SILENT = Rates()
Clock = Callable[[], float]


def governor(clock: Clock, **more: Any) -> Governor:
    return Governor(clock=clock, randomness=random.Random(7).random, **more)


async def send(
    one: Governor, clock: Clock, tokens: int, seconds: float = 0.2, rates: Rates = SILENT
) -> float:
    """Send one request that succeeds; return when it was sent."""
    ticket = await one.admit(tokens)
    left = clock()
    await asyncio.sleep(seconds)
    one.succeeded(ticket, rates, estimate=tokens, actual=tokens, seconds=seconds)
    one.release(ticket)
    return left


def most_in_a_minute(sent: list[tuple[float, int]]) -> int:
    return max(sum(n for t, n in sent if start <= t < start + 60) for start, _ in sent)


@pytest.mark.parametrize(("rpm", "tpm"), [(60, None), (None, 100_000), (30, 1_000_000), (3, None)])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_users_limit_is_never_exceeded_in_any_minute_and_is_used_up(
    rpm: int | None, tpm: int | None, seed: int
) -> None:
    """--rpm and --tpm are promises, and time is money: nine tenths are used."""
    chance = random.Random(seed)
    sizes = [chance.randint(1, 9_000) for _ in range(600 if rpm != 3 else 60)]

    async def work(clock: Clock) -> list[tuple[float, int]]:
        one = governor(clock, rpm=rpm, tpm=tpm)
        left = await asyncio.gather(*(send(one, clock, size) for size in sizes))
        return list(zip(left, sizes, strict=True))

    sent = run_virtually(work)
    minutes = max(t for t, _ in sent) / 60
    if rpm is not None:
        assert most_in_a_minute([(t, 1) for t, _ in sent]) <= rpm
        used = len(sent) / (rpm * max(1, minutes + 1))
    if tpm is not None and rpm is None:
        assert most_in_a_minute(sent) <= tpm
        used = sum(sizes) / (tpm * (minutes + 1))
    assert used >= 0.90  # over the last, broken minute too


def test_requests_of_any_size_are_sent_in_the_order_in_which_they_came() -> None:
    """A large request is never starved by small ones."""

    async def work(clock: Clock) -> list[int]:
        one, order = governor(clock, tpm=10_000), list[int]()

        async def go(i: int, size: int) -> None:
            ticket = await one.admit(size)
            order.append(i)
            await asyncio.sleep(0.1)
            one.release(ticket)

        await asyncio.gather(*(go(i, 9_000 if i % 5 == 0 else 10) for i in range(60)))
        return order

    assert run_virtually(work) == list(range(60))


def test_a_free_slot_is_given_without_waiting_for_anything() -> None:
    """The embedded model needs no event loop."""
    work = Governor().admit(10)
    with pytest.raises(StopIteration):
        work.send(None)


class Server:
    """An endpoint's limits on the virtual clock, with headers as OpenAI writes them."""

    def __init__(self, clock: Clock, rpm: int, tpm: int, style: str = "bucket") -> None:
        self.clock, self.limits = clock, {"requests": float(rpm), "tokens": float(tpm)}
        self.used = {name: Allowance(style) for name in self.limits}
        self.refused = self.accepted = 0

    def ask(self, tokens: int) -> tuple[float, Rates]:
        """Return 0 and the headers of a success, or the hint of a 429."""
        now, amounts = self.clock(), {"requests": 1.0, "tokens": float(tokens)}
        waits = [self.used[name].wait(self.limits[name], amounts[name], now) for name in amounts]
        if max(waits) > 0:
            self.refused += 1
            return max(waits) + 0.001, SILENT
        self.accepted += 1
        said: dict[str, Any] = {}
        for name, amount in amounts.items():
            allowed, limit = self.used[name], self.limits[name]
            allowed.used += amount
            said[f"limit_{name}"] = int(limit)
            said[f"remaining_{name}"] = int(limit - allowed.used)
            steady = allowed.used * 60 / limit
            said[f"reset_{name}"] = steady if allowed.style == "bucket" else allowed.last + 60 - now
        return 0.0, Rates(**said)


async def deliver(one: Governor, server: Server, clock: Clock, tokens: int) -> None:
    """Send one request until it is accepted."""
    while True:
        ticket = await one.admit(tokens)
        await asyncio.sleep(0.05)
        hint, rates = server.ask(tokens)
        await asyncio.sleep(0.15)
        if not hint:
            one.succeeded(ticket, rates, estimate=tokens, actual=tokens, seconds=0.2)
            one.release(ticket)
            return
        one.throttled(ticket, rates, hint)
        one.release(ticket)


@pytest.mark.parametrize("style", ["bucket", "fixed"])
@pytest.mark.parametrize(("requests", "tokens"), [(40, 61_000), (400, 6_100), (400, 100)])
def test_learned_limits_cost_at_most_three_percent_of_time_and_no_refusal(
    style: str, requests: int, tokens: int
) -> None:
    """The headers of the first answers say all that is needed."""
    rpm, tpm = 120, 1_220_000

    async def work(clock: Clock) -> tuple[float, Server]:
        one, server = governor(clock), Server(clock, rpm, tpm, style)
        await asyncio.gather(*(deliver(one, server, clock, tokens) for _ in range(requests)))
        return clock(), server

    took, server = run_virtually(work)
    share = max(requests / rpm, requests * tokens / tpm)
    least = 60 * (share - 1) if style == "bucket" else 60 * (-(-share // 1) - 1)
    assert took <= 1.03 * least + 0.6
    assert server.refused == 0
    assert server.accepted == requests


def test_limits_that_are_halved_during_a_run_are_followed() -> None:
    """An account that is moved to a lower tier in mid run."""

    async def work(clock: Clock) -> tuple[float, Server]:
        one, server = governor(clock), Server(clock, 600, 10_000_000)

        async def halve() -> None:
            await asyncio.sleep(120)
            server.limits["requests"] = 300.0

        halving = asyncio.ensure_future(halve())
        await asyncio.gather(*(deliver(one, server, clock, 10) for _ in range(3_000)))
        await halving
        return clock(), server

    took, server = run_virtually(work)
    # 600 at once and 10 a second for 120 s make 1800; then 300 too many are counted, which takes
    # 60 s to forget at 5 a second, as do the other 1200.
    assert took <= 1.03 * (120 + 60 + 1_200 / 5)
    assert server.refused <= 30  # 1 %


@pytest.mark.parametrize(("programs", "refused"), [(2, 0.0), (3, 0.02), (5, 0.06)])
def test_programs_that_share_a_limit_do_not_fight(programs: int, refused: float) -> None:
    """#92: each leaves in the bucket what the others may take before its request arrives."""
    count = 1_500

    async def work(clock: Clock) -> tuple[list[float], Server]:
        server = Server(clock, 600, 10_000_000)
        ends = [0.0] * programs
        each = [governor(clock) for _ in ends]

        async def go(i: int) -> None:
            await deliver(each[i % programs], server, clock, 10)
            ends[i % programs] = clock()

        await asyncio.gather(*(go(i) for i in range(count)))
        return ends, server

    ends, server = run_virtually(work)
    assert max(ends) <= 1.05 * (count - 600) / 10
    assert min(ends) >= 0.6 * max(ends)  # none had to wait until the others were done
    assert server.refused <= refused * count


def test_a_hint_holds_every_request_for_as_long_and_no_longer() -> None:
    """#79"""

    async def work(clock: Clock) -> list[float]:
        one = governor(clock)
        ticket = await one.admit(1)
        one.throttled(ticket, SILENT, 2.0)
        one.release(ticket)
        return await asyncio.gather(*(send(one, clock, 1) for _ in range(3)))

    left = run_virtually(work)
    assert 2.0 <= min(left) <= 2.3


def test_one_burst_of_refusals_is_one_lesson() -> None:
    """Four refusals of requests that were sent together must not make four pauses."""

    async def work(clock: Clock) -> float:
        one = governor(clock)
        tickets = [await one.admit(1) for _ in range(4)]
        delays = [one.throttled(ticket, SILENT, None) for ticket in tickets]
        for ticket in tickets:
            one.release(ticket)
        await send(one, clock, 1)
        assert max(delays) <= 2.0
        return clock()

    assert run_virtually(work) <= 2.5


def test_an_endpoint_that_only_throttles_is_asked_less_and_less() -> None:
    """#94"""

    async def work(clock: Clock) -> int:
        one, asked = governor(clock, concurrency=64), 0

        async def ask() -> None:
            nonlocal asked
            while not one.exhausted():
                ticket = await one.admit(1)
                asked += 1
                await asyncio.sleep(0.1)
                one.throttled(ticket, SILENT, None)
                one.release(ticket)

        await asyncio.gather(*(ask() for _ in range(8)))
        assert clock() >= 900
        return asked

    assert 15 < run_virtually(work) < 60


def test_one_request_probes_a_dead_endpoint_and_few_follow_its_return() -> None:
    """#2"""

    async def work(clock: Clock) -> list[tuple[float, bool, int]]:
        one, log = governor(clock), list[tuple[float, bool, int]]()

        async def go() -> None:
            attempt = 0
            while True:
                ticket = await one.admit(1)
                under_way = one.under_way
                await asyncio.sleep(0.1)
                dead = 10 <= clock() < 70
                log.append((clock(), dead, under_way))
                attempt += 1
                if not dead:
                    one.succeeded(ticket, SILENT, estimate=1, actual=1, seconds=0.1)
                    one.release(ticket)
                    return
                one.failed(ticket, cost=0)
                one.release(ticket)
                await asyncio.sleep(one.backoff(attempt, base=0.25, cap=15))

        await asyncio.gather(*(go() for _ in range(3_000)))
        return log

    log = run_virtually(work)
    dead = [entry for entry in log if entry[1]]
    assert len(dead) <= 16 + 10  # what was under way, and a few probes
    back = [entry for entry in log if entry[0] >= 70]
    assert back[0][0] <= 100
    assert [under_way for _, _, under_way in back[:1]] == [1]
    assert max(under_way for t, _, under_way in back if t < back[0][0] + 0.25) <= 8


def test_concurrency_doubles_each_round_until_the_endpoint_objects() -> None:
    """Eight, sixteen; and a third less after a 429."""

    async def work(clock: Clock) -> tuple[int, int]:
        one, most = governor(clock, concurrency=16), 0

        async def go() -> None:
            nonlocal most
            ticket = await one.admit(1)
            most = max(most, one.under_way)
            await asyncio.sleep(0.2)
            one.succeeded(ticket, SILENT, estimate=1, actual=1, seconds=0.2)
            one.release(ticket)

        await asyncio.gather(*(go() for _ in range(24)))
        rounds = round(clock() / 0.2)
        tickets = [await one.admit(1) for _ in range(16)]
        one.throttled(tickets[0], SILENT, 0.01)
        for ticket in tickets:
            one.release(ticket)
        await asyncio.sleep(1)
        after = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while await one.admit(1):
                    after += 1
        assert most == 16
        return rounds, after

    rounds, after = run_virtually(work)
    assert rounds == 2  # 8 + 16
    assert after == 11  # 16 * 0.7


def test_trouble_is_counted_from_its_beginning_not_from_the_last_success() -> None:
    """A long quiet time before a failure is no part of it."""

    async def work(clock: Clock) -> None:
        one = governor(clock, give_up_after=900)
        await send(one, clock, 1)
        await asyncio.sleep(36_000)  # `tail -f` of a quiet file
        ticket = await one.admit(1)
        one.failed(ticket, cost=1)
        one.release(ticket)
        assert not one.exhausted()
        await asyncio.sleep(901)
        assert one.exhausted()

    run_virtually(work)


def test_a_waiter_that_is_cancelled_leaves_the_queue() -> None:
    """The next one has its turn."""

    async def work(clock: Clock) -> None:
        one = governor(clock, concurrency=1)
        held = await one.admit(1)
        waiting = asyncio.ensure_future(one.admit(1))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        one.release(held)
        async with asyncio.timeout(1):
            await one.admit(1)

    run_virtually(work)


@pytest.mark.parametrize("used", ["remaining_tokens", "remaining_requests"])
def test_nothing_left_and_no_limit_named_means_waiting_for_the_reset(used: str) -> None:
    """#86"""
    reset = used.replace("remaining", "reset")

    async def work(clock: Clock) -> float:
        one = governor(clock)
        await send(one, clock, 1, rates=Rates(**{used: 0, reset: 3.0}))
        return await send(one, clock, 1)

    assert run_virtually(work) >= 3.0


def test_concurrency_falls_to_what_a_slow_server_can_work_on() -> None:
    """One that answers one after the other is not made to keep sixteen waiting."""

    async def work(clock: Clock) -> tuple[float, list[int]]:
        one, machine, under_way = governor(clock), asyncio.Lock(), list[int]()

        async def go() -> None:
            ticket = await one.admit(100)
            left = clock()
            async with machine:
                await asyncio.sleep(0.4)
            under_way.append(one.under_way)
            one.succeeded(ticket, SILENT, estimate=100, actual=100, seconds=clock() - left)
            one.release(ticket)

        await asyncio.gather(*(go() for _ in range(400)))
        return clock(), under_way

    took, under_way = run_virtually(work)
    assert took == pytest.approx(160)
    assert max(under_way) > 8
    assert all(2 <= count <= 8 for count in under_way[200:390])


def test_concurrency_stays_where_all_answers_but_small_ones_are_slow() -> None:
    """Slow answers are no queue, and a small request is no measure of large ones."""

    async def work(clock: Clock) -> float:
        one = governor(clock)

        async def go(i: int) -> None:
            small = i % 50 == 7
            ticket = await one.admit(1 if small else 1_000)
            seconds = 0.05 if small else 3.0
            await asyncio.sleep(seconds)
            one.succeeded(
                ticket, SILENT, estimate=1 if small else 1_000, actual=None, seconds=seconds
            )
            one.release(ticket)

        await asyncio.gather(*(go(i) for i in range(400)))
        return clock()

    assert run_virtually(work) <= 1.1 * (400 / 16) * 3.0


def test_a_pause_without_a_hint_doubles_from_a_second_to_a_minute() -> None:
    """#84: half of each is random, above its floor."""

    async def work(clock: Clock, chance: float) -> list[float]:
        one, delays = Governor(clock=clock, randomness=lambda: chance), list[float]()
        for _ in range(8):
            ticket = await one.admit(1)
            delays.append(one.throttled(ticket, SILENT, None))
            one.release(ticket)
        return delays

    least = run_virtually(lambda clock: work(clock, 0.0))
    most = run_virtually(lambda clock: work(clock, 1.0))
    assert least == [1, 2, 4, 8, 16, 30, 30, 30]
    assert most == [2, 4, 8, 16, 32, 60, 60, 60]


def test_what_an_endpoint_says_is_left_never_lifts_the_users_limit() -> None:
    """#87: remaining is a billion, the limit too."""
    lies = Rates(10**9, 10**9, 10**9, 10**9, 0.0, 0.0)

    async def work(clock: Clock) -> list[float]:
        one = governor(clock, rpm=30)
        return await asyncio.gather(*(send(one, clock, 1, rates=lies) for _ in range(90)))

    left = run_virtually(work)
    assert most_in_a_minute([(at, 1) for at in left]) == 30


async def ramped(
    one: Governor, clock: Clock, allowed: Callable[[list[float]], bool], count: int
) -> tuple[list[float], int]:
    """Send `count` requests to an endpoint that refuses those it does not allow; no headers."""
    accepted, refused = list[float](), 0

    async def go() -> None:
        nonlocal refused
        while True:
            ticket = await one.admit(1)
            await asyncio.sleep(0.05)
            if allowed(accepted):
                accepted.append(clock())
                await asyncio.sleep(0.15)
                one.succeeded(ticket, SILENT, estimate=1, actual=1, seconds=0.2)
                one.release(ticket)
                return
            refused += 1
            one.throttled(ticket, SILENT, None)
            one.release(ticket)

    await asyncio.gather(*(go() for _ in range(count)))
    return accepted, refused


def test_requests_are_spread_where_an_endpoint_counts_by_the_second() -> None:
    """#95: 540 a minute, the user's limit, where more than 10 in a second are refused."""

    async def work(clock: Clock) -> tuple[list[float], int]:
        def allowed(accepted: list[float]) -> bool:
            return sum(at > clock() - 1 for at in accepted) < 10

        return await ramped(governor(clock, rpm=540), clock, allowed, 1_000)

    accepted, refused = run_virtually(work)
    assert refused <= 16  # those of the first burst
    assert accepted[-1] <= 1.25 * 1_000 / 9


def test_an_endpoint_that_says_slow_down_to_a_ramp_is_followed() -> None:
    """#93: 429 where more leave in ten seconds than twice what left in the ten before."""

    async def work(clock: Clock) -> tuple[list[float], int]:
        def allowed(accepted: list[float]) -> bool:
            now = clock()
            lately = sum(at > now - 10 for at in accepted)
            before = sum(now - 20 < at <= now - 10 for at in accepted)
            return lately < max(100, 2 * before)

        return await ramped(governor(clock), clock, allowed, 2_000)

    accepted, refused = run_virtually(work)
    assert refused <= 0.07 * 2_000
    assert accepted[-1] <= 150


def test_requests_that_waited_for_a_pause_are_not_sent_all_at_once() -> None:
    """#96: once limits are known, no second has more than its share of the minute."""

    async def work(clock: Clock) -> list[float]:
        one = governor(clock, concurrency=64)
        said = Rates(600, 10**7, 500, 10**7, 10.0, 0.0)
        await send(one, clock, 1, rates=said)
        ticket = await one.admit(1)
        one.throttled(ticket, SILENT, 5.0)
        one.release(ticket)
        paused = clock()

        async def go() -> float:
            ticket = await one.admit(1)
            left = clock()
            await asyncio.sleep(3)
            one.release(ticket)
            return left - paused

        return await asyncio.gather(*(go() for _ in range(64)))

    left = run_virtually(work)
    assert min(left) >= 5.0
    assert max(sum(start <= at < start + 1 for at in left) for start in left) <= 11


def test_hours_of_sleep_give_no_hours_of_credit() -> None:
    """#97 #98: only a clock that never jumps is asked, and what a bucket holds has an end."""

    async def work(clock: Clock) -> tuple[list[float], list[float]]:
        own, server = governor(clock, rpm=30), Server(clock, 30, 10**7)
        both = []
        for one in (own, governor(clock)):
            for _ in range(3):
                await deliver(one, server, clock, 1)
            await asyncio.sleep(8 * 3600)
            both.append(await asyncio.gather(*(send(one, clock, 1) for _ in range(45))))
        return both[0], both[1]

    for left in run_virtually(work):
        assert sum(at < left[0] + 1 for at in left) <= 30
    assert Governor()._clock is time.monotonic


@pytest.mark.parametrize("tokens", [10_000, 90_000])
def test_a_long_wait_is_reported_when_it_begins_and_not_again(tokens: int) -> None:
    """#206: with the seconds that it will probably take."""
    said = Rates(600, 100_000, 599, 0, 0.1, 60.0)

    async def work(clock: Clock) -> tuple[list[float], float]:
        one, held = governor(clock), list[float]()
        one.on_hold = held.append
        await send(one, clock, 100_000, rates=said)
        await asyncio.sleep(2)
        began = clock()
        return held, await send(one, clock, tokens) - began

    held, took = run_virtually(work)
    assert held == [pytest.approx(took, abs=0.01)]


def test_a_wait_that_becomes_long_bit_by_bit_is_reported_each_second() -> None:
    """#206: another process holds the turn, and nobody knows for how long."""

    class Behind(ProcessAdmission):
        def request(self, now: float, tokens: int) -> Ticket | float:
            return 0.02 if now < 5 else super().request(now, tokens)

    async def work(clock: Clock) -> list[float]:
        one, held = governor(clock, admission=Behind()), list[float]()
        one.on_hold = lambda _seconds: held.append(clock())
        await one.admit(1)
        return held

    assert [round(at) for at in run_virtually(work)] == [1, 2, 3, 4]
