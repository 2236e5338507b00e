"""Stage two: the text encoder, by the facts that a caption tells. The heads that ask for them are thrown away."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from piying.models import initial
from piying.models.text import TextEncoder, Tokenizer
from piying.parallel import ranks
from piying.theatre import scene
from piying.theatre.captions import Language, caption
from piying.train.loop import Facts
from piying.train.loss import fact_error
from piying.train.nano.ahead import ahead, send, tokenizer_of
from piying.train.nano.recipe import Recipe
from piying.train.seeds import draw_at, rank_key, training_scene, validation_scene
from piying.train.stage import Run, Stage, finished, perform

NAME = "text"
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_ACTOR = {"subject": scene.SUBJECTS, "colour": scene.COLOURS, "size": scene.SIZES, "motion": scene.MOTIONS}
QUESTIONS: dict[str, tuple[str, ...]] = {
    **_ACTOR,
    **{f"{fact}2": values for fact, values in _ACTOR.items()},
    "backdrop": scene.BACKDROPS,
    "camera": scene.CAMERAS,
    "weather": scene.WEATHERS,
    "light": scene.LIGHTS,
    "style": scene.STYLES,
}


class Reader(nn.Module):
    """The encoder, and for each question a glance over its states and an answer; the first answer is "not told"."""

    def __init__(self, text: TextEncoder, seed: int) -> None:
        super().__init__()
        width, dice = text.config.width, torch.Generator().manual_seed(seed)
        self.text = text
        self.queries = nn.Parameter(torch.randn(len(QUESTIONS), width, generator=dice) / width**0.5)
        self.answers = nn.ModuleList(nn.Linear(width, 1 + len(values)) for values in QUESTIONS.values())
        for parameter in self.answers.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """tokens [B L] -> logits [B classes] of each question."""
        states = self.text(tokens)
        glance = (states @ self.queries.T).softmax(1)  # [B L Q]
        pooled = torch.einsum("blq,bld->qbd", glance, states)
        return [answer(state) for answer, state in zip(self.answers, pooled, strict=True)]


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


def train_text(run: Run[Recipe], tokenizer: Tokenizer) -> TextEncoder | None:
    """The trained encoder; None where the clock ended the run before."""
    recipe, part = run.recipe, run.recipe.text
    untrained = Reader(initial.text(recipe.model.text, recipe.seed), recipe.seed)
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
    return trained.text if trained else None


def tell(scenes: list[scene.Scene], vocabulary: str, length: int, *key: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [B L] and facts [B Q] of a caption of each scene, English and Chinese in turn."""
    rng = draw_at(NAME, *key)
    captions = [caption(shown, LANGUAGES[i % 2], rng) for i, shown in enumerate(scenes)]
    facts = [[_answer(said.told, question) for question in QUESTIONS] for said in captions]
    return tokenizer_of(vocabulary)([said.text for said in captions], length).numpy(), np.array(facts)


def _answer(told: dict[str, str], question: str) -> int:
    return 1 + QUESTIONS[question].index(told[question]) if question in told else 0


def read(model: nn.Module, batch: Told) -> tuple[Tensor, Facts]:
    """The loss of a batch."""
    return fact_error(model(batch.tokens), batch.facts)


@torch.no_grad()
def check(model: Reader, held_out: Told) -> dict[str, float]:
    """The share of right answers, over all questions and of the worst one."""
    loss, facts = read(model, held_out)
    return {"loss": loss.item(), "right": facts["right"].item(), "worst": facts["worst"].item()}
