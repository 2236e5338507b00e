"""`python -m piying.parallel.worker CHANNEL`: a rank other than the first, started and told what to do by `crew`."""

import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist

from piying import device as devices
from piying.checks import memory_or
from piying.errors import PiyingError
from piying.parallel import ranks
from piying.parallel.member import Member
from piying.parallel.orders import Failed, Order, Start


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for rank 0, which tells the others
    channel = Connection(int(sys.argv[1]))
    start: Start = channel.recv()
    orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, orders), daemon=True).start()
    try:
        with memory_or("does not fit into its memory"):
            _follow(start, channel, orders)
    except Exception as error:
        channel.send(_failed(error))
        while orders.get() is not None:  # an end that nobody asked for would look like another accident
            pass
    ranks.leave()


def _follow(start: Start, channel: Connection, orders: "queue.SimpleQueue[Order | None]") -> None:
    devices.set_threads()
    checkpoint = start.load(device=start.device)
    channel.send("loaded")
    store = dist.TCPStore("127.0.0.1", start.port, is_master=False, wait_for_workers=False)
    ranks.join(store, start.rank, start.total, start.device)
    member = Member(checkpoint)
    with torch.inference_mode():
        while (order := orders.get()) is not None:
            tensors = [torch.empty(shape, dtype=dtype, device=start.device) for shape, dtype in order.tensors]
            for tensor in tensors:
                dist.broadcast(tensor, 0)
            getattr(member, order.name)(*tensors, *order.plain)


def _listen(channel: Connection, orders: "queue.SimpleQueue[Order | None]") -> None:
    """Takes orders as they come; ends the process, whatever it does, when rank 0 is gone."""
    try:
        while True:
            orders.put(channel.recv())
    except (EOFError, OSError):
        os._exit(1)


def _failed(error: Exception) -> Failed:
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, PiyingError):
        return Failed(type(error).__name__, text, False)
    return Failed("PiyingError", f"unexpected {type(error).__name__}: {text}", isinstance(error, RuntimeError))


if __name__ == "__main__":
    main()
