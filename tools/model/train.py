"""Distil the teacher into a table over tokens: start from its token vectors, train on sentences.

Start: PCA of the strings' vectors, each row weighted by a/(a+p) (Arora et al. 2017, "A Simple but
Tough-to-Beat Baseline for Sentence Embeddings"), p by Zipf's law over the tokens' ranks. Training:
the table's matrix of cosine similarities within a batch is to equal the teacher's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

SIF_A = 1e-4
MISSING_NORM = 0.1  # of the median norm: a token without a row says little, but not nothing


@dataclass(frozen=True)
class Settings:
    """How the table is trained."""

    dimensions: int = 256
    epochs: int = 8
    batch: int = 512
    neighbours: int = 8  # consecutive WordNet texts kept together: hard pairs, not only random ones
    learning_rate: float = 1e-3
    seed: int = 7


def start(strings: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Give the table's start: float32 (len(strings), dimensions)."""
    centred = strings - strings.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    table = centred @ axes[:, ::-1][:, :dimensions]
    probability = 1 / np.arange(1, len(strings) + 1)
    probability /= probability.sum()
    weighted: NDArray[np.float32] = (table * (SIF_A / (SIF_A + probability))[:, None]).astype("f4")
    return weighted


class Bags:
    """Sentences as flat token rows with offsets, as EmbeddingBag takes them."""

    def __init__(self, sentences: list[list[int]]) -> None:
        self.lengths = np.array([len(one) for one in sentences])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.flat = np.array([row for one in sentences for row in one], np.int64)

    def take(self, chosen: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the flat rows and offsets of the chosen sentences."""
        rows = np.concatenate([self.flat[self.starts[i] : self.starts[i + 1]] for i in chosen])
        offsets = np.concatenate([[0], np.cumsum(self.lengths[chosen])[:-1]])
        return torch.from_numpy(rows), torch.from_numpy(offsets)


def loss_of(
    table: torch.Tensor, bags: Bags, goal: torch.Tensor, chosen: NDArray[np.int64]
) -> torch.Tensor:
    """Give the mean square difference of the two cosine matrices over the chosen sentences."""
    rows, offsets = bags.take(chosen)
    vectors = torch.nn.functional.embedding_bag(rows, table, offsets, mode="mean")
    vectors = torch.nn.functional.normalize(vectors)
    wanted = goal[torch.from_numpy(chosen)]
    return ((vectors @ vectors.T - wanted @ wanted.T) ** 2).mean()


def batches(count: int, settings: Settings, random: np.random.Generator) -> list[NDArray[np.int64]]:
    """Give one epoch's batches: runs of neighbours, shuffled as runs."""
    runs = np.array_split(np.arange(count), max(1, count // settings.neighbours))
    order = np.concatenate([runs[i] for i in random.permutation(len(runs))])
    return [
        order[i : i + settings.batch] for i in range(0, count - settings.batch // 2, settings.batch)
    ]


def train(
    table: NDArray[np.float32],
    fixed: NDArray[np.float32],
    sentences: list[list[int]],
    teacher: NDArray[np.float32],
    settings: Settings,
) -> NDArray[np.float32]:
    """Give the trained table. `fixed` are the rows of tokens without one; they do not learn."""
    torch.manual_seed(settings.seed)
    random = np.random.default_rng(settings.seed)
    held = np.zeros(len(sentences), bool)
    held_runs = random.choice(len(sentences) // settings.batch, 6, replace=False)
    for run in held_runs:
        held[run * settings.batch : (run + 1) * settings.batch] = True
    goal = torch.from_numpy(teacher)
    bags = Bags(sentences)
    learnt = torch.nn.Parameter(torch.from_numpy(table.copy()))
    unchanging = torch.from_numpy(fixed)
    optimiser = torch.optim.Adam([learnt], lr=settings.learning_rate)
    used = np.flatnonzero(~held)
    steps = settings.epochs * len(batches(len(used), settings, np.random.default_rng(0)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: max(0.05, 1 - step / steps)
    )
    kept = np.flatnonzero(held)
    for epoch in range(settings.epochs):
        total = 0.0
        epoch_batches = batches(len(used), settings, random)
        for chosen in epoch_batches:
            loss = loss_of(torch.cat([learnt, unchanging]), bags, goal, used[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        with torch.no_grad():
            both = torch.cat([learnt, unchanging])
            unseen = np.mean(
                [loss_of(both, bags, goal, part).item() for part in kept.reshape(6, -1)]
            )
        print(
            f"epoch {epoch + 1}: loss {total / len(epoch_batches):.5f}, held out {unseen:.5f}",
            flush=True,
        )
    result: NDArray[np.float32] = learnt.detach().numpy()
    return result
