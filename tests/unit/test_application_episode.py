"""Episodes of an agent, without its courier: what leaves, when, and with which rewards; what is refused."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any, cast

import numpy as np
import pytest

from rljob.algorithms.acting_group import ActingGroup
from rljob.algorithms.base import Algorithm
from rljob.application.core import AgentCore
from rljob.application.episode import Episode
from rljob.application.policies import Policies
from rljob.application.values import ValueReader
from rljob.checkpoints import policy
from rljob.envs.declared import DeclaredSpaces
from rljob.envs.spaces import Arrays, BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError, RunError
from rljob.nets import build_acting
from rljob.spec.sections import NetworkSpec
from rljob.wire.application import FAULTS
from rljob.wire.description import ApplicationLimits
from rljob.wire.experience import ExperienceFormat
from tests.unit.segments import make_algorithm as made

LENGTH = 4
SEEN = np.zeros(3, np.float32)


class FakeLink:
    trouble, forgotten = "", False

    def forget(self) -> None:
        self.forgotten = True

    def wake(self) -> None:
        """Nobody sleeps."""


class FakeSlot:
    """Policy versions that a test publishes."""

    def __init__(self, tensors: Arrays) -> None:
        self.version, self._tensors = 0, tensors
        self.changed = True

    def publish(self) -> None:
        self.version, self.changed = self.version + 1, True

    def read(self) -> Any:
        self.changed = False
        return (5, self.version), policy.encode(self._tensors)


class Program:
    """An agent's core, and what it handed over."""

    def __init__(
        self,
        masked: bool = False,
        flush: float = 1e6,
        timeout: float = 1e6,
        algorithm: Algorithm | None = None,
        tensors: Arrays | None = None,
        hidden: tuple[int, ...] = (2,),
    ) -> None:
        if algorithm is None:
            algorithm = made(
                "PPO", DiscreteSpace(2, start=5), BoxSpace((3,)), masked, rolloutLength=LENGTH
            )
        spaces: Spaces = algorithm.spaces  # type: ignore[attr-defined]
        network = NetworkSpec(config={"hidden": hidden})
        tensors = tensors or {
            "policy/encoder.mean": np.zeros(3, np.float32),
            "policy/encoder.std": np.ones(3, np.float32),
            "policy/encoder.limit": np.array(np.inf, np.float32),
            "policy/body.trunks.policy.0.weight": np.zeros((2, 3), np.float32),
            "policy/body.trunks.policy.0.bias": np.zeros(2, np.float32),
            "policy/body.heads.logits.weight": np.zeros((2, 2), np.float32),
            "policy/body.heads.logits.bias": np.zeros(2, np.float32),
        }
        self.slot = FakeSlot(tensors)
        nets = algorithm.networks
        policies = Policies(cast(Any, self.slot), lambda: build_acting(network, nets, spaces))
        self.plan = ExperienceFormat.of(
            algorithm.data, algorithm.fields, 1, spaces, info=("score", "lost")
        )
        self.link = FakeLink()
        self.left: list[tuple[Arrays, list[Any], tuple[int, int]]] = []
        self.faults = dict.fromkeys(FAULTS, 0)
        self.core = AgentCore(
            ValueReader(
                DeclaredSpaces(
                    spaces,
                    spaces,
                    spaces.observation,
                    spaces.action,
                    (lambda mask: mask) if masked else None,
                )
            ),
            algorithm,
            policies,
            cast(Any, self),
            cast(Any, self.link),
            False,
            self.plan,
            cast(Any, self),
            ApplicationLimits(flush, timeout),
            0.5,
        )

    def count(self, fault: str, number: int = 1) -> None:
        self.faults[fault] += number

    def put(self, payload: np.ndarray, records: np.ndarray, stamp: tuple[int, int]) -> None:
        arrays = {name: array.copy() for name, array in self.plan.layout.views(payload).items()}
        self.left.append((arrays, records.tolist(), stamp))

    def episode(self) -> Episode:
        with self.core.lock:
            return Episode(self.core, self.core.take_group())

    def rewards(self) -> list[list[float]]:
        """Of the rows that count, segment by segment."""
        return [a["reward"][a["valid"]].tolist() for a, _, _ in self.left]

    @property
    def records(self) -> list[list[float]]:
        return [record[:2] for _, records, _ in self.left for record in records]


