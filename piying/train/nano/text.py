"""Stage two: the text encoder, by the facts that a caption tells. The heads that ask for them are thrown away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying.models.text import TextEncoder, Tokenizer
from piying.parallel import ranks
from piying.theatre import scene
from piying.theatre.captions import Language, caption
from piying.theatre.facts import cast
from piying.train.loop import Facts
from piying.train.loss import fact_error
from piying.train.nano.ahead import ahead, send, tokenizer_of
from piying.train.nano.recipe import Recipe
from piying.train.nano.tokenizer import unheard
from piying.train.seeds import draw_at, rank_key, training_scene, validation_scene
from piying.train.stage import Run, Stage, finished, perform

NAME = "text"
LANGUAGES: tuple[Language, ...] = ("en", "zh")

APART = 4.0  # times as long as a fresh one is the embedding of a token that training never shows
ANYONE = "anyone"  # who is told of without a name
ACTORS: tuple[str, ...] = (*scene.SUBJECTS, ANYONE)
SCENE: dict[str, tuple[str, ...]] = {
    "backdrop": scene.BACKDROPS,
    "camera": scene.CAMERAS,
    "weather": scene.WEATHERS,
    "light": scene.LIGHTS,
    "style": scene.STYLES,
}
ACTOR: dict[str, tuple[str, ...]] = {
    "subject": ("there",),
    "colour": scene.COLOURS,
    "size": scene.SIZES,
    "motion": scene.MOTIONS,
}


class Reader(nn.Module):
    """The encoder, a glance over its states for each fact of the scene and for each actor, and answers.

    What a caption tells of an actor is asked of the one glance that finds this actor, so that the states bring together
    what belongs together: who only hears that there is a red and a blue one, a boat and a cat, may swap them.
    The first answer to a question is "not told".
    """

    def __init__(self, text: TextEncoder, seed: int) -> None:
        super().__init__()
        width, dice = text.config.width, torch.Generator().manual_seed(seed)
        self.text = text
        self.queries = nn.Parameter(torch.randn(len(SCENE) + len(ACTORS), width, generator=dice) / width**0.5)
        self.scene = nn.ModuleList(nn.Linear(width, 1 + len(values)) for values in SCENE.values())
        self.actor = nn.ModuleList(nn.Linear(width, 1 + len(values)) for values in ACTOR.values())
        for parameter in (*self.scene.parameters(), *self.actor.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """tokens [B L] -> logits [1 B classes] of each fact of the scene, [actors B classes] of each of an actor."""
        states = self.text(tokens)
        glance = (states @ self.queries.T).softmax(1)  # [B L Q]
        pooled = torch.einsum("blq,bld->qbd", glance, states)
        scene, actors = pooled.split([len(SCENE), len(ACTORS)])
        told = [answer(state) for answer, state in zip(self.scene, scene[:, None], strict=True)]
        return told + [answer(actors) for answer in self.actor]


class Told(NamedTuple):
    """A batch: captions and what they tell."""

    tokens: Tensor  # [B L]
    facts: Tensor  # [B Q], 0 not told


@dataclass(frozen=True)
class Telling:
    """Step -> tokens [B L] and facts [B Q] of this rank's captions: the part that wants a CPU and no weights."""

    recipe: Recipe
    vocabulary: str  # the content of a tokenizer.json
    rank: int
    ranks: int

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        seed, batch, length = self.recipe.seed, self.recipe.text.batch, self.recipe.model.transformer.text_tokens
        scenes = [training_scene(seed, step * batch + i) for i in range(self.rank, batch, self.ranks)]
        return tell(scenes, self.vocabulary, length, seed, step, *rank_key(self.rank))


def train_text(run: Run[Recipe], tokenizer: Tokenizer, text: TextEncoder) -> TextEncoder | None:
    """The encoder, trained; None where the clock ended the run before."""
    recipe, part = run.recipe, run.recipe.text
    untrained = Reader(text.requires_grad_(True), recipe.seed)
    trained = finished(NAME, untrained, part.steps, run)
    if trained is None:
        vocabulary, length = tokenizer.files["tokenizer.json"].decode(), recipe.model.transformer.text_tokens
        shown = [validation_scene(i) for i in range(recipe.validation)]
        held_out = send(tell(shown, vocabulary, length, "validation"), run.device)
        telling = ahead(Telling(recipe, vocabulary, ranks.rank(), ranks.count()), part.steps, run.device)
        stage = Stage(
            NAME,
            untrained,
            part.optimizer,
            part.steps,
            lambda step: Told(*send(telling(step), run.device)),
            lambda step: part.batch,
            read,
            lambda model: check(model, Told(*held_out)),
        )
        trained = perform(stage, run)
    if trained is None:
        return None
    set_apart(trained.text, unheard(tokenizer.files["tokenizer.json"].decode()))
    return trained.text


@torch.no_grad()
def set_apart(text: TextEncoder, tokens: Sequence[int]) -> None:
    """Lengthens the embeddings of tokens that no caption had, so that a fine-tuning can tell new names apart.

    The layers bring out what they were trained on: states of unheard names differ a third as much as those of words,
    and an adapter would learn the looks of nine puppets without ever learning which is whose. A layer's input is
    normalised, so that a long embedding is not louder there; it outlasts what the layers add. These add also who does
    what, though: where a name drowns that, two of them wear each other's robes.
    """
    table, rows = text.embedding.weight, list(tokens)
    fresh = table.shape[1] ** 0.5  # the length of a row of initial.text
    table[rows] = APART * fresh * F.normalize(table[rows], dim=-1)


def tell(scenes: list[scene.Scene], vocabulary: str, length: int, *key: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [B L] and facts [B Q] of a caption of each scene, English and Chinese in turn."""
    rng = draw_at(NAME, *key)
    captions = [caption(shown, LANGUAGES[i % 2], rng) for i, shown in enumerate(scenes)]
    facts = np.array([answers(said.told) for said in captions])
    return tokenizer_of(vocabulary)([said.text for said in captions], length).numpy(), facts


def answers(told: dict[str, str]) -> list[int]:
    """The answer to each question, 0 where it is not told, in the order of the reader's logits."""
    by_actor: dict[str, dict[str, str]] = {}
    for ending in cast(told):
        own = {key: told[key + ending] for key in ACTOR if key + ending in told}
        by_actor[own.get("subject", ANYONE)] = own | {"subject": "there"}
    return [_place(values, told.get(key)) for key, values in SCENE.items()] + [
        _place(values, by_actor.get(actor, {}).get(key)) for key, values in ACTOR.items() for actor in ACTORS
    ]


def _place(values: tuple[str, ...], value: str | None) -> int:
    return 0 if value is None else 1 + values.index(value)


def read(model: nn.Module, batch: Told) -> tuple[Tensor, Facts]:
    """The loss of a batch."""
    return fact_error(model(batch.tokens), batch.facts)


@torch.no_grad()
def check(model: Reader, held_out: Told) -> dict[str, float]:
    """The loss, and the share of right answers to what is told and to what is not."""
    loss, facts = read(model, held_out)
    return {"loss": loss.item(), "told": facts["told"].item(), "untold": facts["untold"].item()}
