"""Lines of text as settings of FFA Attention Patch: its custom attention, its methods, its inputs."""

import time

import pytest


@pytest.fixture
def parse(pack):
    return pack("nodes.settings").parse


INPUTS = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "layers": "all", "rows": "all"}
CUSTOM = {"beta": 0.4, "keys": "style", "queries": "matched", "temperature": 1.0}
JOINED = {**CUSTOM, "keys": "content+style", "style_scale": 1.0, "style_weight": 1.0}


def test_names_that_a_line_does_not_give_are_ffas_defaults(parse):
    (setting,) = parse("strength=1.5")
    assert setting.inputs == {**INPUTS, "strength": 1.5}
    assert (setting.method.name, setting.dials) == ("Custom", CUSTOM)


@pytest.mark.parametrize("line", ["beta=0.4", "beta 0.4", "beta = 0.4", "BETA=0.4", "alpha=0.6", "  beta\t=0.40  # x"])
def test_ways_to_write_one_setting(parse, line):
    (setting,) = parse(line)
    assert {**setting.dials, "alpha": 0.6} == {**CUSTOM, "alpha": 0.6}
    assert setting.inputs == INPUTS


@pytest.mark.parametrize("line", ["queries live alpha 0.8 temperature 1.5", "temperature=1.5 alpha=0.8 queries=live"])
def test_several_dials_on_a_line(parse, line):
    dials = parse(line)[0].dials
    assert (dials["alpha"], dials["beta"]) == (0.8, 0.2)  # as one would write them: 1 - 0.8 is not 0.2
    assert (dials["queries"], dials["temperature"]) == ("live", 1.5)


@pytest.mark.parametrize(
    ("line", "name", "dials"),
    [
        ("keys=style", "Custom", CUSTOM),
        ("keys=content beta=0", "Custom", {**CUSTOM, "keys": "content", "beta": 0.0}),
        ("keys=content+style", "Custom, joined keys", JOINED),
        ("style_weight=4 keys=live+style style_scale=1.2", "Custom, joined keys",
         {**JOINED, "keys": "live+style", "style_weight": 4.0, "style_scale": 1.2}),
    ],
)  # fmt: skip
def test_keys_choose_between_the_custom_attentions(parse, line, name, dials):
    (setting,) = parse(line)
    assert (setting.method.name, setting.dials) == (name, dials)


def test_lists_of_layers_may_have_spaces(parse):
    assert parse("layers=output.6-8, middle beta=0.2")[0].inputs["layers"] == "output.6-8,middle"


def test_lines_are_numbered_and_labelled(parse):
    settings = parse("# a remark\n\nbeta=0.2\nStandard attention  # without\n")
    assert [(s.number, s.label) for s in settings] == [(3, "beta=0.2"), (4, "without")]
    assert [s.method.name for s in settings] == ["Custom", "Standard attention"]


def test_every_method_is_known_by_its_name_at_its_published_values(parse, pack):
    methods = pack("magicstyle_core.methods").METHODS
    for spelled in (str, str.lower, str.upper):
        settings = parse("\n".join(map(spelled, methods)))
        assert [setting.method for setting in settings] == list(methods.values())
    for setting in settings:
        assert setting.dials == {dial.name: dial.default for dial in setting.method.dials}
        assert setting.inputs == INPUTS


def test_a_method_has_the_dials_and_inputs_of_its_line(parse):
    (setting,) = parse("StyleID: gamma 0.5 rows=positive strength=0.8")
    assert setting.dials == {"gamma": 0.5, "temperature": 1.5}
    assert setting.inputs == {**INPUTS, "rows": "positive", "strength": 0.8}


def test_the_list_that_the_node_comes_with_is_the_papers_ablation(parse, pack):
    first, *others = parse(pack("nodes.sweep").DEFAULT)
    assert first.method.name == "Standard attention"
    assert [(s.dials["beta"], s.label) for s in others] == [
        (beta, f"beta {beta:g}") for beta in (0, 0.2, 0.4, 0.6, 0.8, 1)
    ]
    assert {s.dials["queries"] for s in others} == {"stored"}


