"""Prompts of the demo model: captions that are true, tokens, the encoder, and training that starts where it stopped."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from demo.network import SMALL
from demo.render import scene
from demo.text import wording
from demo.text.captions import caption
from demo.text.encoder import TextEncoder
from demo.text.facts import CLASSES, UNSAID, Facts
from demo.text.vocabulary import LENGTH, SILENT, padded, tokenize, words
from demo.train import checkpoint, dataset, faces, observe, reading
from demo.train.export import export, load, load_text
from demo.train.judge import Judge, frechet, labels
from demo.train.loop import Trainer
from demo.train.objectives import Painting
from demo.train.painter import Painter, painter_from, parts
from demo.train.plan import Plan
from demo.train.told import ToldPictures, token_rows

SIZE = 32


@pytest.fixture(autouse=True)
def _gradients():
    with torch.inference_mode(False), torch.enable_grad():
        yield


def seen(seed=5, style="photo"):
    return faces.Seen(seed, style, (0.3, 0.2, 0.1), (0.1, 0.2, 0.7), (0.5, 0.5, 0.5))


def some_facts(**changes):
    return dataclasses.replace(observe.facts(seen()), **changes)


@pytest.fixture(scope="module")
def reader():
    """An encoder whose layers say something."""
    torch.manual_seed(0)
    encoder = TextEncoder()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder.requires_grad_(False)


def test_a_caption_is_the_same_for_its_seed_and_others_differ():
    texts = [caption(some_facts(), seed) for seed in range(40)]
    assert texts == [caption(some_facts(), seed) for seed in range(40)]
    assert len(set(texts)) > 35


def test_a_caption_says_no_class_that_is_not_there():
    """Words that only one style, one piece of clothing or one backdrop has are said of that one alone."""
    for attribute, table in (("style", wording.STYLES), ("garment", wording.GARMENTS), ("backdrop", wording.BACKDROPS)):
        for name in CLASSES[attribute]:
            others = {w for other in CLASSES[attribute] if other != name for text in table[other] for w in text.split()}
            own = {word for text in table[name] for word in text.split()}
            foreign = others - own - SILENT - {"neck", "portrait", "on", "background"}
            bare = Facts(**dict.fromkeys(CLASSES, None) | {attribute: name})
            for seed in range(20):
                assert not foreign & set(caption(bare, seed).replace(",", "").split()), (name, seed)


def test_every_word_of_captions_is_known_and_they_fit():
    for seed in range(300):
        facts = observe.facts(seen(seed, CLASSES["style"][seed % 15]))
        tokens, unknown = tokenize(caption(facts, seed, dropped=0.0))
        assert not unknown
        assert 3 <= len(tokens) <= LENGTH
    assert len(set(words())) == len(words()) < 512


def test_facts_are_those_of_the_scene():
    for seed in range(50):
        facts, portrait = observe.facts(seen(seed)), scene(seed)
        assert (facts.glasses == "glasses") == bool(portrait.face.glasses)
        assert (facts.beard == "beard") == bool(portrait.face.beard)
        assert facts.cut == portrait.hair.cut
        assert facts.labels()[list(CLASSES).index("garment")] == CLASSES["garment"].index(portrait.clothes.garment)
    assert some_facts(mouth=None).labels()[list(CLASSES).index("mouth")] == UNSAID


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0.05, 0.05, 0.06), "black"),
        ((0.5, 0.5, 0.52), "grey"),
        ((0.9, 0.9, 0.85), "white"),
        ((0.7, 0.1, 0.1), "red"),
        ((0.45, 0.28, 0.12), "brown"),
        ((0.8, 0.75, 0.2), "yellow"),
        ((0.2, 0.6, 0.2), "green"),
        ((0.1, 0.6, 0.6), "teal"),
        ((0.1, 0.2, 0.7), "blue"),
        ((0.5, 0.1, 0.6), "purple"),
    ],
)
def test_colours_have_the_names_that_people_give_them(rgb, name):
    assert observe.color_name(rgb) == name


def test_unknown_words_are_left_out_and_named_once():
    tokens, unknown = tokenize("A zebra with RED hair, zebra; 漂亮 🦓 the glasses")
    assert unknown == ["zebra", "漂亮", "🦓"]
    assert tokens == tokenize("with red hair,, glasses")[0]
    assert tokenize("") == ([], [])
    assert len(tokenize("red hair " * 10_000)[0]) == 20_000


def test_prompts_are_padded_to_whole_chunks():
    assert padded([]) == [0] * LENGTH
    assert [len(padded([1] * count)) for count in (1, LENGTH, LENGTH + 1)] == [LENGTH, LENGTH, 2 * LENGTH]


def test_the_empty_prompt_is_exactly_zeros(reader):
    assert torch.equal(reader(token_rows([""])), torch.zeros(1, LENGTH, 64))
    assert torch.equal(reader(torch.zeros(2, 3 * LENGTH, dtype=torch.long)), torch.zeros(2, 3 * LENGTH, 64))


def test_padding_changes_no_word_and_chunks_are_read_apart(reader):
    short, long = token_rows(["red hair"]), token_rows(["red hair " * 20])
    alone, beside = reader(short), reader(torch.cat([short, long[:, :LENGTH]], 1))
    torch.testing.assert_close(beside[:, :LENGTH], alone)
    assert not alone[:, 2:].any()
    torch.testing.assert_close(reader(long)[:, :LENGTH], reader(long[:, :LENGTH]))


def test_the_order_of_words_is_read(reader):
    a, b = reader(token_rows(["red hair, blue shirt", "blue hair, red shirt"]))
    assert float((a[:5].sum(0) - b[:5].sum(0)).norm() / a[:5].sum(0).norm()) > 0.05


def test_a_length_between_chunks_is_refused(reader):
    with pytest.raises(ValueError, match="multiple of 32"):
        reader(torch.zeros(1, 40, dtype=torch.long))


def test_the_shipped_network_is_the_same_with_a_context_until_it_learns(reader):
    """No context, one of zeros, and cross-attention that has just been opened."""
    unet, _, _ = load(SMALL)
    generator = torch.Generator().manual_seed(1)
    x, t = torch.randn(2, 16, 8, 8, generator=generator), torch.tensor([30, 900])
    context = reader(token_rows(["a woman with red hair", ""]))
    with torch.no_grad():
        plain = unet(x, t)
        assert not unet.reads_text
        assert torch.equal(unet(x, t, context=torch.zeros_like(context)), plain)
        unet.open_to_text(generator)
        assert unet.reads_text
        assert torch.equal(unet(x, t, context=context), plain)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a few faces and other pictures."""
    path = tmp_path_factory.mktemp("text")
    images, notes = faces.collect(faces.FIRST_SEED, 6, 3, SIZE)
    faces.write(faces.file_name(path, 128, 0), images, notes)
    others = np.stack([np.uint8(255 * dataset.natural.plain(SIZE, np.random.default_rng(i))) for i in range(4)])
    np.save(dataset.file_name(path, 128, 0, "others"), others)
    return path


