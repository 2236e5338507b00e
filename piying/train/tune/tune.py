"""A dataset and a model become an adapter, or a model of its own: what is needed is made ready, tried, trained."""

import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch

from piying.adapters.attach import Fitted, attach, create, ends, fit
from piying.data import dataset as datasets
from piying.data.dataset import Dataset
from piying.device import bfloat16_is_fast, keep_freed, set_threads
from piying.errors import OutOfMemory, UsageError
from piying.models.transformer import Transformer
from piying.parallel import ranks
from piying.sampling.schedule import alphas
from piying.train import checkpoint, shards
from piying.train.hooks import Clock, Listener
from piying.train.loop import MIXED, Descent, State
from piying.train.optimizer import Optimizer
from piying.train.recipe import OptimizerRecipe
from piying.train.stage import Run, Stage, perform, silent
from piying.train.tune import savings
from piying.train.tune.adam import Adam
from piying.train.tune.board import board
from piying.train.tune.cache import mark_of
from piying.train.tune.frozen import stream
from piying.train.tune.lesson import lesson, measure
from piying.train.tune.previews import addressed, show
from piying.train.tune.ready import NAME, Ready, Tuned, check_size, load, note, prepare
from piying.train.tune.recompute import recomputed
from piying.train.tune.savings import GIB, Savings
from piying.train.tune.trial import Trial, attempt
from piying.train.tune.tuning import LOOKING_ON, Tuning
from piying.weights import store
from piying.weights.checkpoint import open_source
from piying.weights.source import Source

TRIAL = "trial.json"  # in the run: what the trial before it said, and which way it takes


