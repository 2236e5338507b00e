"""Events of a training as curves in TensorBoard."""

from pathlib import Path

from piying.train.hooks import Event, Listener


def board(folder: Path, step: int, listen: Listener) -> Listener:
    """A listener that hears all that `listen` does and keeps the numbers; where TensorBoard is missing, `listen`.

    What an earlier run wrote after `step` is hidden.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return listen
    writer = SummaryWriter(str(folder), purge_step=step + 1)

    def heard(event: Event) -> None:
        for name, value in event.numbers.items():
            writer.add_scalar(f"{event.stage}/{name.replace(' ', '_')}", value, event.step)
        writer.flush()
        listen(event)

    return heard
