"""Training of the demo model, a few steps of it: resumable to the bit, on every layout, to a file that loads."""

import json

import numpy as np
import pytest
import torch

from demo.codec import PatchCodec
from demo.network import Network
from demo.train import autoencoder, checkpoint
from demo.train.__main__ import PLANS, main
from demo.train.curve import draw, read
from demo.train.export import export_stock, load, smooth_random_unet
from demo.train.loop import Trainer
from demo.train.objectives import Autoencoding, Denoising
from demo.train.pictures import Pictures
from demo.train.plan import Plan
from demo.train.unet import STOCK, DemoUNet, Layout

SIZE = 32


@pytest.fixture(autouse=True)
def _gradients():
    with torch.inference_mode(False), torch.enable_grad():
        yield


@pytest.fixture
def folder(tmp_path):
    """A working folder with one file of pictures, twice as large as needed."""
    r = np.random.default_rng(0)
    coarse = r.integers(0, 256, (12, 4, 4, 3)).repeat(2 * SIZE // 4, 1).repeat(2 * SIZE // 4, 2)
    np.save(tmp_path / "pictures.npy", coarse.astype(np.uint8))
    return tmp_path


def pictures(folder):
    return Pictures(lambda: [(folder / "pictures.npy", 1.0)], SIZE)


def denoising(folder):
    images = pictures(folder).batch(12, torch.Generator().manual_seed(1))
    return Denoising(PatchCodec.fit(images), Layout(16, 32, 2, 4, 32))


def trainer(folder, steps, objective, workers=1, where=None):
    plan = Plan("stage_test", size=SIZE, batch=4, steps=steps, warmup=2, settle=4)
    return Trainer(plan, where or folder, objective, pictures(folder), workers)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


HELD_OUT = torch.full((2, 3, SIZE, SIZE), 0.5)


@pytest.mark.parametrize("kind", ["denoising", "autoencoding"])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(folder, kind):
    objective = denoising(folder) if kind == "denoising" else Autoencoding()
    whole = trainer(folder, 4, objective, where=folder / "whole")
    whole.folder.mkdir()
    whole.run(HELD_OUT, minutes=10)
    first = trainer(folder, 2, objective)
    first.run(HELD_OUT, minutes=10)
    second = trainer(folder, 4, objective)
    assert second.resume()
    assert second.progress["step"] == 2
    second.run(HELD_OUT, minutes=10)
    assert second.progress["samples"] == 16
    assert torch.equal(weights(second.model), weights(whole.model))
    assert torch.equal(weights(second.average), weights(whole.average))
    assert not torch.equal(weights(second.model), weights(first.model))


def test_two_threads_learn_what_one_does(folder):
    """Their parts of a batch are halves of it, so the gradient is the same mean up to rounding."""
    one, two = (trainer(folder, 1, denoising(folder), workers) for workers in (1, 2))
    for each in (one, two):
        each.step()
    apart = (weights(one.model) - weights(two.model)).abs().max()
    moved = (weights(one.model) - weights(trainer(folder, 1, denoising(folder)).model)).abs().max()
    assert apart < 0.05 * moved  # 0.001


@pytest.mark.parametrize(("kind", "steps"), [("denoising", 30), ("autoencoding", 12)])
def test_the_loss_falls(folder, kind, steps):
    work = trainer(folder, 100, denoising(folder) if kind == "denoising" else Autoencoding())
    losses = [work.step()[0] for _ in range(steps)]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])  # 0.91, 0.72


def test_the_journal_becomes_a_curve(folder):
    work = trainer(folder, 4, denoising(folder))
    work.run(HELD_OUT, minutes=10, report_every=2)
    entries = read(folder)
    assert [entry["step"] for entry in entries] == [2, 4]
    assert draw(entries).size == (900, 420)


