"""The shipped workflows as files: sound by themselves, and the same graphs as their prompts."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NOTES = {"MarkdownNote", "Note"}  # of the front end; they compute nothing


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def file(request):
    return request.param


@pytest.fixture
def workflow(file):
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture
def prompt(file):
    return json.loads((ROOT / "tests" / "prompts" / file.name).read_text(encoding="utf-8"))


def nodes_of(workflow):
    return {node["id"]: node for node in workflow["nodes"]}


def test_every_prompt_has_a_workflow():
    prompts = (ROOT / "tests" / "prompts").glob("*.json")
    assert [file.name for file in WORKFLOWS] == sorted(file.name for file in prompts)


def test_a_workflow_has_an_identity_and_a_thumbnail(file, workflow):
    assert workflow["id"] not in {json.loads(f.read_text())["id"] for f in WORKFLOWS if f != file}
    assert 1_000 < file.with_suffix(".jpg").stat().st_size < 100_000


def test_links_agree_with_the_sockets_at_both_ends(workflow):
    nodes = nodes_of(workflow)
    assert len(nodes) == len(workflow["nodes"])
    for link, source, output, target, index, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][output]["links"]
        assert nodes[source]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][index]["link"] == link
        assert nodes[target]["inputs"][index]["type"] == kind


def test_sockets_name_no_link_that_does_not_exist(workflow):
    links = {link[0] for link in workflow["links"]}
    nodes = workflow["nodes"]
    inputs = {entry["link"] for node in nodes for entry in node["inputs"]} - {None}
    outputs = {link for node in nodes for entry in node["outputs"] for link in entry["links"] or []}
    assert inputs == outputs == links


def test_nodes_and_links_are_those_of_the_prompt(workflow, prompt):
    nodes = nodes_of(workflow)
    kinds = {str(number): node["type"] for number, node in nodes.items() if node["type"] not in NOTES}
    assert kinds == {number: node["class_type"] for number, node in prompt.items()}
    linked = {
        (number, name, *value)
        for number, node in prompt.items()
        for name, value in node["inputs"].items()
        if isinstance(value, list)
    }
    drawn = {
        (str(target), nodes[target]["inputs"][index]["name"], str(source), output)
        for _, source, output, target, index, _ in workflow["links"]
    }
    assert drawn == linked


def test_nodes_do_not_cover_each_other(workflow):
    title = 30
    boxes = []
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        boxes.append((x, y - title, x + width, y + height))
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_workflow_says_what_to_do_and_groups_its_steps(workflow):
    assert NOTES & {node["type"] for node in workflow["nodes"]}
    titles = [group["title"] for group in workflow["groups"]]
    assert len(titles) == len(set(titles)) >= 4
    assert all(group["color"].startswith("#") for group in workflow["groups"])
