"""What a user sees of the nodes themselves: tooltips, help, errors, texts, in both renderings."""

import json

import pytest
from live_host import ROOT, only, small, twin

PROMPT = twin("magicstyle_demo")
FFA, SAMPLER, INFO = (int(only(PROMPT, f"MagicStyle_{kind}")) for kind in ("FFA", "FusedSampler", "BankInfo"))


@pytest.fixture
def graph(front):
    """The page with the demo workflow, small."""
    front.load(json.loads((ROOT / "workflows" / "magicstyle_demo.json").read_text(encoding="utf-8")))
    for node, content in small(PROMPT).items():
        for name, value in content["inputs"].items():
            if value != PROMPT[node]["inputs"][name]:
                front.set_widget(int(node), name, value)
    return front


def test_a_tooltip_shows_over_a_widget(graph, host):
    left, top = graph.center(FFA)
    height = graph.page.evaluate("id => app.graph.getNodeById(id).widgets[0].y", FFA)
    graph.page.mouse.move(left + 40, top + height + 10)
    graph.page.mouse.move(left + 60, top + height + 12, steps=5)
    tooltip = graph.page.locator(".node-tooltip")
    tooltip.wait_for()
    entry = host.client.get("/object_info/MagicStyle_FFA")["MagicStyle_FFA"]
    assert tooltip.inner_text() == entry["input"]["required"]["method"][1]["tooltip"]


def test_the_help_page_opens(graph):
    graph.center(FFA)
    graph.page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", FFA)
    graph.page.get_by_test_id("info-button").click()
    graph.page.get_by_role("heading", name="FFA Attention Patch", exact=True).wait_for()
    graph.page.get_by_role("heading", name="Inputs", exact=True).wait_for()


def test_a_method_without_its_portrait_is_explained_on_the_page(graph, rendering):
    graph.set_widget(FFA, "method", "MagicStyle, joined keys")
    graph.page.evaluate(
        """id => {
            const node = app.graph.getNodeById(id);
            node.disconnectInput(node.inputs.findIndex(input => input.name === "content_bank"));
        }""",
        FFA,
    )
    ending, data = graph.run()
    said = "reads the portrait's features. Connect content_bank"
    assert said in graph.page.evaluate("id => JSON.stringify(app.lastNodeErrors[id])", FFA)
    if not graph.errors():
        return  # older pages only frame the node where other outputs of the graph can run
    assert ending == "refused"
    assert "Invalid input" in data["text"]
    graph.page.get_by_test_id("error-overlay").get_by_role("button", name="View details").click()
    graph.page.get_by_role("button", name="Info for FFA Attention Patch - method").click()
    graph.page.get_by_text(said).first.wait_for()
    # The list of errors asks a registry who made the nodes; the page may not, so nothing leaves the machine.
    graph.problems[:] = [problem for problem in graph.problems if "Content Security Policy" not in problem]


CLIPPED = """([id, word]) => {
    // Pixels of the element with this text that something around it cuts off, or that lie outside of the node.
    const all = [...document.querySelectorAll("span, div, textarea, p")];
    const text = all.findLast(element => (element.value ?? element.innerText ?? "").includes(word));
    const box = text.getBoundingClientRect();
    let cut = 0;
    for (let around = text.parentElement; around; around = around.parentElement)
        if (["auto", "hidden", "scroll", "clip"].includes(getComputedStyle(around).overflowY)) {
            const edge = around.getBoundingClientRect();
            cut = Math.max(cut, box.bottom - edge.bottom, edge.top - box.top);
            cut = Math.max(cut, around.scrollHeight - around.clientHeight);
        }
    const node = app.graph.getNodeById(id), view = app.canvas.ds, top = app.canvas.canvas.getBoundingClientRect().top;
    const bottom = (node.pos[1] + node.size[1] + view.offset[1]) * view.scale + top;
    const own = document.querySelector(`[data-node-id='${id}']`);
    return Math.max(0, Math.floor(Math.max(cut, box.bottom - (own ? own.getBoundingClientRect().bottom : bottom))));
}"""


