#!/usr/bin/env python3
"""The developer's commands. Each makes what it needs on first use: a ComfyUI, test tools, linters.

    python3 dev.py demo       portraits, end to end, in a real ComfyUI
    python3 dev.py test       all tests (--fast: without server and browser)
    python3 dev.py serve      ComfyUI in the browser, with the pack and its pictures
    python3 dev.py bench      measured ratios
    python3 dev.py torture    everything hostile at a real ComfyUI, while valid prompts must stay right
    python3 dev.py lint       ruff, pyright, imports
    python3 dev.py workflows  write tests/prompts/ anew from workflows/
    python3 dev.py compatibility  write docs/compatibility.md from what tests measure on both hosts

What is made lies in $MAGICSTYLE_CACHE (by default ~/.cache/magicstyle) and may be deleted at any time.
COMFYUI_PATH and COMFYUI_PYTHON name a ComfyUI of your own to use instead; nothing is installed into it.
"""

import argparse
import signal
import sys
from pathlib import Path

OLDEST = (3, 10)


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = main.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--host", metavar="VERSION", help="ComfyUI version: 0.30.0 (default) or 0.16.3")
    gpu = argparse.ArgumentParser(add_help=False)
    gpu.add_argument("--gpu", action="store_true", help="let ComfyUI use the graphics card")
    gpu.add_argument("--checkpoint", type=Path, metavar="FILE", help="a Stable Diffusion checkpoint")

    demo = commands.add_parser("demo", parents=[common, gpu], help="portraits, end to end")
    demo.add_argument("--content", type=Path, metavar="FILE", help="the portrait")
    demo.add_argument("--style", type=Path, metavar="FILE", help="the picture whose manner it takes")
    demo.add_argument("--steps", type=int, metavar="N")
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="DIR")

    test = commands.add_parser("test", parents=[common], help="all tests; further arguments go to pytest")
    test.add_argument("--fast", action="store_true", help="without server and browser")
    test.add_argument("--ci", action="store_true", help="a skipped test is a failure (also by CI=1)")

    serve = commands.add_parser("serve", parents=[common, gpu], help="ComfyUI in the browser")
    serve.add_argument("--port", type=int, default=8188)

    bench = commands.add_parser("bench", parents=[common], help="benchmarks; without a name, list them")
    bench.add_argument("name", nargs="?", metavar="cost|quality|presets|colors")
    bench.add_argument("--out", type=Path, default=Path("out"), metavar="DIR")

    torture = commands.add_parser("torture", parents=[common], help="hostile files, names, cancels and prompts")
    torture.add_argument("--minutes", type=float, default=10, metavar="N")
    torture.add_argument("--seed", type=int, metavar="N", help="of an earlier run, to repeat what it drew")
    torture.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="for what failed")

    commands.add_parser("lint", parents=[common], help="ruff, pyright, imports")
    commands.add_parser("workflows", parents=[common], help="tidy workflows/, write tests/prompts/; --help for more")
    commands.add_parser("compatibility", parents=[common], help="write docs/compatibility.md from tests")
    return main


def dispatch(options: argparse.Namespace, rest: list) -> int:
    if options.command == "demo":
        from dev.demo import demo

        return demo(options)
    if options.command == "serve":
        from dev.serve import serve

        return serve(options)
    if options.command == "test":
        from dev.testing import test

        return test(options, rest)
    if options.command == "bench":
        from dev.bench import bench

        return bench(options, rest)
    if options.command == "torture":
        from dev.torture import torture

        return torture(options)
    if options.command == "workflows":
        from dev.workflows import workflows

        return workflows(options, rest)
    if options.command == "compatibility":
        from dev.compatibility import compatibility

        return compatibility(options)
    from dev.lint import lint

    return lint(options.host)


def main() -> int:
    if sys.version_info < OLDEST:
        sys.stderr.write("failed: this is Python " + sys.version.split()[0] + "; 3.10 or newer is needed.\n")
        sys.stderr.write("Run it with a newer one, for example: python3.12 dev.py ...\n")
        return 1
    from dev.report import DevError, error_from

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped and locks released
    whole = parser()
    options, rest = whole.parse_known_args()
    if rest and options.command not in ("test", "bench", "workflows"):
        whole.error("unrecognized arguments: " + " ".join(rest))
    try:
        return dispatch(options, rest)
    except DevError as failure:
        problem = failure
    except OSError as error:
        problem = error_from(error)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    sys.stderr.write(
        f"failed: {problem.what}\n" + (f"what to do: {problem.remedy}\n" if problem.remedy else "")
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
