"""What a user sees of the nodes themselves: tooltips, help, errors, texts, in both renderings."""

import json

import pytest
from live_host import ROOT, only, small, twin

PROMPT = twin("magicstyle_demo")
FFA, INFO = int(only(PROMPT, "MagicStyle_FFA")), int(only(PROMPT, "MagicStyle_BankInfo"))


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
    assert tooltip.inner_text() == entry["input"]["required"]["alpha"][1]["tooltip"]


def test_the_help_page_opens(graph):
    graph.center(FFA)
    graph.page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", FFA)
    graph.page.get_by_test_id("info-button").click()
    graph.page.get_by_role("heading", name="FFA Attention Patch", exact=True).wait_for()
    graph.page.get_by_role("heading", name="Inputs", exact=True).wait_for()


def test_a_wrong_value_is_explained_on_the_page(graph, rendering):
    graph.set_widget(FFA, "beta", 0.5)
    ending, data = graph.run()
    assert ending == "refused"
    assert "Invalid input" in data["text"]
    graph.page.get_by_test_id("error-overlay").get_by_role("button", name="View details").click()
    graph.page.get_by_role("button", name="Info for FFA Attention Patch - alpha").click()
    graph.page.get_by_text("must sum to 1. Set beta to 0.4 or alpha to 0.5").first.wait_for()
    # The list of errors asks a registry who made the nodes; the page may not, so nothing leaves the machine.
    graph.problems[:] = [problem for problem in graph.problems if "Content Security Policy" not in problem]


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


def test_a_preset_shows_the_dials_of_its_method(graph, rendering):
    """Fusion Rule wired to FFA in the page: other dials for every method, and a run that follows them."""
    widgets = "id => app.graph.getNodeById(id).widgets.map(widget => widget.name)"
    rule = graph.page.evaluate(
        """ffa => {
            const node = LiteGraph.createNode("MagicStyle_FusionRule"), target = app.graph.getNodeById(ffa);
            app.graph.add(node);
            node.pos = [target.pos[0] - 400, target.pos[1] + 400];
            node.connect(0, target, target.inputs.findIndex(input => input.name === "rule"));
            return node.id;
        }""",
        FFA,
    )
    assert graph.page.evaluate(widgets, rule) == ["preset", "preset.beta", "preset.temperature"]
    graph.set_widget(rule, "preset", "PortraitDiffusion")
    assert graph.page.evaluate(widgets, rule) == ["preset", "preset.guidance", "preset.switch"]
    graph.set_widget(rule, "preset.guidance", 1.2)
    graph.center(rule)
    assert graph.prompt()[str(rule)]["inputs"] == {
        "preset": "PortraitDiffusion", "preset.guidance": 1.2, "preset.switch": 0.7,
    }  # fmt: skip
    ending, data = graph.run()
    assert ending == "execution_success", data
    saved = graph.serialize()
    graph.clear()
    graph.load(saved)
    assert graph.prompt()[str(rule)]["inputs"]["preset.guidance"] == 1.2
    graph.center(rule)
