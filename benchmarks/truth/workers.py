"""Jobs in processes of their own, each of which holds one set of tools."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

_tools: Any = None  # of a worker process


class Job(NamedTuple):
    """`do` takes the tools and stores what it finds; it must survive pickling, and so must its arguments."""

    name: str
    do: Callable[..., object]
    arguments: tuple[Any, ...] = ()


def work(jobs: Sequence[Job], workers: int, tools: Callable[[], Any]) -> None:
    """Run the jobs, in their order, in `workers` processes; each makes its `tools` once. A line for each that ends."""
    fresh = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, fresh, initializer=_start, initargs=(tools,)) as pool:
        for number, name in enumerate(pool.map(_do, jobs), 1):
            print(f"{number}/{len(jobs)} {name}", flush=True)


def _start(tools: Callable[[], Any]) -> None:
    global _tools
    _tools = tools()


def _do(job: Job) -> str:
    before = time.process_time()
    job.do(_tools, *job.arguments)
    return f"{job.name}: {time.process_time() - before:.0f} CPU s"
