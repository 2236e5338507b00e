"""The adapters of one model: each read once, and switched between videos without loading anything again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch

from piying.adapters import file
from piying.adapters.adapter import Adapter
from piying.adapters.attach import Fitted, attached, check, fingerprint, fit, linears
from piying.adapters.merge import Merged, merge
from piying.adapters.store import Found
from piying.errors import PiyingError
from piying.models.transformer import Transformer

Use = tuple[str, float]  # the SHA-256 of an adapter's file, and its strength


class Rack:
    """Adapters by the SHA-256 of their files. Outside `on` none is on, but what is merged stays until it changes."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._adapters: dict[str, Adapter] = {}
        self._fitted: dict[str, Fitted] = {}
        self._merged: tuple[Sequence[Use], Merged] | None = None

    def take(self, found: Found) -> Adapter:
        """Reads an adapter where it is new. Raises PiyingError where it is broken or made for another model."""
        if found.sha256 not in self._adapters:
            adapter = file.read(found.path)
            try:
                check(self._transformer, adapter)
            except PiyingError as error:
                raise PiyingError(f"{found.path}: {error}") from error
            self._adapters[found.sha256] = adapter
        return self._adapters[found.sha256]

    @cached_property
    def base_sha256(self) -> str | None:
        """The fingerprint of the transformer without adapters; quantised weights do not tell it."""
        self._unmerge()
        if any(layer.weight_scale is not None for layer in linears(self._transformer).values()):
            return None
        return fingerprint(self._transformer)

    def sizes(self, uses: Sequence[Use]) -> tuple[int, int]:
        """Bytes that live adapters take on the device with these on, and those that they take now."""
        itemsize = self._transformer.proj_out.weight.itemsize
        held, now = (
            sum(self._adapters[sha256].nbytes(itemsize) for sha256 in some) for some in (self._held(uses), self._fitted)
        )
        return held, now

    @contextmanager
    def on(self, uses: Sequence[Use], *, merged: bool = False) -> Iterator[None]:
        """Exactly these are on inside; taken before. Merged ones are folded into the weights, exactly undone later."""
        wanted = tuple(uses) if merged else ()
        if self._merged and self._merged[0] != wanted:
            self._unmerge()
        if wanted and not self._merged:
            pairs = [(self._adapters[sha256], strength) for sha256, strength in wanted]
            self._merged = wanted, merge(self._transformer, pairs)
        live = () if merged else uses
        for sha256 in self._fitted.keys() - self._held(live):
            del self._fitted[sha256]
        with attached(self._transformer, *(self._live(use) for use in live)):
            yield

    def _held(self, uses: Sequence[Use]) -> set[str]:
        """What lies on the device with these on: a new one takes the place of those that are off."""
        wanted = {sha256 for sha256, _ in uses}
        return wanted if wanted - self._fitted.keys() else set(self._fitted)

    def _live(self, use: Use) -> Fitted:
        sha256, strength = use
        if sha256 not in self._fitted:
            with torch.inference_mode(False):  # what is made in that mode can be used in it alone
                self._fitted[sha256] = fit(self._transformer, self._adapters[sha256])
        self._fitted[sha256].strengthen(strength)
        return self._fitted[sha256]

    def _unmerge(self) -> None:
        if self._merged:
            self._merged[1].undo()
            self._merged = None