def test_an_episode_fills_segments_and_is_counted_once() -> None:
    program = Program()
    with program.episode() as episode:
        for step in range(10):
            assert episode.act(SEEN + step) in (5, 6), "as the program counts its actions"
            episode.reward(step)
            episode.reward(0.5)
    assert program.rewards() == [[0.5, 1.5, 2.5, 3.5], [4.5, 5.5, 6.5, 7.5], [8.5, 9.5]]
    assert program.records == [[50.0, 10.0]]
    first, second, last = (arrays for arrays, _, _ in program.left)
    assert (first["observation"][LENGTH] == second["observation"][0]).all()
    assert not first["truncated"].any()
    assert last["terminated"][:, 0].tolist() == [False, True, False, False]
    assert (first["log_prob"] < 0).all()
    assert {int(each) for each in first["action"].ravel()} <= {0, 1}, "stored from 0"


def test_a_record_has_the_discounted_return_and_what_the_program_tells() -> None:
    program = Program()
    episode = program.episode()
    for step in range(6):
        episode.act(SEEN)
        episode.reward(step)
    episode.end(info={"score": 7, "lost": "much", "more": 1})
    record = program.left[-1][1][0]
    assert record[:4] == [15.0, 6.0, sum(step / 2**step for step in range(6)), 7.0]
    assert math.isnan(record[4])


def test_a_truncated_episode_goes_on_from_what_it_saw_last() -> None:
    program = Program()
    episode = program.episode()
    episode.act(SEEN)
    episode.reward(1)
    with pytest.raises(InputError, match="needs final_observation"):
        episode.end(truncated=True)
    episode.end(False, True, SEEN + 9)
    arrays = program.left[0][0]
    assert arrays["truncated"][0, 0]
    assert not arrays["terminated"].any()
    assert (arrays["observation"][1] == 9).all()
    assert program.records == [[1.0, 1.0]]


def test_a_block_that_is_left_by_an_exception_forgets_the_last_decision() -> None:
    program = Program()
    episode = program.episode()
    for step in range(3):
        episode.act(SEEN + step)
        episode.reward(step)
    with pytest.raises(ZeroDivisionError), episode:
        _ = 1 / 0
    arrays = program.left[0][0]
    assert arrays["valid"].sum() == 2
    assert (arrays["observation"][2] == 2).all(), "which shows what followed the second"
    assert arrays["truncated"][1, 0]
    assert program.records == []


def test_an_episode_of_which_nothing_is_known_sends_nothing() -> None:
    program = Program()
    episode = program.episode()
    episode.act(SEEN)
    episode.abandon()
    with program.episode():
        pass
    assert program.left == []


def test_late_rewards_are_waited_for_in_order() -> None:
    program = Program()
    episode = program.episode()
    decisions = [episode.decide(SEEN) for _ in range(6)]
    for decision in decisions[:3]:
        decision.reward(1)
    assert program.left == []
    decisions[4].reward(2)
    decisions[5].reward(3)
    episode.end()
    assert program.left == [], "the second segment waits for the first"
    decisions[3].reward(4)
    assert program.rewards() == [[1, 1, 1, 4], [2, 3]]
    assert program.records == [[12.0, 6.0]]


def test_rewards_add_up_until_the_decision_has_left() -> None:
    program = Program()
    episode = program.episode()
    decision = episode.decide(SEEN)
    decision.reward(1)
    decision.reward(2)
    episode.end()
    with pytest.raises(InputError, match="has left"):
        decision.reward(4)
    assert program.rewards() == [[3]]
    assert program.faults["late_reward"] == 1
    # The memory is used again: the old decision must not reach the new one.
    again = program.episode()
    again.decide(SEEN)
    with pytest.raises(InputError, match="has left"):
        decision.reward(4)


