"""Lines of text as settings of FFA Attention Patch and methods of Fusion Rule."""

import pytest
from graphs import MATCHED


@pytest.fixture
def parse(pack):
    return pack("nodes.settings").parse


@pytest.fixture
def defaults(pack):
    inputs = pack("nodes.fusion").FFAAttentionPatch.define_schema().inputs
    return {widget.id: widget.default for widget in inputs if getattr(widget, "default", None) is not None}


def test_names_that_a_line_does_not_give_are_ffas_defaults(parse, defaults):
    (setting,) = parse("strength=1.5")
    assert setting.values == {**defaults, "strength": 1.5}
    assert setting.method is None


@pytest.mark.parametrize("line", ["beta=0.4", "beta 0.4", "beta = 0.4", "BETA=0.4", "alpha=0.6", "  beta\t=0.40  # x"])
def test_ways_to_write_one_setting(parse, line):
    assert MATCHED.items() <= parse(line)[0].values.items()


@pytest.mark.parametrize("line", ["queries live alpha 0.8 temperature 1.5", "temperature=1.5 alpha=0.8 queries=live"])
def test_several_inputs_on_a_line(parse, line):
    values = parse(line)[0].values
    assert (values["alpha"], values["beta"]) == (0.8, 0.2)  # as one would write them: 1 - 0.8 is not 0.2
    assert (values["queries"], values["temperature"]) == ("live", 1.5)


def test_lists_of_layers_may_have_spaces(parse):
    assert parse("layers=output.6-8, middle beta=0.2")[0].values["layers"] == "output.6-8,middle"


def test_lines_are_numbered_and_labelled(parse):
    settings = parse("# a remark\n\nbeta=0.2\nStandard attention  # without\n")
    assert [(s.number, s.label) for s in settings] == [(3, "beta=0.2"), (4, "without")]
    assert [s.method and s.method.name for s in settings] == [None, "Standard attention"]


def test_a_method_has_its_published_values_and_those_of_the_line(parse, pack):
    methods = pack("magicstyle_core.methods")
    published, other = parse("styleid\nStyleID: gamma 0.5")
    assert published.method == methods.styleid()
    assert other.method == methods.styleid(gamma=0.5)


def test_the_list_that_the_node_comes_with_is_the_papers_ablation(parse, pack):
    first, *others = parse(pack("nodes.sweep").DEFAULT)
    assert first.method.name == "Standard attention"
    assert [(s.values["beta"], s.label) for s in others] == [
        (beta, f"beta {beta:g}") for beta in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    assert {s.values["queries"] for s in others} == {"stored"}


def test_as_many_lines_as_allowed(parse):
    assert len(parse("\n".join(["beta=0.5"] * 64))) == 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "settings holds 0 lines; 1 to 64 are needed"),
        (" \n# only a remark", "settings holds 0 lines"),
        ("\n".join(["beta=0.5"] * 65), "settings holds 65 lines"),
        ("beta=0\ngama=1", "Line 2 of settings, 'gama=1': 'gama' is not an input of FFA Attention Patch; it has alpha"),
        ("beta=0\n\nStyle ID", "Line 3 of settings, 'Style ID': 'style' is not an input .* Methods .* StyleID"),
        ("MasaCtrll", "'MasaCtrll' is not name=value.*MasaCtrl"),
        ("model=1", "'model' is not an input"),
        ("beta", "'beta' is not name=value"),
        ("beta=", "'beta=' is not name=value"),
        ("=0.4", "'=0.4' is not name=value"),
        ("beta keys=style", "'beta' is not name=value"),
        ("beta=0.2 beta=0.4", "beta is given twice"),
        ("beta=much", "beta needs a number; got 'much'"),
        ("beta=1.5", "beta must be between 0 and 1; got 1.5"),
        ("beta=nan", "beta must be between 0 and 1; got nan"),
        ("temperature=0", "temperature must be between 0.1 and 5; got 0"),
        ("alpha=0.5 beta=0.2", "must sum to 1"),
        ("keys=styles", "keys must be one of style, content"),
        ("StyleID: beta=0.5", "'beta' is not a dial of this method; it has gamma, temperature"),
        ("Standard attention: beta=1", "'beta' is not a dial of this method; it has none"),
        ("StyleID: gamma=2", "gamma must be between 0 and 1; got 2"),
    ],
)
def test_a_line_that_cannot_be_read_is_quoted(parse, settings, message):
    with pytest.raises(ValueError, match=message):
        parse(settings)