def test_as_many_lines_as_allowed(parse):
    assert len(parse("\n".join(["beta=0.5"] * 64))) == 64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "settings holds 0 settings; 1 to 64 are needed"),
        (" \n# only a remark", "settings holds 0 settings"),
        ("\n".join(["beta=0.5"] * 65), "settings holds 65 settings"),
        (
            "beta=0\ngama=1",
            "Line 2 of settings, 'gama=1': 'gama' is not an input of FFA Attention Patch; it has strength, "
            ".*, and for Custom alpha, beta, keys, queries, temperature. Methods are .*StyleID",
        ),
        ("beta=0\n\nStyle ID", "Line 3 of settings, 'Style ID': 'style' is not an input .* Methods .* StyleID"),
        ("MasaCtrll", "'MasaCtrll' is not name=value.*MasaCtrl"),
        ("model=1", "'model' is not an input"),
        ("beta", "'beta' is not name=value"),
        ("beta=", "'beta=' is not name=value"),
        ("=0.4", "'=0.4' is not name=value"),
        ("beta keys=style", "'beta' is not name=value"),
        ("beta=0.2 beta=0.4", "'beta' is given twice"),
        ("beta=much", "beta needs a number; got 'much'"),
        ("beta=1.5", "beta must be between 0 and 1; got '1.5'"),
        ("beta=nan", "beta must be between 0 and 1; got 'nan'"),
        ("temperature=0", "temperature must be between 0.1 and 5; got '0'"),
        ("alpha=0.5 beta=0.2", "must sum to 1"),
        ("keys=styles", "keys must be one of style, content"),
        ("StyleID: beta=0.5", "'beta' is not a dial of this method; it has gamma, temperature"),
        ("Standard attention: beta=1", "'beta' is not a dial of this method; it has none"),
        ("StyleID: gamma=2", "gamma must be between 0 and 1; got '2'"),
        ("StyleID: strength=3", "strength must be between 0 and 2; got '3'"),
        ("StyleID: rows=negative", "rows must be one of all, positive; got 'negative'"),
        ("style_weight=4", "'style_weight' is not an input of FFA"),  # of one picture's keys
        ("alpha=1.5", "alpha must be between 0 and 1; got '1.5'"),
        ("method=StyleID", "'method' is not an input"),
    ],
)
def test_a_line_that_cannot_be_read_is_quoted(parse, settings, message):
    with pytest.raises(ValueError, match=message):
        parse(settings)


LIMITS = {
    "beta=0.5 # " + "x" * 121: "Line 1 of settings, 'beta=0.5': the label after # has 121 characters; at most 120",
    "beta=0.5 # " + "x" * 1_989: "has 1989 characters; at most 120",
    "beta=0.5 # " + "x" * 100_000: "Line 1 of settings has 100011 characters; at most 2000 are read",
    "layers=" + "x," * 1_000: "Line 1 of settings has 2007 characters",
    "beta=0.5" + "\n" * 1001: "more than 1000 lines",
    "#" * 3_000_000: "more than 1000 lines of 2000 characters",
    "beta=" + "9" * 1_900: "beta must be between 0 and 1",
    "x" * 1_900 + "=1": "is not an input of FFA",
    "beta=0.5 " * 200: "'beta' is given twice",
    "\ud800=1": r"Line 1 of settings, '\\ud800=1': '\\ud800' is not an input",
    "beta=\ud800\x1b[31m": r"beta needs a number; got '\\ud800\\x1b\[31m'",
    "rows=<b>": "rows must be one of all, positive; got '<b>'",
    "StyleID: \udfff=2": r"'\\udfff' is not a dial",
    "beta=0.5 # \ud800": "the label after # holds what cannot be drawn",
    "beta=0.5 # a\x1bb": "the label after # holds what cannot be drawn",
}


@pytest.mark.parametrize("settings", LIMITS, ids=lambda text: ascii(text[:20]))
def test_what_is_too_long_or_cannot_be_sent_is_refused_at_once_and_in_few_words(parse, settings):
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=LIMITS[settings]) as caught:
        parse(settings)
    assert time.perf_counter() - begin < 0.5  # measured 0.013
    message = str(caught.value)
    assert len(message) < 1000
    assert message.isprintable()
    message.encode()


def test_what_a_line_without_a_label_is_called_is_cut(parse):
    layers = ",".join(f"output.{number}" for number in range(3, 60))
    (setting,) = parse(f"beta=0.5 layers={layers} # {'x' * 120}")
    assert setting.label == "x" * 120
    (setting,) = parse(f"beta=0.5 layers={layers}")
    assert setting.inputs["layers"] == layers
    assert len(setting.label) == 120
    assert setting.label.endswith("...")
