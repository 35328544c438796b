"""Every node of the pack under values that no node should be given: a result comes out, or a ValueError in our words.

Values go straight into ``execute``, as a link from any other node may bring them, and those of widgets through the
host's validation too. One or two inputs are hostile at a time, the others right.
"""

import asyncio
import logging
import traceback
from pathlib import Path

import pytest
import torch
from graphs import INVERSION, csdi, keep, node
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_host import NODES
from thin_models import REFUSED, build

import comfy.model_management
import execution
import nodes

MOST = 1000  # characters of a message
FEW = settings(  # not shrunk: an example says enough, and looking for a smaller one takes minutes
    max_examples=40, phases=[Phase.generate], report_multiple_bugs=False, deadline=None, derandomize=True,
    database=None, suppress_health_check=list(HealthCheck),
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
SIZE = 8
GENERATOR = torch.Generator().manual_seed(0)

TEXTS = st.one_of(
    st.sampled_from([
        "", " ", "\x00", "a\x00b", "\ud800", "oil\udfff/x", "x" * 100_000, "\ud800" * 100_000, "\u202eliop", "a\u2069",
        "a\nb\r\nc", "\x1b[2J", "../x", "/x", "n" * 300, "%date%", "nan", "output.0-99999999999",
        "output." + "9" * 5000, "," * 1000, "beta=nan", "StyleID: gamma=\ud800", "# " + "y" * 100_000,
        "beta=0.4 " * 5000, "\n".join("x" * 99),
    ]),
    st.text(st.characters(), max_size=30),
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 2**63, 2**31, -1, 1e308, 0.5]),
    st.floats(),
    st.integers(max_value=-1),
    st.integers(min_value=10**6),
)  # fmt: skip
PLAIN = st.sampled_from([None, True, "4", "", [], {}, {"a": 1}, [["a"]], ["none", 0]])  # as JSON carries it
OTHERS = st.one_of(PLAIN, st.sampled_from([b"x", (), object(), torch.zeros(2), torch.nn.ReLU, 1j]))
DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool, torch.complex64,
)  # fmt: skip


@st.composite
def tensors(draw, rank, channels):
    """Tensors of about this rank, of any type and number; ``channels`` says where how many are right."""
    place, count = channels
    shape = [draw(st.sampled_from([1, 1, 0, 2, 3])), *([SIZE] * (rank - 1))]
    shape[place] = draw(st.sampled_from([count, count, 0, 1, 2, 5]))
    shape[-1 if place != rank - 1 else -2] = draw(st.sampled_from([SIZE, SIZE, 0, 1, 7]))
    shape = draw(st.sampled_from([shape, shape, shape, shape[1:], shape[:1], [], [1, *shape]]))
    found = (torch.rand(shape) * 3 - 1).to(draw(st.sampled_from(DTYPES)))
    if found.numel() and found.is_floating_point():
        found.view(-1)[0] = draw(st.sampled_from([0.5, float("nan"), float("inf"), -float("inf"), 1e4]))
    return found


def latents():
    samples = tensors(4, (1, 4))
    return st.one_of(
        st.builds(lambda samples: {"samples": samples}, samples),
        st.builds(lambda samples, mask: {"samples": samples, "noise_mask": mask}, samples, tensors(3, (1, SIZE))),
        st.builds(lambda samples, more: {"samples": samples, "batch_index": more}, samples, OTHERS),
        st.sampled_from([{}, {"samples": None}, {"samples": [1]}, {"sample": torch.zeros(1, 4, SIZE, SIZE)}]),
    )


