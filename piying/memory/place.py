"""Where the parts of a checkpoint lie while videos are made, and how that changes when memory runs out."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TypeVar, cast

import torch
from torch import nn

from piying.errors import OutOfMemory
from piying.kernels.machine import works
from piying.memory import budget
from piying.memory.budget import Budget
from piying.memory.calibration import HOST_MARGIN
from piying.memory.lend import at_hand, like, shelf, tensors_of
from piying.memory.peaks import Sizes
from piying.memory.plan import Plan, StageName, rungs, too_small
from piying.memory.stream import Stream
from piying.memory.tables import ADAPTIVE
from piying.models.text import OVERFLOWS
from piying.models.text import Block as TextBlock
from piying.models.transformer import Block
from piying.request import FullRequest
from piying.weights import Checkpoint

T = TypeVar("T")
_CPU = torch.device("cpu")


class Place:
    """Lays a checkpoint out after a plan, and more tightly each time that memory runs out.

    Without a budget nothing is planned and nothing moves. `say` is told in one line when the plan changes.
    """

    def __init__(
        self, checkpoint: Checkpoint, memory: Budget | None = None, say: Callable[[str], None] = warnings.warn
    ) -> None:
        self.checkpoint, self.say = checkpoint, say
        self.plan: Plan | None = None
        self._memory = memory
        self._sizes: Sizes | None = None
        self._caps: dict[StageName, int] = {}  # bytes that a stage was found not to have
        self._lent: dict[str, ExitStack] = {}  # whole parts on the card, as copies of those in host memory

    @property
    def vae_limit(self) -> int | None:
        """Bytes that the autoencoder may take for its work; None: as many as it likes."""
        return self.plan.vae_limit if self.plan else None

    def settle(self, requests: Sequence[FullRequest], *, adapters: int = 0, fitted: int = 0) -> None:
        """Plans for requests that are made together, and moves what lies elsewhere.

        `adapters`: bytes that theirs will take on the card, `fitted`: those that adapters take there now.

        Raises OutOfMemory where no plan fits.
        """
        if self._memory is None:
            return
        self.release()  # what a generation that was stopped left
        config, memory, device = self.checkpoint.config, self._memory, self.checkpoint.device
        if memory == "auto":
            memory = budget.card(str(device), self._on_card() + fitted)
        checkpoint = self.checkpoint
        fused = device.type == "cuda" and works(device.index or 0)
        sizes = Sizes(config, requests[0], len(requests), checkpoint.dtype, checkpoint.weights, fused, adapters)
        found = next(rungs(sizes, memory), None)
        if found is None:
            raise OutOfMemory(too_small(sizes, memory))
        self.plan, self._sizes, self._caps = found, sizes, {}
        self.fitting("denoise", lambda: self._lay(found))

    def fitting(self, stage: StageName, work: Callable[[], T]) -> T:
        """What `work` returns. Where memory runs out, the plan is lowered and `work` done anew.

        Raises what `work` raised where there is no lower plan.
        """
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not budget.ran_out(error) or (lower := self._below(stage)) is None:
                    raise
            self._go(lower, stage)  # not in the clause above, where the error holds on to all that the work had made

    def release(self) -> None:
        """Gives back what only a running stage needs on the card."""
        for module in (self.checkpoint.transformer, self.checkpoint.text):
            if isinstance(module.flow, Stream):
                module.flow.release()

    def _below(self, stage: StageName) -> Plan | None:
        """The fastest plan that needs a tenth less in a stage, else the next rung; None where there is none."""
        if self.plan is None or self._sizes is None:
            return None
        known, peak = self._caps, next(one.peak for one in self.plan.stages if one.name == stage)
        self._caps = known | {stage: int(0.9 * peak)}
        if found := next(rungs(self._sizes, self.plan.memory, caps=self._caps), None):
            return found
        self._caps = known
        lower = (plan for plan in rungs(self._sizes, self.plan.memory, caps=known) if plan.rung > self.plan.rung)
        return next(lower, None)

    def _go(self, lower: Plan, stage: StageName) -> None:
        self.say(f"memory ran out while working on {stage}: from here on {lower.told()}")
        self.plan = lower
        self.fitting("denoise", lambda: self._lay(lower))

    def _lay(self, plan: Plan) -> None:
        """Moves every part to where the plan wants it; what leaves the card goes first."""
        transformer, text = self.checkpoint.transformer, self.checkpoint.text
        text_streams, blocks_stream = plan.layout.text == "streamed", plan.layout.blocks == "streamed"
        with torch.inference_mode(False):  # what is made in that mode could be used in it alone
            self.release()
            transformer.apart = plan.layout.pair == "apart"
            if text_streams:
                self._take_back("text")
                if text.flow is None:
                    for part in (text.norm, text.distances):
                        move(part, tensors_of(part), self.checkpoint.device)
                    text.flow = Stream(
                        cast(list[TextBlock], list(text.blocks)),
                        self.checkpoint.device,
                        copies=False,
                        float32=self._float32,
                    )
            if plan.layout.vae == "fetched":
                self._take_back("vae")
            self._lay_blocks(streamed=blocks_stream)
            if not text_streams:
                self._lend("text", text)
                text.flow = None
            if plan.layout.vae == "resident":
                self._lend("vae", self.checkpoint.vae)

    def _lay_blocks(self, *, streamed: bool) -> None:
        """The blocks of the transformer on the card, or in host memory; their adaptive norms always there."""
        transformer, device = self.checkpoint.transformer, self.checkpoint.device
        blocks = cast(list[Block], list(transformer.transformer_blocks))
        if streamed and transformer.flow is None:
            copies = self._has_room_for_copies()
            for block in blocks:
                move(block, tensors_of(block) if not copies else _adaptive(block), _CPU)
            transformer.flow = Stream(blocks, device, copies=copies, left_out=ADAPTIVE)
        if not streamed:
            transformer.flow = None
            for block in blocks:
                move(block, _adaptive(block), _CPU)
                move(block, set(tensors_of(block)) - _adaptive(block), device)

    def _has_room_for_copies(self) -> bool:
        """Whether host memory takes page-locked copies of all blocks."""
        assert self._sizes
        memory = budget.host()
        return memory is None or self._sizes.blocks + HOST_MARGIN < memory["free"]

    def _lend(self, name: str, module: nn.Module) -> None:
        if name not in self._lent:
            with ExitStack() as stack:
                stack.enter_context(at_hand(module, self.checkpoint.device, self._float32))
                self._lent[name] = stack.pop_all()

    def _take_back(self, name: str) -> None:
        if lent := self._lent.pop(name, None):
            lent.close()

    @property
    def _float32(self) -> str | None:
        return OVERFLOWS if self.checkpoint.dtype == torch.float16 else None

    def _on_card(self) -> int:
        """Bytes of the model that are on its device now."""
        modules = (self.checkpoint.transformer, self.checkpoint.vae, self.checkpoint.text)
        tensors = (tensor for module in modules for tensor in tensors_of(module).values())
        return sum(tensor.nbytes for tensor in tensors if tensor.device == self.checkpoint.device)


def move(module: nn.Module, names: Iterable[str], device: torch.device) -> None:
    """Moves some parameters and buffers for good."""
    for name in names:
        place, key = shelf(module, name)
        tensor = place[key]
        if tensor is not None and tensor.device != device:
            place[key] = like(tensor, tensor.detach().to(device))


def _adaptive(block: nn.Module) -> set[str]:
    return {name for name in tensors_of(block) if name.startswith(ADAPTIVE)}
