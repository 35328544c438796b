"""A real executor in this process: ComfyUI's own validation, caching and node calls, without a server."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMFY = os.environ.get("COMFYUI_PATH")
EXTRAS = (
    "nodes_custom_sampler", "nodes_pag", "nodes_sag", "nodes_images", "nodes_hypertile", "nodes_model_advanced",
    "nodes_tomesd", "nodes_freelunch", "nodes_model_downscale", "nodes_differential_diffusion", "nodes_hooks",
    "nodes_context_windows", "nodes_perpneg", "nodes_mask", "nodes_attention_multiply", "nodes_nag", "nodes_apg",
    "nodes_fresca", "nodes_easycache",
)  # fmt: skip

if COMFY is None:
    pytest.skip("these tests run in a ComfyUI: use 'python3 dev.py test', or set COMFYUI_PATH", allow_module_level=True)
sys.path.insert(0, COMFY)
sys.path += [str(HERE), str(HERE.parent)]  # the helpers of these tests, and of all
sys.argv = ["main.py", "--cpu", "--disable-api-nodes"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()  # before any other import of the host

import utils.install_util  # noqa: E402, F401  before nodes, which puts comfy/utils.py in the way

# isort: split
import torch  # noqa: E402
from in_process import Executor  # noqa: E402

import folder_paths  # noqa: E402
import nodes  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def host(tmp_path_factory):
    """The host with this pack and the tests' own nodes; folders of its own."""
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("input", "output", "temp", "user", "packs"):
        (base / name).mkdir(parents=True)
    folder_paths.set_input_directory(str(base / "input"))
    folder_paths.set_output_directory(str(base / "output"))
    folder_paths.set_temp_directory(str(base / "temp"))
    for kind in ("checkpoints", "loras", "magicstyle_banks"):  # the last as a user maps it
        (base / "models" / kind).mkdir(parents=True)
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
def library(host):
    """The library's folder, empty."""
    folder = host / "models" / "magicstyle_banks"
    yield folder
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def executor(host):
    """Without memory of other tests."""
    return Executor()


@pytest.fixture(scope="session")
def shared(host):
    """An executor that remembers what tests before have made: one inversion serves them all."""
    return Executor("LRU")


@pytest.fixture
def run(shared):
    """Runs a graph. What must run anew takes ``executor``, and a stand-in that watches says that it changed."""
    return shared.run


@pytest.fixture(scope="module")
def texts(pack):
    """Runs a graph with a demo model that reads prompts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack("nodes.demo_model"), "WEIGHTS", ROOT / "demo" / "next.safetensors")
        yield Executor("LRU").run


@pytest.fixture(scope="session")
def pack(host):
    """The pack's package as the host imported it: ``pack("nodes.host")`` is one of its modules."""
    name = nodes.NODE_CLASS_MAPPINGS["MagicStyle_FFA"].__module__.removesuffix(".nodes.fusion")

    def module(path):
        return sys.modules[f"{name}.{path}"]

    return module
