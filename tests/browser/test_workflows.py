"""The shipped workflows in the page: they load as they are, mean what their prompts say, and run."""

import json

import pytest
from live_host import WORKFLOWS, only, small, twin

DEMO = next(file for file in WORKFLOWS if file.stem == "magicstyle_demo")

KEPT = ("type", "title", "pos", "size", "mode", "widgets_values", "color", "bgcolor")


def essence(workflow):
    """What a workflow says, without what every saving changes."""
    return {
        "nodes": {node["id"]: {key: node.get(key) for key in KEPT} for node in workflow["nodes"]},
        "links": sorted(link[1:] for link in workflow["links"]),
        "groups": [(group["title"], group["bounding"], group["color"]) for group in workflow["groups"]],
    }


def meaning(prompt):
    return {node: (content["class_type"], content["inputs"]) for node, content in prompt.items()}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
@pytest.mark.parametrize("how", ["load", "drop"])
def test_a_workflow_loads_unchanged_and_means_its_prompt(front, file, how):
    workflow = json.loads(file.read_text(encoding="utf-8"))
    if how == "load":
        front.load(workflow)
    else:
        front.drop(file)
        front.wait_for_nodes(len(workflow["nodes"]))
    front.page.wait_for_timeout(1000)  # pictures arrive; errors would show
    assert front.unknown_types() == []
    assert front.errors() == ""
    assert essence(front.serialize()) == essence(workflow)
    assert meaning(front.prompt()) == meaning(twin(file.stem))


def test_a_workflow_opens_from_the_templates_dialog(front):
    front.command("Comfy.BrowseTemplates")
    front.page.locator("[role=dialog]").get_by_text("magicstyle", exact=True).first.click()
    card = front.page.get_by_test_id("template-workflow-magicstyle_demo")
    thumbnail = card.locator("img").first
    front.page.wait_for_function("image => image.naturalWidth === 400", arg=thumbnail.element_handle())
    card.click()
    front.wait_for_nodes(len(json.loads(DEMO.read_text(encoding="utf-8"))["nodes"]))
    assert meaning(front.prompt()) == meaning(twin("magicstyle_demo"))


def shrink(front, prompt):
    """Set what ``small`` would set, in the page."""
    for node, content in small(prompt).items():
        for name, value in content["inputs"].items():
            if value != prompt[node]["inputs"][name]:
                front.set_widget(int(node), name, value)


def assert_picture_is_shown(front, prompt, size=64):
    front.page.wait_for_function(
        "([id, size]) => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth === size",
        arg=[int(only(prompt, "SaveImage")), size],
    )


def test_the_demo_workflow_runs_and_shows_its_picture(front):
    prompt = twin("magicstyle_demo")
    front.load(json.loads(DEMO.read_text(encoding="utf-8")))
    shrink(front, prompt)
    ending, data = front.run()
    assert ending == "execution_success", data
    assert_picture_is_shown(front, prompt)


def test_a_graph_built_by_hand_runs(front):
    prompt = small(twin("magicstyle_demo"))
    front.page.evaluate(
        """prompt => {
            const made = {};
            for (const [id, { class_type, inputs }] of Object.entries(prompt)) {
                const node = made[id] = LiteGraph.createNode(class_type);
                node.pos = [(id % 5) * 420, Math.floor(id / 5) * 420];
                app.graph.add(node);
                for (const widget of node.widgets ?? []) {
                    const value = inputs[widget.name];
                    if (value !== undefined && !Array.isArray(value)) widget.value = value;
                }
            }
            for (const [id, { inputs }] of Object.entries(prompt))
                for (const [name, source] of Object.entries(inputs))
                    if (Array.isArray(source)) made[source[0]].connect(source[1], made[id], name);
        }""",
        prompt,
    )
    ids = {node["class_type"]: node["inputs"] for node in front.prompt().values()}
    assert set(ids) == {node["class_type"] for node in prompt.values()}
    ending, data = front.run()
    assert ending == "execution_success", data
    front.page.wait_for_function(
        "app.graph._nodes.find(node => node.type === 'SaveImage').imgs?.[0]?.naturalWidth === 64"
    )