def trainer(folder, steps):
    plan = Plan("text_test", size=SIZE, batch=6, steps=steps, warmup=2, settle=4)
    work = Trainer(plan, folder, Painting(load(SMALL)[1]), ToldPictures(folder, SIZE))
    if not work.resume():
        work.start_from(painter_from(SMALL)[0], [])
    return work


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_resumes_to_the_bit_and_changes_what_a_prompt_does(folder, tmp_path):
    held_out = ToldPictures(folder, SIZE).batch(3, torch.Generator().manual_seed(9))
    for part in ("once", "twice"):
        (tmp_path / part).mkdir()
        for path in folder.iterdir():
            (tmp_path / part / path.name).write_bytes(path.read_bytes())
    whole = trainer(tmp_path / "once", 4)
    whole.run({"held_out": held_out}, minutes=10, report_every=2)
    trainer(tmp_path / "twice", 2).run(held_out, minutes=10)
    second = trainer(tmp_path / "twice", 4)
    assert second.progress["step"] == 2
    second.run(held_out, minutes=10)
    assert torch.equal(weights(second.model), weights(whole.model))
    assert torch.equal(weights(second.average), weights(whole.average))
    assert second.progress["cpu_seconds"] > 0
    tokens = token_rows(["red hair, woodcut", ""])
    x, t = torch.randn(1, 16, 8, 8).expand(2, -1, -1, -1), torch.tensor([500, 500])
    told, untold = second.model(x, t, tokens)
    assert not torch.equal(told, untold)


def test_a_painter_survives_its_file_and_training_starts_from_the_file_alone(tmp_path):
    state, record = painter_from(SMALL, seed=3)
    unet, text = parts(state)
    for key in unet:
        if key.endswith("attn2.to_out.0.weight"):
            unet[key] = torch.randn(unet[key].shape, generator=torch.Generator().manual_seed(len(key))) * 0.05
    path = tmp_path / "next.safetensors"
    stages = [*record["stages"], {"name": "text128", "size": 128, "batch": 8, "step": 7, "samples": 56, "seed": 6}]
    export(path, unet, load(SMALL)[1], reading.summary(stages), text)
    assert path.stat().st_size < 10e6
    again, record = painter_from(path)
    for key, value in unet.items():
        torch.testing.assert_close(again["unet." + key], value, atol=2e-3, rtol=1e-3)
    assert load(path)[0].reads_text
    torch.testing.assert_close(load_text(path).words.weight, text["words.weight"], atol=2e-3, rtol=1e-3)
    assert load_text(SMALL) is None
    reading._adopt(tmp_path, path)
    assert (tmp_path / "text64.done").exists()
    assert not (tmp_path / "text128.done").exists()
    Painter().load_state_dict(again)


def test_a_file_with_other_words_is_refused(tmp_path):
    state, record = painter_from(SMALL)
    unet, text = parts(state)
    path = tmp_path / "next.safetensors"
    export(path, unet, load(SMALL)[1], record, text)
    tensors, metadata = checkpoint.read_tensors(path)
    checkpoint.write_tensors(path, tensors, metadata | {"words": json.dumps(["other", *words()[1:]])})
    with pytest.raises(ValueError, match=r"other words.*end of that file"):
        load_text(path)


def test_the_judge_counts_only_what_is_said():
    judge = Judge().train(False)
    facts = [some_facts(mouth=None), some_facts(mouth="open")]
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    truth = labels(facts)
    for name, classes in CLASSES.items():
        with torch.no_grad():
            head = judge.heads[name]
            head.weight.zero_()
            head.bias.zero_()
            head.bias[classes.index(getattr(facts[1], name))] = 5.0
    assert judge.accuracy(images, truth) == dict.fromkeys(CLASSES, 1.0)


def test_the_distance_of_normal_clouds():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(20_000, 4, generator=generator) for _ in range(2))
    assert frechet(a, a) == pytest.approx(0.0, abs=1e-6)
    assert frechet(a, 2 * b + 3) == pytest.approx(4 * 9 + 4, rel=0.03)  # moved by 3, spread by 1, in 4 directions