def test_rewards_that_do_not_come_count_as_nothing() -> None:
    program = Program(timeout=0.05)
    episode = program.episode()
    decision, other = episode.decide(SEEN), episode.decide(SEEN)
    other.reward(2)
    episode.end()
    assert program.left == []
    time.sleep(0.06)
    program.core.look()
    assert program.rewards() == [[0, 2]]
    assert program.faults["no_reward"] == 1
    with pytest.raises(InputError, match="has left"):
        decision.reward(1)


def test_an_old_segment_leaves_before_it_is_full() -> None:
    program = Program(flush=0.01)
    episode = program.episode()
    for step in range(3):
        episode.act(SEEN + step)
        time.sleep(0.02)
    assert [arrays["valid"].sum() for arrays, _, _ in program.left] == [1, 1]
    assert [arrays["truncated"][0, 0] for arrays, _, _ in program.left] == [True, True]
    assert (program.left[0][0]["observation"][1] == 1).all()


def test_a_segment_has_one_version_and_no_more_than_two_are_in_use() -> None:
    program = Program()
    slow, fast = program.episode(), program.episode()
    slow.act(SEEN)
    program.slot.publish()
    fast.act(SEEN)
    slow.act(SEEN)
    assert program.left == [], "the segment goes on with its own version"
    fast.end()
    program.slot.publish()
    other = program.episode()
    other.act(SEEN)
    slow.act(SEEN)
    assert [stamp for _, _, stamp in program.left] == [(5, 1), (5, 0)]
    assert program.left[1][0]["valid"].sum() == 2, "a third version closed it"
    slow.end()
    assert program.left[-1][2] == (5, 2)


def test_too_many_segments_without_rewards_replace_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rljob.application.core.MOST_UNREWARDED", 3)
    program = Program()
    first = program.episode()
    forgotten = first.decide(SEEN)
    first.end()
    for _ in range(3):
        with program.episode() as episode:
            episode.decide(SEEN)
    assert program.faults["evicted"] == 1
    with pytest.raises(InputError, match="has left"):
        forgotten.reward(1)


