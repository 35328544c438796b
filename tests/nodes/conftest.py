"""A real executor in this process: ComfyUI's own validation, caching and node calls, without a server."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMFY = os.environ.get("COMFYUI_PATH")
EXTRAS = (
    "nodes_custom_sampler", "nodes_pag", "nodes_sag", "nodes_images", "nodes_hypertile", "nodes_model_advanced",
)  # fmt: skip

if COMFY is None:
    pytest.skip("these tests run in a ComfyUI: use 'python3 dev.py test', or set COMFYUI_PATH", allow_module_level=True)
sys.path.insert(0, COMFY)
sys.path.append(str(HERE))
sys.argv = ["main.py", "--cpu", "--disable-api-nodes"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()  # before any other import of the host

import torch  # noqa: E402
import utils.install_util  # noqa: E402, F401  before nodes, which puts comfy/utils.py in the way

import execution  # noqa: E402
import folder_paths  # noqa: E402
import nodes  # noqa: E402


class Server:
    """The few attributes of the host's server that the executor uses."""

    client_id, last_node_id, last_prompt_id, sockets_metadata = "test", None, None, {}

    def __init__(self):
        self.sent = []

    def send_sync(self, event, data, sid=None):
        self.sent.append((event, data))

    def queue_updated(self):
        pass


class Executor:
    """Runs API prompts one after the other with a cache, as one session of the host does."""

    def __init__(self, cache="CLASSIC"):
        self.server = Server()
        self.kept = {}
        sizes = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
        self.executor = execution.PromptExecutor(self.server, cache_type=execution.CacheType[cache], cache_args=sizes)

    def run(self, prompt):
        """Outputs of the test's Keep nodes by name; AssertionError with the node's message on failure."""
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
        assert (valid, node_errors) == (True, {}), f"{error} {node_errors}"
        nodes.NODE_CLASS_MAPPINGS["TestKeep"].kept = self.kept  # what is cached stays from the run before
        self.executor.execute(prompt, "test", {"client_id": "test"}, outputs)
        if not self.executor.success:
            raise AssertionError(self.error())
        return dict(self.kept)

    def error(self):
        for event, data in self.executor.status_messages:
            if event == "execution_error":
                return f"{data['exception_type']}: {data['exception_message']}"
            if event == "execution_interrupted":
                return "interrupted"
        return None

    def cached(self):
        return {
            node
            for event, data in self.executor.status_messages
            if event == "execution_cached"
            for node in data["nodes"]
        }


@pytest.fixture(scope="session", autouse=True)
def host(tmp_path_factory):
    """The host with this pack and the tests' own nodes; folders of its own."""
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("input", "output", "temp", "user", "models/checkpoints", "models/loras", "packs"):
        (base / name).mkdir(parents=True)
    folder_paths.set_input_directory(str(base / "input"))
    folder_paths.set_output_directory(str(base / "output"))
    folder_paths.set_temp_directory(str(base / "temp"))
    for kind in ("checkpoints", "loras"):
        folder_paths.add_model_folder_path(kind, str(base / "models" / kind))
    (base / "packs" / "magicstyle").symlink_to(ROOT)
    torch.set_num_threads(1)  # the fastest for models of this size

    async def load():
        for name in EXTRAS:
            path = Path(COMFY) / "comfy_extras" / f"{name}.py"
            assert await nodes.load_custom_node(str(path), module_parent="comfy_extras"), name
        for path in (base / "packs" / "magicstyle", HERE / "stand_ins"):
            assert await nodes.load_custom_node(str(path), ignore=set(nodes.NODE_CLASS_MAPPINGS)), path

    asyncio.run(load())
    return base


@pytest.fixture
def executor(host):
    return Executor()


@pytest.fixture
def run(executor):
    return executor.run


@pytest.fixture(scope="session")
def pack(host):
    """The pack's package as the host imported it: ``pack("nodes.host")`` is one of its modules."""
    name = nodes.NODE_CLASS_MAPPINGS["MagicStyle_FFA"].__module__.removesuffix(".nodes.fusion")

    def module(path):
        return sys.modules[f"{name}.{path}"]

    return module