def tune(
    folder: Path,
    model: str,
    tuning: Tuning,
    out: Path,
    *,
    device: str | torch.device,
    memory: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    listen: Listener = print,
) -> Tuned | None:
    """Trains on the dataset in `folder` what `tuning` says of a model: None where `minutes` ended the call before.

    `out` keeps checkpoints, the log, videos. `memory` is how many bytes of the device may be used. With `resume` a run
    goes on where the last one in `out` ended, to the same weights, bit for bit on a CPU; a GPU adds up in its own
    order. Ranks that torchrun started train together.

    Raises UsageError where `out` holds a training and `resume` was not asked for, or one of another recipe, dataset or
    model, or where the clips are too small for the model; OutOfMemory where no way fits.
    """
    device = torch.device(device)
    if device.type == "cpu":
        set_threads()
        keep_freed()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        if memory:
            torch.cuda.set_per_process_memory_fraction(
                min(1.0, memory / torch.cuda.get_device_properties(device).total_memory), device
            )
    source = open_source(store.find(model))
    source.check()
    dataset = datasets.read(folder)
    check_size(dataset, source.config, model)
    asked, count = tuning.batch, ranks.count()
    tuning = replace(tuning, prompts=addressed(tuning.prompts, dataset.cast), batch=-(-asked // count) * count)
    if ranks.rank() == 0:
        _open(out, tuning, source, dataset, resume)
    ranks.wait()
    step = max((checkpoint.step_of(path) for path in (out / NAME).glob("**/step-*")), default=0)
    listen = silent if ranks.rank() else board(out / "board", step, listen)
    if tuning.batch != asked:
        listen(note(f"batch={asked}: is {tuning.batch} here, so that each of {count} processes has as many samples"))
    run = Run(tuning, out, device, Clock(minutes), listen)
    ready = prepare(source, model, dataset, run, memory)
    return _train(ready, run, memory)


def _train(ready: Ready, run: Run[Tuning], memory: int | None) -> Tuned | None:
    """The first way that fits, by estimate and then by trial."""
    tuning, device, config, count = run.recipe, run.device, ready.config, ranks.count()
    ways = savings.ways(tuning, card=device.type == "cuda", ranks=count)
    shape = max((one.moments.mean.shape for one in ready.examples.shown), key=lambda shape: shape.numel())
    trained = _trained(ready, tuning)
    estimates = [
        savings.estimate(config.transformer, tuning, tuple(shape), ready.dtype.itemsize, trained, way, count)
        for way in ways
    ]
    kept, begun = run.out / TRIAL, any((run.out / NAME).glob("**/step-*"))
    if begun and kept.is_file():  # the same way on: another rounds otherwise, and knows other states
        way = _way(kept)
        if way not in ways:
            raise UsageError(f"out={run.out}: was begun with {way}, which is not possible here; go on where it began")
        ways = [way]
    else:
        ways = ways[savings.choose(estimates, memory) :]
    for way in ways:
        fitting: list[Trial] = []
        try:
            return _attempt(ready, run, way, memory, fitting.append)
        except (OutOfMemory, torch.OutOfMemoryError) as error:
            said = str(error).splitlines()[0]
            if begun or fitting:
                raise OutOfMemory(f"{way}: fits no more ({said}); make room in memory, then --resume") from None
            if way == ways[-1]:
                raise OutOfMemory(f"{said}; use shorter or smaller clips, or a smaller rank") from None
            run.listen(note(f"{way}: does not fit ({said})"))
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    raise AssertionError("unreachable")


def _way(path: Path) -> Savings:
    """That of the trial before a run. Raises UsageError where it is not there."""
    try:
        return Savings(**json.loads(path.read_text("utf-8"))["savings"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: does not say how the run was begun; begin anew in another folder") from None


def _attempt(
    ready: Ready, run: Run[Tuning], way: Savings, memory: int | None, fits: Callable[[Trial], None]
) -> Tuned | None:
    """One way, from loading the transformer to the end; a trial that fits is told before the first step.

    Raises OutOfMemory or torch's own where it does not fit.
    """
    tuning, device = run.recipe, run.device
    home = torch.device("cpu") if way.stream or way.split else device
    transformer = load(ready.source, "transformer", Transformer, home, ready.dtype)
    model = _learner(transformer, ready, tuning)
    begin = lay(transformer, way, device)
    with ExitStack() as stack:
        learned = perform(
            _stage(ready, run, way, transformer, model, memory, lambda: stack.enter_context(begin()), fits), run
        )
    if learned is None:
        return None
    return _whole(ready, transformer, learned, device) if way.split else Tuned(ready, transformer, learned)


def _stage(
    ready: Ready,
    run: Run[Tuning],
    way: Savings,
    transformer: Transformer,
    model: Fitted | Transformer,
    memory: int | None,
    begin: Callable[[], object],
    fits: Callable[[Trial], None],
) -> Stage[Fitted | Transformer]:
    tuning, device = run.recipe, run.device
    together = way.split and tuning.preserve + tuning.prior > 0
    loss = lesson(transformer, alphas(ready.config.schedule).to(device), tuning.weighting, together=together)
    held_out = ready.examples.held_out(ready.held_out)
    mixed = _mixed(ready.dtype)
    optimizer = tuning.optimizer
    if optimizer.ema and isinstance(model, Transformer) and (way.split or not mixed):
        run.listen(note("no average is kept: it would take as much memory as the weights"))
        optimizer = replace(optimizer, ema=0.0)

    def before(state: State[Fitted | Transformer]) -> None:
        begin()
        trial = attempt(state, ready.examples.largest(), loss, way, device, mixed=mixed)
        run.listen(note(str(trial)))
        if memory and device.type == "cuda":
            over = shards.total(torch.tensor(float(trial.peak > memory), device=device))  # of all ranks, or they part
            if over > 0:
                raise OutOfMemory(f"takes {trial.peak / GIB:.2f} GiB of {memory / GIB:.2f}")
        if ranks.rank() == 0:
            datasets.write_whole(run.out / TRIAL, json.dumps(asdict(trial), indent=1))
        fits(trial)

    def picture(learned: Fitted | Transformer, path: Path) -> None:
        show(Tuned(ready, transformer, learned), tuning, path)

    return Stage(
        NAME,
        model,
        optimizer,
        tuning.steps,
        ready.examples,
        lambda step: tuning.batch,
        loss,
        lambda learned: measure(loss, transformer, learned, held_out),
        None if way.split else picture,  # rank 0 alone cannot run what is split
        lambda: transformer.transformer_blocks,
        lambda: descent(model, optimizer, tuning.steps, way, tuning.seed),
        mixed,
        before,
        way.split,
    )


def _mixed(dtype: torch.dtype) -> Sequence[str]:
    """Where weights of this type compute in bfloat16. A CPU without instructions for that is slower so."""
    if dtype != torch.float32:
        return ()
    return (*MIXED, "cpu") if bfloat16_is_fast() else MIXED


def lay(transformer: Transformer, way: Savings, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Puts a transformer where a way wants it. Inside what the result gives, its backward passes go that way.

    Enter that when an average has been copied, which shall not be run so.
    """
    around = stream(transformer, device) if way.stream else None
    if way.split:
        shards.shard(transformer, device)
    if not way.recompute:
        return nullcontext
    return lambda: recomputed(transformer, on_host=way.inputs_on_host, around=around)


def descent(
    model: Fitted | Transformer, optimizer: OptimizerRecipe, steps: int, way: Savings, seed: int = 0
) -> Descent:
    """The optimizer of a way."""
    if not way.eight_bit:
        return Optimizer(model, optimizer, steps, forgiving=True)
    return Adam(model.parameters(), optimizer, steps, fused=not way.split, on_host=way.states_on_host, seed=seed)


def _whole(ready: Ready, transformer: Transformer, learned: Fitted | Transformer, device: torch.device) -> Tuned:
    """What was learned on split weights, with all of them on rank 0. All ranks have to ask."""
    gathered = shards.gather(learned) if isinstance(learned, Transformer) else {}
    if ranks.rank():
        return Tuned(ready, transformer, learned)
    home = device if isinstance(learned, Fitted) else torch.device("cpu")  # the card is full of what was split
    whole = load(ready.source, "transformer", Transformer, home, ready.dtype)
    if isinstance(learned, Fitted):
        return Tuned(ready, whole, learned)
    whole.load_state_dict(gathered)
    return Tuned(ready, whole, whole)


def _learner(transformer: Transformer, ready: Ready, tuning: Tuning) -> Fitted | Transformer:
    """What is trained: the transformer itself, or an adapter that is on it from now on."""
    if tuning.kind == "full":
        return transformer.requires_grad_(True)
    adapter = create(
        transformer,
        rank=tuning.rank,
        alpha=tuning.alpha,
        targets=tuning.targets,
        dora=tuning.kind == "dora",
        seed=tuning.seed,
    )
    cast_ = ready.dataset.cast
    words = (*(member.token for member in cast_), *tuning.triggers)
    held = tuning.preserve > 0 and bool(tuning.keep or (cast_ and all(member.class_word for member in cast_)))
    adapter = replace(
        adapter,
        base=ready.config.name,
        triggers=words,
        aliases=ready.dataset.aliases,
        only_named=bool(words) and held,
    )
    fitted = fit(transformer, adapter, trainable=True)
    attach(transformer, fitted)
    return fitted


def _trained(ready: Ready, tuning: Tuning) -> int:
    """How many parameters are trained."""
    shapes = {name: stored.shape for name, stored in ready.source.transformer.tensors.items()}
    if tuning.kind == "full":
        return sum(torch.Size(shape).numel() for shape in shapes.values())
    adapted = [
        shape
        for name, shape in shapes.items()
        if any(ends(name, f"{target}.weight") for target in tuning.targets) and len(shape) > 1
    ]
    return sum(tuning.rank * (shape[0] + torch.Size(shape[1:]).numel()) for shape in adapted)


def _open(out: Path, tuning: Tuning, source: Source, dataset: Dataset, resume: bool) -> None:
    """Marks `out` with all that decides the result, and with what only looks on."""
    shown = hashlib.sha256(
        json.dumps([[asdict(clip) for clip in dataset.clips], [asdict(one) for one in dataset.cast]]).encode()
    )
    says = {
        "recipe": asdict(tuning),
        "model": {"name": source.config.name, "sha256": mark_of(source.transformer.tensors)},
        "dataset": {"folder": str(dataset.folder), "clips": len(dataset.clips), "sha256": shown.hexdigest()},
    }
    text, mark = json.dumps(says, indent=1, ensure_ascii=False), out / "recipe.json"
    if mark.is_file():
        if not resume:
            raise UsageError(f"out={out}: holds a training; go on with it (--resume) or choose another folder")
        before = json.loads(mark.read_text("utf-8"))
        now = json.loads(text)
        for part in says:
            if part not in before:
                raise UsageError(f"out={out}: holds another kind of training; choose another folder")
            free = dict.fromkeys(("folder", *LOOKING_ON))
            if before[part] | free != now[part] | free:
                raise UsageError(f"out={out}: was trained with another {part}; use that one or choose another folder")
    elif resume:
        raise UsageError(f"out={out}: holds no training to go on with; leave out --resume")
    out.mkdir(parents=True, exist_ok=True)
    datasets.write_whole(mark, text)
