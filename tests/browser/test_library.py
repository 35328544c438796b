"""What a user sees of the style library: the thumbnail of a bank when its name is chosen, and after a run."""

import json

import pytest
from live_host import ROOT, only, small, twin

PROMPT = twin("batch_portraits")
LOAD, INFO = int(only(PROMPT, "MagicStyle_LoadBank")), int(only(PROMPT, "MagicStyle_BankInfo"))
NAME = PROMPT[str(LOAD)]["inputs"]["name"]
IMAGE = {  # width of the picture that the node shows, 0 for none
    "classic": "id => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth ?? 0",
    "nodes 2.0": "id => document.querySelector(`[data-node-id='${id}'] img`)?.naturalWidth ?? 0",
}


@pytest.fixture
def graph(front):
    """The page with Load Feature Bank alone, and no name chosen yet."""
    front.page.evaluate(
        """id => {
            const node = LiteGraph.createNode('MagicStyle_LoadBank');
            node.id = id;
            node.widgets.find(widget => widget.name === 'name').value = '';
            app.graph.add(node);
        }""",
        LOAD,
    )
    front.wait_for_nodes(1)
    front.center(LOAD)
    return front


def wait_for_picture(front, rendering, node, size=64):
    front.page.wait_for_function(f"([id, size]) => ({IMAGE[rendering]})(id) === size", arg=[node, size])


def test_choosing_a_name_shows_its_thumbnail(graph, rendering):
    assert graph.page.evaluate(IMAGE[rendering], LOAD) == 0
    graph.set_widget(LOAD, "name", NAME)
    wait_for_picture(graph, rendering, LOAD)


def test_a_file_that_is_not_there_shows_nothing_and_breaks_nothing(graph, rendering):
    for name in ("none.safetensors", "../../etc/passwd", "x.txt", 7, None):
        graph.set_widget(LOAD, "name", name)
    graph.page.wait_for_timeout(500)
    assert graph.page.evaluate(IMAGE[rendering], LOAD) == 0
    graph.set_widget(LOAD, "name", NAME)
    wait_for_picture(graph, rendering, LOAD)


def test_a_header_that_is_not_a_banks_breaks_nothing(graph, host, rendering):
    folder = host.base / "models" / "magicstyle_banks"
    said = {"bare": None, "text": "hello", "broken": "data:image/jpeg;base64,!"}
    for name, thumbnail in said.items():
        text = json.dumps({"__metadata__": {"modelspec.thumbnail": thumbnail} if thumbnail else {}}).encode()
        (folder / f"{name}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
        graph.set_widget(LOAD, "name", f"{name}.safetensors")
    graph.page.wait_for_timeout(500)
    assert graph.page.evaluate(IMAGE[rendering], LOAD) == 0
    for name in said:
        (folder / f"{name}.safetensors").unlink()


def test_the_batch_workflow_shows_thumbnails_and_both_portraits(front, rendering):
    front.load(json.loads((ROOT / "workflows" / "batch_portraits.json").read_text(encoding="utf-8")))
    front.center(LOAD, 0.5)
    wait_for_picture(front, rendering, LOAD)  # before anything ran
    for node, content in small(PROMPT).items():
        for name, value in content["inputs"].items():
            if value != PROMPT[node]["inputs"][name]:
                front.set_widget(int(node), name, value)
    ending, data = front.run()
    assert ending == "execution_success", data
    wait_for_picture(front, rendering, LOAD)
    front.center(INFO, 0.5)
    wait_for_picture(front, rendering, INFO, 16)
    front.page.get_by_text("Images: 2, latent 16 x 16").first.wait_for()
    saved = int(only(PROMPT, "SaveImage"))
    front.page.wait_for_function("id => (app.nodeOutputs[id]?.images ?? []).length === 2", arg=saved)
