"""What the server tells about the pack: nodes, help pages, templates."""

import io
import json

import pytest
from live_host import NODES, ROOT, WORKFLOWS
from PIL import Image


@pytest.fixture(scope="module")
def catalogue(host):
    return host.client.get("/object_info")


def test_the_pack_publishes_exactly_its_nodes(catalogue):
    assert {name for name in catalogue if name.startswith("MagicStyle_")} == set(NODES)


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_named_and_described(catalogue, node):
    entry = catalogue[node]
    assert entry["display_name"] == NODES[node]
    assert entry["category"] == "MagicStyle"
    assert entry["description"].endswith(".")


def inputs_of(inputs, prefix=""):
    """Specifications of a node's inputs and of the dials that its choices bring, by the names that texts have."""
    found = {}
    for name, spec in (pair for kind in ("required", "optional") for pair in inputs.get(kind, {}).items()):
        found[prefix + name] = spec
        if spec[0] == "COMFY_DYNAMICCOMBO_V3":
            for option in spec[1]["options"]:
                found |= inputs_of(option["inputs"], f"{prefix}{name}_")
    return found


@pytest.mark.parametrize("node", NODES)
def test_every_input_and_output_has_a_tooltip(catalogue, node):
    entry = catalogue[node]
    assert [name for name, spec in inputs_of(entry["input"]).items() if not spec[1].get("tooltip")] == []
    assert len(entry["output_tooltips"] or []) == len(entry["output"])
    assert all(entry["output_tooltips"] or [])


@pytest.mark.parametrize("node", NODES)
def test_a_node_has_a_help_page(host, node):
    page = host.client.fetch(f"/extensions/magicstyle/docs/{node}.md").decode()
    assert page.startswith(f"# {NODES[node]}\n")
    assert len(page) > 300


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_translated_whole(host, catalogue, node):
    texts = host.client.get("/i18n")["zh"]["nodeDefs"][node]
    assert set(texts["inputs"]) == set(inputs_of(catalogue[node]["input"]))
    assert set(texts["outputs"]) == set(map(str, range(len(catalogue[node]["output"]))))
    entries = [texts, *texts["inputs"].values(), *texts["outputs"].values()]
    assert all(entry.get("tooltip") or entry.get("description") for entry in entries)


def test_the_templates_dialog_lists_the_workflows(host):
    assert sorted(host.client.get("/workflow_templates")["magicstyle"]) == [file.stem for file in WORKFLOWS]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_is_served_with_its_thumbnail(host, file):
    address = f"/api/workflow_templates/magicstyle/{file.stem}"
    assert json.loads(host.client.fetch(address + ".json")) == json.loads(file.read_text(encoding="utf-8"))
    picture = host.client.fetch(address + ".jpg")
    assert len(picture) < 100_000
    with Image.open(io.BytesIO(picture)) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.width == 400


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_needs_nothing_but_stock_nodes_and_ours(catalogue, file):
    nodes = json.loads(file.read_text(encoding="utf-8"))["nodes"]
    types = {node["type"] for node in nodes} - {"MarkdownNote"}
    assert types <= set(catalogue)
    custom = {name for name in types if catalogue[name]["python_module"].startswith("custom_nodes")}
    assert custom <= set(NODES)


def test_the_pictures_of_the_prompts_are_in_the_repository():
    for file in (ROOT / "tests" / "prompts").glob("*.json"):
        prompt = json.loads(file.read_text(encoding="utf-8"))
        pictures = [node["inputs"]["image"] for node in prompt.values() if node["class_type"] == "LoadImage"]
        assert all((ROOT / "assets" / picture).is_file() for picture in pictures)