@pytest.mark.parametrize(
    ("observation", "what"),
    [
        (np.zeros(4, np.float32), r"has the shape \[4\], expected \[3\]"),
        (np.array([0, math.nan, 0], np.float32), "has nan as element 1"),
        (np.array([0, 0, math.inf]), "has inf as element 2"),
        (np.array([1e16, 0, 0]), "as element 0"),
        (np.zeros(3, complex), "has the dtype complex128"),
        ("left", "expected numbers"),
        ([[1], [2, 3]], "makes no array"),
        (None, "expected numbers"),
        ({"a": 1}, "expected numbers"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_observation_is_refused_and_nothing_else_is_disturbed(
    observation: Any, what: str
) -> None:
    program = Program()
    episode = program.episode()
    episode.act(SEEN)
    with pytest.raises(InputError, match=what):
        episode.act(observation)
    assert program.faults["invalid"] == 1
    episode.reward(1)
    episode.act([0, 1, 2])
    episode.end()
    assert program.rewards() == [[1, 0]]


@pytest.mark.parametrize("reward", [math.nan, math.inf, 1e16, "much", None, [1, 2], 1j])
def test_a_wrong_reward_is_refused(reward: Any) -> None:
    program = Program()
    episode = program.episode()
    decision = episode.decide(SEEN)
    for give in (episode.reward, decision.reward):
        with pytest.raises(InputError, match="the reward is"):
            give(reward)
    assert program.faults["invalid"] == 2
    decision.reward(np.float32(2))
    episode.end()
    assert program.rewards() == [[2]]


def test_calls_out_of_place_are_refused() -> None:
    program = Program()
    episode = program.episode()
    with pytest.raises(InputError, match="no decision to reward"):
        episode.reward(1)
    with pytest.raises(InputError, match="have no masks"):
        episode.act(SEEN, mask=[1, 1])
    episode.act(SEEN)
    with pytest.raises(InputError, match="neither terminated nor truncated"):
        episode.end(False, False)
    episode.end()
    for call in (lambda: episode.act(SEEN), lambda: episode.reward(1), episode.end):
        with pytest.raises(InputError, match="has ended"):
            call()
    assert program.faults["invalid"] == 6
    program.core.trouble = "this agent is closed"
    with pytest.raises(RunError, match="closed"):
        program.episode().act(SEEN)


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (None, "needs mask="),
        ([1], "has the shape"),
        ([0, 0], "allows no action"),
        ([2, 0], "0 and 1"),
    ],
)
def test_masks_are_checked_and_kept_to(mask: Any, what: str) -> None:
    program = Program(masked=True)
    episode = program.episode()
    with pytest.raises(InputError, match=what):
        episode.act(SEEN, mask=mask)
    assert [episode.act(SEEN, mask=[0, 1]) for _ in range(3)] == [6, 6, 6]
    episode.end()
    assert program.left[0][0]["mask"][:3, 0].tolist() == [[False, True]] * 3


def test_episodes_of_threads_and_coroutines_do_not_mix() -> None:
    program = Program()

    def play(number: int) -> None:
        with program.episode() as episode:
            for _ in range(25):
                episode.act(SEEN + number)
                episode.reward(number)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()

    async def played(number: int) -> None:
        async with program.episode() as episode:
            for _ in range(25):
                episode.act(SEEN + number)
                await asyncio.sleep(0)
                episode.reward(number)

    async def both() -> None:
        await asyncio.gather(played(5), played(6))

    asyncio.run(both())
    for thread in threads:
        thread.join()
    assert sorted(program.records) == [[25.0 * number, 25.0] for number in range(1, 7)]
    for arrays, _, _ in program.left:
        valid = arrays["valid"][:, 0]
        assert (arrays["observation"][:-1][valid, 0, 0] == arrays["reward"][valid, 0]).all()


class Fails:
    """Makes an algorithm fail when it acts, or when a segment is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.fails = False
        real = getattr(ActingGroup, method)

        def wrapped(group: ActingGroup, *arguments: Any) -> Any:
            if self.fails:
                raise ValueError(f"{method} failed")
            return real(group, *arguments)

        monkeypatch.setattr(ActingGroup, method, wrapped)


@pytest.mark.parametrize("rows", [0, 2, LENGTH])
def test_an_algorithm_that_fails_leaves_what_was_done_before(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, acts = Program(), Fails(monkeypatch, "act")
    for end in ("end", "abandon"):
        acts.fails, episode = False, program.episode()
        for _ in range(rows):
            episode.act(SEEN)
            episode.reward(1)
        acts.fails = True
        with pytest.raises(ValueError, match="act failed"):
            episode.act(SEEN)
        getattr(episode, end)()
    left = [len(rewards) for rewards in program.rewards()]
    # Given up after 2, the last decision is forgotten; a full segment had left.
    assert left == {0: [], 2: [2, 1], LENGTH: [LENGTH, LENGTH]}[rows]


def test_what_fails_without_a_call_is_told_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, finishes = Program(timeout=0.0), Fails(monkeypatch, "finish")
    episode = program.episode()
    decision = episode.decide(SEEN)
    finishes.fails = True
    with program.core.lock:
        monkeypatch.setattr(program.core, "closed", lambda _: None)
        episode.end()
        program.core.waiting[episode] = None
    program.core.look()
    with pytest.raises(RunError, match="ValueError: finish failed"):
        program.core.check_open()
    with pytest.raises(InputError, match="has left"):
        decision.reward(1)


def test_info_that_has_no_names_is_refused_and_the_episode_goes_on() -> None:
    program = Program()
    episode = program.episode()
    episode.act(SEEN)
    with pytest.raises(InputError, match=r"info is \[1\], expected numbers by their names"):
        episode.end(info=[1])  # type: ignore[arg-type]
    episode.reward(2)
    episode.end()
    assert program.rewards() == [[2]]
    assert program.faults["invalid"] == 1


def test_a_child_of_the_program_is_told_even_if_a_thread_was_at_work() -> None:
    program = Program()
    episode = program.episode()
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        with program.core.lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    held.wait(60)
    # As after a fork: the lock is held by a thread that is not there.
    program.core.forked("make one in each process")
    with pytest.raises(RunError, match="make one in each process"):
        episode.act(SEEN)
    assert program.link.forgotten
    done.set()
    thread.join()