def conditionings():
    context = tensors(3, (2, 64))
    pooled = st.one_of(OTHERS, tensors(2, (1, 1280)))
    return st.one_of(
        st.builds(lambda context: [[context, {}]], context),
        st.builds(lambda context, pooled: [[context, {"pooled_output": pooled}]], context, pooled),
        st.sampled_from([[], [[]], [[torch.zeros(1, 77, 64)]], [[torch.zeros(1, 77, 64), None]], [[None, {}]], [None]]),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    """The host logs every refusal with its stack and all inputs."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


class World(dict):
    """Keeps failures short."""

    def __repr__(self):
        return "World"


@pytest.fixture(scope="module")
def world(host):
    """Values by kind of socket: the right one first, then those that fit nothing."""
    model, other = build(), build("SDXL")

    def bank(model=model, batch=1, height=SIZE, **changes):
        latent = {"samples": torch.randn(batch, 4, height, SIZE, generator=GENERATOR)}
        return run("MagicStyle_Invert", model=model, latent=latent, **{**INVERSION, "steps": 2, **changes})[0]

    class VAE:
        """Decodes as a VAE does, in two lines."""

        def decode(self, latent):
            return latent[:, :3].movedim(1, -1)

    banks = [
        bank(), bank(other), bank(layers="none"), bank(storage="recompute"), bank(height=16), bank(batch=3),
        bank(batch=2), bank(steps=3), bank(start_percent=0.9, end_percent=0.9), bank(method="ddim", precision="int8"),
        bank(storage="disk"),
    ]  # fmt: skip
    saved = run("MagicStyle_SaveBank", bank=banks[0], filename_prefix="hostile")
    name = saved_text(saved).removeprefix("Saved ").rpartition(" (")[0]
    return World({
        "MODEL": [model, other, *(make() for make in REFUSED.values())],
        "VAE": [VAE(), model, torch.nn.Identity()],
        "MAGICSTYLE_BANK": banks,
        "LATENT": [{"samples": torch.randn(1, 4, SIZE, SIZE, generator=GENERATOR)}],
        "IMAGE": [torch.rand(1, SIZE, SIZE, 3)],
        "CONDITIONING": [[[torch.zeros(1, 77, 64), {"pooled_output": torch.zeros(1, 1280)}]]],
        "name": [name],
    })  # fmt: skip


def saved_text(output):
    return output.ui["text"][0]


def run(kind, /, **inputs):
    """The node's output, as the host calls it."""
    clone = nodes.NODE_CLASS_MAPPINGS[kind].PREPARE_CLASS_CLONE({"hidden_inputs": {}})
    with torch.inference_mode():
        output = clone.EXECUTE_NORMALIZED(**inputs)
    return output if output.args is None or not output.args else output.args


def inputs_of(kind):
    return nodes.NODE_CLASS_MAPPINGS[kind].define_schema().inputs


def right(inputs, world):
    """Right values of all inputs: the widgets' own, and few steps."""
    found = {}
    for widget in inputs:
        kind = widget.get_io_type()
        if widget.id in ("steps", "name"):
            found[widget.id] = 2 if widget.id == "steps" else world["name"][0]
        elif kind == "COMFY_DYNAMICCOMBO_V3":
            option = widget.options[0]
            found[widget.id] = {widget.id: option.key, **right(option.inputs, world)}
        else:
            found[widget.id] = world[kind][0] if kind in world else widget.default
    return found


def hostile(widget, world):
    """A strategy of values for one input."""
    kind = widget.get_io_type()
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return choices(widget, world)
    own = {
        "STRING": TEXTS, "COMBO": TEXTS, "INT": NUMBERS, "FLOAT": NUMBERS, "LATENT": latents(),
        "IMAGE": tensors(4, (3, 3)), "CONDITIONING": conditionings(),
    }.get(kind)  # fmt: skip
    if len(world.get(kind, ())) > 1:
        own = st.sampled_from(world[kind][1:])
    return OTHERS if own is None else st.one_of(own, own, own, OTHERS)


@st.composite
def choices(draw, widget, world):
    """A choice with hostile dials, with some missing or more, or one that does not exist."""
    option = draw(st.sampled_from(widget.options))
    values = {widget.id: option.key, **right(option.inputs, world)}
    for dial in option.inputs:
        if draw(st.booleans()):
            values[dial.id] = draw(hostile(dial, world))
        elif draw(st.booleans()):
            values.pop(dial.id)
    if draw(st.integers(0, 5)) == 0:
        values[draw(st.sampled_from([widget.id, "more"]))] = draw(st.one_of(TEXTS, OTHERS))
    return draw(st.sampled_from([values, values, values, {}, None, option.key]))


def check_message(message):
    message.encode()
    assert len(message) <= MOST
    assert message.replace("\n", " ").isprintable(), ascii(message)


def check(call):
    """Run what must give a result or a ValueError of our own."""
    failed = None
    try:
        call()
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception as error:
        failed = error
    if failed is not None:
        raised = Path(traceback.extract_tb(failed.__traceback__)[-1].filename).resolve()
        assert (type(failed), raised.is_relative_to(ROOT)) == (ValueError, True), report(failed)
        check_message(str(failed))


def report(error):
    return "".join(traceback.format_exception(error))[-3000:]


def test_every_node_of_the_pack_is_here(host):
    assert {name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("MagicStyle_")} == set(NODES)


@pytest.mark.parametrize("kind", NODES)
def test_right_values_give_a_result(kind, world):
    run(kind, **right(inputs_of(kind), world))


@pytest.mark.parametrize("kind", [name for name in NODES if name != "MagicStyle_DemoModel"])  # it has no inputs
@FEW
@given(data=st.data())
def test_what_comes_by_a_link_gives_a_result_or_our_words(kind, world, data):
    inputs = inputs_of(kind)
    values = right(inputs, world)
    for widget in data.draw(st.lists(st.sampled_from(inputs), min_size=1, max_size=2, unique_by=id)):
        values[widget.id] = data.draw(hostile(widget, world), label=widget.id)
    if data.draw(st.booleans()):
        values["more"] = data.draw(OTHERS)
    check(lambda: run(kind, **values))


def graph_of(kind, world):
    """A prompt with this node, its sockets linked and its widgets right."""
    sockets = {
        "MODEL": ["model", 0], "VAE": ["demo", 1], "MAGICSTYLE_BANK": ["csdi", 0], "LATENT": ["content", 0],
        "IMAGE": ["image", 0], "CONDITIONING": ["text", 0],
    }  # fmt: skip
    inputs = {}
    for name, value in right(inputs_of(kind), {**world, **{key: [link] for key, link in sockets.items()}}).items():
        inputs |= {name: value} if not isinstance(value, dict) else nested(name, value)
    return csdi() | {
        "demo": node("MagicStyle_DemoModel"),
        "image": node("TestImage", seed=1, batch=1, height=SIZE, width=SIZE, channels=3),
        "text": node("TestPrompt", seed=1, tokens=77, width=64),
        "it": node(kind, **inputs),
        "keep": keep(["it", 0], "it"),
    }


def nested(name, value):
    """A choice and its dials as a prompt has them."""
    return {name if key == name else f"{name}.{key}": found for key, found in value.items()}


@pytest.mark.parametrize("kind", ["MagicStyle_FFA", "MagicStyle_Sweep", "MagicStyle_LoadBank", "MagicStyle_CSDI"])
@FEW
@given(data=st.data())
def test_what_a_prompt_says_is_valid_or_refused_in_our_words(kind, world, data):
    prompt = graph_of(kind, world)
    inputs = prompt["it"]["inputs"]
    for name in data.draw(st.lists(st.sampled_from(sorted(inputs)), min_size=1, max_size=2, unique=True)):
        inputs[name] = data.draw(st.one_of(TEXTS, TEXTS, NUMBERS, PLAIN), label=name)
    _, _, _, node_errors = asyncio.run(execution.validate_prompt("test", prompt, None))
    for error in node_errors.get("it", {}).get("errors", []):
        if error["type"] == "custom_validation_failed":
            check_message(error["details"])
