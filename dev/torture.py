"""``dev.py torture``: hostile files, names, cancels and prompts at a real ComfyUI, while valid prompts must stay right.

Each of several clients does two hostile things, drawn at random, and then runs a valid prompt whose picture is known.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import sys
import threading
import time
import traceback
import urllib.error
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import hostile
from .client import Prompt, PromptFailedError, PromptRefusedError, Run
from .demo import pictures
from .graph import Graph
from .host import find_host
from .known import FOLDER, loading, pixels, saving, saving_again, valid
from .report import say, step
from .server import ROOT, Host

sys.path.append(str(ROOT / "tests" / "core"))
from damage import damaged, first_format  # noqa: E402

CLIENTS = 8
SILENCE = 120  # seconds without a message from the server after which a prompt is lost
SHARE = 0.1  # of all damages that one run draws from: each is a whole file in memory
COUNTED = ("files", "names", "cancels", "hostile", "prompts", "raw", "lost", "wrong", "deaths")
Pictures = list[tuple[str, bytes]]  # node and pixels
BAD = ("lost", "wrong", "deaths")


def torture(options: argparse.Namespace) -> int:
    seed = random.randrange(2**32) if options.seed is None else options.seed
    say(f"seed {seed}")
    found = find_host(options.host)
    # With the newest host's own cache a repeated prompt would not run, and what it keeps would pass for a leak.
    host = Host(found.path, found.python, inputs=pictures(), flags=("--cache-classic",))
    with ExitStack() as stack:
        with step(f"start ComfyUI {found.version}"):
            stack.enter_context(host)
        trial = Torture(host, seed, options.out / f"torture-{seed}")
        with step("references"):
            trial.prepare()
        trial.run(60 * options.minutes)
        trial.close()
    say(trial.line())
    return 1 if trial.failed() else 0


class Torture:
    """Clients of one server. ``prepare()``, ``run(seconds)``, ``close()``; then ``line()`` has the counts.

    ``names`` are the valid prompts that run, of :func:`valid`; None is all, "demo" and "library" the least. What
    fails is written to ``folder``, made with the first failure: the prompt, the damaged file, the server's log.
    """

    def __init__(
        self, host: Host, seed: int, folder: Path, clients: int = CLIENTS, names: Sequence[str] | None = None
    ) -> None:
        self.host, self.client, self.seed, self.folder = host, host.client, seed, folder
        self.clients, self.names = clients, names
        self.library = host.base / "models" / "magicstyle_banks" / FOLDER
        self.counts: Counter[str] = Counter()
        self.references: dict[str, Pictures] = {}
        self.memory = [0, 0]  # MiB of the server after the references and at the end
        self._lock, self._dead, self._numbers = threading.Lock(), threading.Event(), iter(range(1, 10**9))
        self._running: dict[int, Prompt] = {}  # by client, for who looks into a death

    def prepare(self) -> None:
        """Save the bank that others load and damage, and paint each valid prompt alone."""
        self.bank = self._saved(self._salted(saving("style")))
        self.data = (self.library.parent / self.bank).read_bytes()
        chance, files = random.Random(self.seed), (self.data, first_format(self.data))
        every = (pair for number, file in enumerate(files) for pair in damaged(file, self.seed + number))
        self.damages = [pair for pair in every if chance.random() < SHARE]
        self.valid = {name: p for name, p in valid(self.bank).items() if name in (self.names or (name,))}
        self.references = {name: self._pictures(self.client.run(self._salted(p))) for name, p in self.valid.items()}
        self.memory[0] = self._settled()

    def run(self, seconds: float) -> None:
        """All clients at once, each until the time is over or the worker dead."""
        self._end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._live, args=(number,), daemon=True) for number in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """The last valid prompts, alone, and the memory."""
        if not self._dead.is_set():
            for name in self.valid:
                self.right(name)
        if not self._dead.is_set():
            self.memory[1] = self._settled()
        if self.failed():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.host.log, self.folder / "comfyui.log")
            say(f"What failed is in {self.folder}.")

    def failed(self) -> bool:
        return any(self.counts[name] for name in BAD)

    def line(self) -> str:
        counts = ", ".join(f"{name} {self.counts[name]}" for name in COUNTED)
        return f"seed {self.seed}: {counts}, memory {self.memory[0]} MiB at start and {self.memory[1]} at the end"

    def _live(self, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        actions = (self._file, self._name, self._cancel, self._hostile, self._save_and_load)
        while time.monotonic() < self._end and not self._dead.is_set():
            try:
                for action in chance.choices(actions, k=2):
                    action(chance)
                self.right(chance.choice(list(self.valid)))
            except Exception:  # a fault of this program, or a server that is gone: either is to be seen
                if not self._died():
                    self._fail("lost", {}, traceback.format_exc())

    # What is valid

    def right(self, name: str) -> None:
        """Run a valid prompt, again if somebody's cancel hit it, and compare its pictures with the reference."""
        run = self._ended(prompt := self._salted(self.valid[name]))
        if run is not None and (painted := self._pictures(run)) != self.references[name]:
            data = b"".join(picture for _, picture in painted)
            self._fail("wrong", prompt, f"{name} gave {_differing(painted, self.references[name])}.", data)

    def _save_and_load(self, chance: random.Random) -> None:
        """A bank that is saved can be loaded, and paints what the first one painted."""
        name = self._saved(prompt := self._salted(saving(chance.choice(("style", "\u6cb9 \u753b", "a.b", "%year%")))))
        if not name:
            return
        run = self._ended(prompt := self._salted(loading(self.valid["library"], name)))
        if run is None or self._pictures(run) != self.references["library"]:
            self._fail("lost", prompt, f"{name}, just saved, cannot be loaded or paints something else.")
        (self.library.parent / name).unlink(missing_ok=True)

    def _saved(self, prompt: Prompt) -> str:
        """Run a prompt that saves a bank; the name that it got, or nothing."""
        run = self._ended(prompt)
        if run is None:
            return ""
        (text,) = run.outputs[Graph(prompt).one("MagicStyle_SaveBank")]["text"]
        return text.removeprefix("Saved ").rpartition(" (")[0]

    # What is hostile

    def _file(self, chance: random.Random) -> None:
        """A damaged file is listed, and then refused in words or, where the damage is not read, changes nothing."""
        what, data = chance.choice(self.damages)
        number = self._count("files")
        file = self.library / f"damaged_{number}.safetensors"
        file.write_bytes(data)
        name = f"{FOLDER}/{file.name}"
        listed = self.client.get("/object_info/MagicStyle_LoadBank")
        if name not in json.dumps(listed):
            self._fail("wrong", {}, f"{name} ({what}) is not listed.")
        try:
            self.client.fetch("/view_metadata/magicstyle_banks", filename=name)
        except urllib.error.HTTPError:
            pass  # the host's own reader may refuse it as it likes
        prompt = self._salted(loading(self.valid["library"], name))
        again = chance.random() < 0.5
        if again:
            prompt = saving_again(name)
        run = self._ended(prompt, hostile=True)
        if run is not None and (again or self._pictures(run) != self.references["library"]):
            self._fail("wrong", prompt, f"{name} ({what}) was taken for a bank.", data)
        file.unlink()

    def _name(self, chance: random.Random) -> None:
        self._count("names")
        name = hostile.name(chance)
        self._ended(saving_again(name) if chance.random() < 0.5 else saving_again(self.bank, name), hostile=True)

    def _hostile(self, chance: random.Random) -> None:
        self._count("hostile")
        self._ended(self._salted(hostile.prompt(chance.choice(list(self.valid.values())), chance)), hostile=True)

    def _cancel(self, chance: random.Random) -> None:
        """Cancel at a random moment: in the queue, or at some event of the run, this prompt or whatever runs."""
        self._count("cancels")
        prompt = self._salted(chance.choice([*self.valid.values(), saving("cancelled")]))
        if chance.random() < 0.25:
            self._delete(prompt, chance)
            return
        moment, seen, anybody = chance.randrange(1, 40), 0, chance.random() < 0.3
        pause, ending = chance.random() * 0.1, None
        for event in self._events(prompt):
            seen, ending = seen + 1, event
            if seen == moment:
                time.sleep(pause)
                self.client.post("/interrupt", {} if anybody else {"prompt_id": event.data["prompt_id"]})
        if ending is not None:
            self._count("prompts")
            if ending.kind == "execution_error":
                self._fail("wrong", prompt, str(PromptFailedError(ending.kind, ending.data)))

    def _delete(self, prompt: Prompt, chance: random.Random) -> None:
        """Take a prompt out of the queue; then it has run to some end, or was never begun."""
        prompt_id = self.client.submit(prompt)
        time.sleep(chance.random())
        self.client.post("/queue", {"delete": [prompt_id]})
        deadline = time.monotonic() + SILENCE
        while prompt_id in json.dumps(self.client.get("/queue")) and not self._dead.is_set():
            if time.monotonic() > deadline and not self._died():
                self._fail("lost", prompt, "A prompt deleted from the queue is still there.")
                return
            time.sleep(0.05)

    # How prompts are followed

    def _ended(self, prompt: Prompt, hostile: bool = False) -> Run | None:
        """The prompt's run if it succeeded. A valid one that was cancelled runs again; one that fails is wrong."""
        while not self._dead.is_set():
            run = Run("")
            try:
                for event in self._events(prompt):
                    run.events.append(event)
                if not run.events:
                    return None
                self._count("prompts")
                ending = run.events[-1]
                if ending.kind == "execution_success":
                    run.prompt_id = ending.data["prompt_id"]
                    run.outputs = self.client.history(run.prompt_id)["outputs"]
                    return run
                if ending.kind == "execution_error":
                    raise PromptFailedError(ending.kind, ending.data)
                if hostile:
                    return None
            except (PromptRefusedError, PromptFailedError) as error:
                if not hostile:
                    self._fail("wrong", prompt, str(error))
                elif isinstance(error, PromptFailedError) and _raw(error):
                    self._fail("raw", prompt, str(error))
                return None
        return None

    def _events(self, prompt: Prompt):
        """Events of a prompt up to its end; lost if there is none."""
        self._running[threading.get_ident()] = prompt
        try:
            yield from self.client.follow(prompt, SILENCE)
            del self._running[threading.get_ident()]
        except (TimeoutError, ConnectionError) as error:
            if not self._died():
                self._fail("lost", prompt, f"No end: {error!r}")

    def _died(self) -> bool:
        """Whether the process is gone or the thread that runs its prompts."""
        process = self.host.process
        gone = process is not None and process.poll() is not None
        if gone or "(prompt_worker)" in self.host.log.read_text(errors="replace"):
            with self._lock:
                first = not self._dead.is_set()
                self._dead.set()
            if first:
                self._fail("deaths", list(self._running.values()), self.host.tail())
        return self._dead.is_set()

    def _pictures(self, run: Run) -> Pictures:
        """Pixels of all that a run saved, each with its node; not the previews, of which the host forgets some."""
        shown = {node: outputs["images"] for node, outputs in sorted(run.outputs.items()) if outputs.get("images")}
        nodes = [node for node, images in shown.items() if all(image["type"] == "output" for image in images)]
        return [(node, pixels(picture)) for node in nodes for picture in self.client.images(run, node)]

    def _salted(self, prompt: Prompt) -> Prompt:
        """The same prompt to people, another to the host's cache, so that it runs."""
        salted = copy.deepcopy(prompt)
        for node in salted.values():
            if node["class_type"] == "MagicStyle_DemoModel":
                node["inputs"]["torture"] = next(self._numbers)
        return salted

    def _settled(self) -> int:
        """MiB of the server when it keeps nothing for later."""
        self.client.post("/history", {"clear": True})
        self.client.post("/free", {"free_memory": True})
        self.client.run(self._salted(self.valid["demo"]))
        time.sleep(1)
        process = self.host.process
        return 0 if process is None else resident(process.pid)

    def _count(self, name: str) -> int:
        with self._lock:
            self.counts[name] += 1
            return self.counts[name]

    def _fail(self, kind: str, prompt: Prompt | list[Prompt], why: str, data: bytes | None = None) -> None:
        number = self._count(kind)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{kind}-{number}.json"
        file.write_text(json.dumps(prompt, indent=1))
        if data is not None:
            file.with_suffix(".bin").write_bytes(data)
        say(f"{kind}: {ascii(why[-600:])} The prompt: {file}")


def resident(process: int) -> int:
    """MiB of memory that a process holds; 0 where Linux does not tell."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def _differing(painted: Pictures, reference: Pictures) -> str:
    nodes, expected = ([node for node, _ in pictures] for pictures in (painted, reference))
    if nodes != expected:
        return f"pictures of nodes {nodes}; at the start {expected}"
    other = sorted({one[0] for one, two in zip(painted, reference, strict=True) if one != two})
    return f"other pixels than at the start, at nodes {other}"


def _raw(error: PromptFailedError) -> bool:
    """Whether one of the pack's nodes failed in other words than its own."""
    message = error.data.get("exception_message", "")
    own = error.data.get("node_type", "").startswith("MagicStyle_")
    readable = len(message.strip()) <= 1000 and message.replace("\n", "").isprintable()
    return own and not (error.data.get("exception_type") == "ValueError" and readable)
