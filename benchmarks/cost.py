"""What capture, fusion and banks cost, as ratios with their bounds; exits with 1 if one is missed.

Everything is measured in this one process, on one thread of the CPU. Variants take turns, and ratios are medians of the
ratios of each round. Takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path


def main(options: argparse.Namespace) -> int:
    from _host import load_pack

    load_pack(options.gpu)
    import torch
    from _figures import table
    from _growth import curves, growth_figures, plot

    torch.set_num_threads(1)  # threads that wait for each other on a busy machine blur every ratio
    figures = []
    with torch.inference_mode():
        for found in cpu_figures(options) if not options.gpu else gpu_figures(options):
            print(*found, sep="\n", flush=True)
            figures += found
        if not options.gpu and "growth" in options.only:
            growth = curves(options.rounds)
            figures += growth_figures(growth)
            plot(growth, options.out / "scaling.png")
    text = table(figures)
    (options.out / "cost.md").write_text(text + "\n", encoding="utf-8")
    record = {"torch": torch.__version__, "figures": [figure.record() for figure in figures]}
    (options.out / "cost.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    missed = [figure for figure in figures if figure.met is False]
    print(f"\n{text}\n\n{len(missed)} of {sum(figure.met is not None for figure in figures)} bounds missed.")
    return 1 if missed else 0


PARTS = ("demo", "methods", "precision", "files", "full", "memory", "growth")


def cpu_figures(options: argparse.Namespace) -> Iterator[list]:
    import _subjects
    from _counts import byte_figures, evaluation_figures, move_figures
    from _files import file_figures
    from _methods import method_figures
    from _peak import can_measure, memory_figures
    from _portraits import portrait_figures
    from _precision import precision_figures
    from _steps import step_figures

    demo = _subjects.demo()
    if "demo" in options.only:
        yield evaluation_figures(demo, steps=10)
        yield move_figures(demo)
        yield step_figures(demo, steps=4, rounds=2 * options.rounds)
        yield portrait_figures(demo, steps=10, rounds=options.rounds)
    if "methods" in options.only:
        yield method_figures(demo, steps=4, rounds=2 * options.rounds)
    if "precision" in options.only:
        yield precision_figures(demo, steps=20)
    if "files" in options.only:
        yield file_figures(options.out, options.rounds)
    if {"full", "memory", "methods"} & set(options.only):
        full = _subjects.sd15(256)
        yield byte_figures(full)
        if "full" in options.only:
            yield step_figures(full, steps=1, rounds=options.rounds)
        if "methods" in options.only:
            yield method_figures(full, steps=1, rounds=options.rounds)
        if "memory" in options.only and can_measure():
            yield memory_figures(full, steps=3)


def gpu_figures(options: argparse.Namespace) -> Iterator[list]:
    """SD 1.5 at 512 and SDXL at 1024 in fp16."""
    import _subjects
    import torch
    from _portraits import portrait_figures
    from _steps import step_figures

    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs CUDA, and torch finds none.")
    for subject in (_subjects.sd15(512, torch.float16), _subjects.sdxl(1024)):
        yield step_figures(subject, steps=5, rounds=options.rounds)
        yield portrait_figures(subject, steps=20, rounds=options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gpu", action="store_true", help="measure full-size models on CUDA instead")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of every comparison")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    raise SystemExit(main(parser.parse_args()))