def test_new_picture_files_join_and_none_is_an_error(folder):
    found = [(folder / "pictures.npy", 1.0)]
    source = Pictures(lambda: found, SIZE)
    found.append((folder / "more.npy", 1.0))
    np.save(folder / "more.npy", np.zeros((3, SIZE, SIZE, 3), np.uint8))
    source.refresh()
    assert len(source.arrays) == 2
    found.clear()
    with pytest.raises(FileNotFoundError, match=r"32 px.*demo\.train\.dataset"):
        source.refresh()


def test_scale_and_shift_make_latents_normal(folder):
    model = autoencoder.TinyAutoencoder().requires_grad_(False)
    images = pictures(folder).batch(8, torch.Generator().manual_seed(2))
    model.normalize(images)
    latents = model.encode(images)
    assert latents.shape == (8, 4, SIZE // 8, SIZE // 8)
    assert abs(float(latents.mean())) < 1e-4
    assert abs(float(latents.std()) - 1) < 1e-4
    direct = model.taesd_decoder(model.taesd_encoder(images)).clamp(0, 1)
    torch.testing.assert_close(model.decode(latents), direct, atol=1e-5, rtol=0)


def test_a_stock_file_keeps_network_and_autoencoder(tmp_path):
    vae = autoencoder.TinyAutoencoder().requires_grad_(False)
    vae.vae_scale.fill_(0.3)
    state = smooth_random_unet(STOCK)
    export_stock(tmp_path / "stock.safetensors", state, vae, {"stages": []})
    network = Network.load(tmp_path / "stock.safetensors")
    assert network.unet.layout == STOCK
    assert float(network.codec.vae_scale) == pytest.approx(0.3)
    model = DemoUNet(STOCK)
    model.load_state_dict(state)
    x, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([500])
    with torch.no_grad():
        expected, kept = model(x, t), network.unet(x, t)
    assert float((kept - expected).norm() / expected.norm()) < 0.06  # 0.041


def test_a_trained_stock_file_is_small(tmp_path):
    """Trained weights are as large as fp8 likes them; those of a new network are not, and stay in fp16."""
    state = {key: 0.05 * torch.randn_like(value) for key, value in smooth_random_unet(STOCK).items()}
    export_stock(tmp_path / "stock.safetensors", state, autoencoder.TinyAutoencoder(), {"stages": []})
    assert (tmp_path / "stock.safetensors").stat().st_size <= 50e6  # 49.3e6


def test_a_foreign_file_is_refused(tmp_path):
    checkpoint.write_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"format": "something"})
    with pytest.raises(ValueError, match="one of magicstyle-demo, magicstyle-stock, version 1, but its metadata says"):
        load(tmp_path / "other.safetensors")


@pytest.mark.slow
def test_every_stage_by_the_command(tmp_path, monkeypatch):
    """As a user with a GPU would go, on a CPU with pictures of 32 px and a step or two each."""
    for name, plan in PLANS.items():
        steps = 1 if name == "stock" else 2  # a step of that large network takes as long as all others
        monkeypatch.setitem(PLANS, name, Plan(plan.name, size=SIZE, batch=2, steps=steps, seed=plan.seed))
    r = np.random.default_rng(0)
    for size in (128, 256):
        noise = r.integers(0, 256, (4, size // 8, size // 8, 3), np.uint8)
        np.save(tmp_path / f"pictures_{size}_000.npy", noise.repeat(8, 1).repeat(8, 2))
    for stage in ("64", "128", "256", "autoencoder", "stock"):
        main([str(tmp_path), "--stage", stage])
    for stage, name in (("256", "own"), ("stock", "stock")):
        main([str(tmp_path), "--stage", stage, "--export", str(tmp_path / f"{name}.safetensors")])
    _, _, record = load(tmp_path / "own.safetensors")
    assert [s["name"] for s in record["stages"]] == ["stage64", "stage128", "stage256"]
    _, metadata = checkpoint.read_tensors(tmp_path / "stock.safetensors", "none")
    assert json.loads(metadata["training"])["samples"] == 2
    images = torch.rand(1, 3, SIZE, SIZE)
    network = Network.load(tmp_path / "stock.safetensors")
    assert network.stylize(network.invert(images, 2)).shape == images.shape