def test_a_bank_shows_its_contents_on_the_node(graph, rendering):
    if rendering == "nodes 2.0":
        graph.page.locator(f"[data-node-id='{INFO}']").wait_for()
    steps = {"classic": 5, "nodes 2.0": 8}[rendering]  # new values: only nodes that run send their text
    graph.set_widget(int(only(PROMPT, "MagicStyle_CSDI")), "steps", steps)
    ending, data = graph.run()
    assert ending == "execution_success", data
    graph.center(INFO)
    text = graph.page.get_by_text("Layers: input.1, input.3, middle.0, output.0-3").first
    text.wait_for()
    assert f"Steps: {steps}, method exact" in text.inner_text()
    assert all(graph.page.evaluate(CLIPPED, [INFO, word]) == 0 for word in ("Images: 1", "weights "))


WIDGETS = "id => app.graph.getNodeById(id).widgets.map(widget => widget.name)"
OTHERS = ["strength", "start_percent", "end_percent", "layers", "rows"]
LOOK = ["color", "color_strength", "detail", "texture", "start_step"]


def test_methods_chosen_one_after_another_show_their_own_dials(graph, rendering):
    """And a run, what is saved, and the prompt follow them."""
    methods = {
        "StyleID": ["gamma", "temperature"],
        "Visual Style Prompting": [],
        "PortraitDiffusion": ["guidance", "switch"],
    }
    for method, dials in methods.items():
        graph.set_widget(FFA, "method", method)
        assert graph.page.evaluate(WIDGETS, FFA) == ["method", *(f"method.{dial}" for dial in dials), *OTHERS]
    graph.set_widget(FFA, "method.guidance", 1.2)
    graph.center(FFA)
    sent = {"method": "PortraitDiffusion", "method.guidance": 1.2, "method.switch": 0.7}
    assert sent.items() <= graph.prompt()[str(FFA)]["inputs"].items()
    ending, data = graph.run()
    assert ending == "execution_success", data
    saved = graph.serialize()
    graph.clear()
    graph.load(saved)
    assert sent.items() <= graph.prompt()[str(FFA)]["inputs"].items()
    graph.center(FFA)


def test_a_look_of_its_own_shows_its_dials_and_that_of_the_method_none(graph, rendering):
    graph.set_widget(SAMPLER, "look", "own")
    dials = [f"look.{dial}" for dial in LOOK]
    assert graph.page.evaluate(WIDGETS, SAMPLER) == ["cfg", "look", *dials, "style_strength"]
    graph.set_widget(SAMPLER, "look.texture", 0.25)
    saved = graph.serialize()
    graph.clear()
    graph.load(saved)
    sent = graph.prompt()[str(SAMPLER)]["inputs"]
    assert {"look": "own", "look.texture": 0.25, "look.color": "match", "look.start_step": 0}.items() <= sent.items()
    graph.set_widget(SAMPLER, "look", "as the method")
    assert graph.page.evaluate(WIDGETS, SAMPLER) == ["cfg", "look", "style_strength"]
    assert not [name for name in graph.prompt()[str(SAMPLER)]["inputs"] if name.startswith("look.")]


def test_methods_and_looks_work_inside_a_subgraph(graph, rendering):
    graph.set_widget(FFA, "method", "StyleID")
    graph.set_widget(SAMPLER, "look", "own")
    graph.set_widget(SAMPLER, "look.color", "match")
    inside = graph.page.evaluate(
        """ids => {
            const nodes = new Set(ids.map(id => app.graph.getNodeById(id)));
            return app.graph.convertToSubgraph(nodes).node.id;
        }""",
        [FFA, SAMPLER],
    )
    saved = graph.serialize()
    graph.clear()
    graph.load(saved)
    prompt = {node["class_type"]: node["inputs"] for node in graph.prompt().values()}
    assert {"method": "StyleID", "method.gamma": 0.75}.items() <= prompt["MagicStyle_FFA"].items()
    assert {"look": "own", "look.color": "match"}.items() <= prompt["MagicStyle_FusedSampler"].items()
    ending, data = graph.run()
    assert ending == "execution_success", data
    graph.center(inside)
