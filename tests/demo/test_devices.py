"""What runs on a GPU runs without a tensor left behind on the CPU, and gives the same picture: on a device that only
claims to be another one."""

import contextlib

import pytest
import torch
from other_device import OTHER, OtherDevice, OtherTensor, moved

from demo.network import SMALL, Network, schedule
from demo.train import loop
from demo.train.loop import Plan, Trainer
from demo.train.objectives import Autoencoding, Denoising
from magicstyle_core.bank.bank import ModelFingerprint
from magicstyle_core.bank.features import PRECISIONS
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.bank.serialization import load_bank, save_bank
from magicstyle_core.bank.storage import DiskWriter, MemoryWriter
from magicstyle_core.fusion.attention import CapturePatch
from magicstyle_core.fusion.regions import Region, Regions
from magicstyle_core.methods import METHODS
from magicstyle_core.sampling.ddim import FixedPoint

STEPS, SIZE = 3, 32


def picture(seed, size=SIZE):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def here():
    return Network.load(SMALL)


@pytest.fixture(scope="module")
def there():
    network = Network.load(SMALL)
    moved(network.unet)
    return network


@pytest.fixture(scope="module")
def near(here):
    return [here.invert(picture(seed), STEPS) for seed in (1, 2)]


@pytest.fixture(scope="module")
def far(there):
    with OtherDevice():
        return [there.invert(picture(seed), STEPS) for seed in (1, 2)]


# Makes a writer for features of a plan and a size of latents, in a folder.
PLACES = {
    "memory of the device": lambda plan, size, folder: MemoryWriter(),
    "memory of the host": lambda plan, size, folder: MemoryWriter(torch.device("cpu")),
    "disk": lambda plan, size, folder: DiskWriter(folder / f"{size[0]}.bank", plan.layouts(1, size)),
}


def parts_of(name):
    method = METHODS[name]
    return method.parts(**{dial.name: dial.default for dial in method.dials})


def styled(network, content, style, name="MagicStyle", **settings):
    patches = [network.patch(part.rule, content, style, **settings) for part in parts_of(name)]
    return network.stylize(content, patches, style, METHODS[name].look)


def inverted(network, image, new_writer, precision):
    """Like `Network.invert`, to any place."""
    x = network.codec.encode(image)
    plan = CapturePlan(network.layers, schedule(STEPS), PRECISIONS[precision])
    with contextlib.closing(FeatureRecorder(plan, [1], lambda group: new_writer(plan, x.shape[2:]))) as recorder:
        way = FixedPoint(1)(network.denoiser([CapturePatch(recorder)]), x, plan.sigmas.to(x.device))
        return recorder.publish(way, ModelFingerprint("demo", "eps", 64, 64, 7))[0]


def assert_alike(there, here):
    assert isinstance(there, OtherTensor)
    torch.testing.assert_close(there.near, here, rtol=0, atol=1e-3)


def test_tensors_of_two_devices_do_not_meet():
    with OtherDevice():
        x = torch.rand(2, 3).to(OTHER)
        assert x.device == OTHER
        assert torch.equal((x + 1).cpu(), x.cpu() + 1)
        assert torch.zeros(2, device=OTHER).device == OTHER
        assert float(x.sum()) == float(x.near.sum())
        for meet in (lambda: x + torch.rand(2, 3), lambda: torch.rand(2, 3)[x > 0], lambda: x.numpy()):
            with pytest.raises((RuntimeError, TypeError), match="the other device"):
                meet()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_picture_of_the_cpu(here, there, near, far, name):
    with OtherDevice():
        result = styled(there, *far, name)
    assert_alike(result, styled(here, *near, name))


@pytest.mark.parametrize(
    ("place", "precision"), [("memory of the device", "int8"), ("memory of the host", "fp16"), ("disk", "int8")]
)
def test_features_come_back_from_wherever_they_are(here, there, place, precision, tmp_path):
    """A style of another size, in part; and once more from a saved file."""
    pictures = picture(1), picture(2, 48)
    expected = styled(
        here, *(inverted(here, image, lambda *_: MemoryWriter(), precision) for image in pictures), strength=0.5
    )

    def new_writer(plan, size):
        return PLACES[place](plan, size, tmp_path)

    with OtherDevice():
        banks = [inverted(there, image.to(OTHER), new_writer, precision) for image in pictures]
        assert_alike(styled(there, *banks, strength=0.5), expected)
        for number, bank in enumerate(banks):
            save_bank(bank, tmp_path / f"{number}.safetensors")
        read = [load_bank(tmp_path / f"{number}.safetensors") for number in range(2)]
        assert_alike(styled(there, *read, strength=0.5), expected)


def test_regions_are_mixed_there(here, there, near, far):
    """Masks stay on the CPU until a layer needs them."""
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, :, : SIZE // 3] = 1
    ((rule, _),) = parts_of("MagicStyle")
    regions = Regions((Region(rule, weight=mask), Region(rule, weight=0.5)))
    expected = here.stylize(near[0], [here.patch(regions, *near)], near[1])
    with OtherDevice():
        assert_alike(there.stylize(far[0], [there.patch(regions, *far)], far[1]), expected)


class Fixed:
    """Training pictures that are always the same."""

    def batch(self, count, generator):
        return picture(3).expand(count, -1, -1, -1)

    def refresh(self):
        pass


class OneThread:
    """A pool that works at once: other threads do not know the device."""

    map = staticmethod(map)

    def __init__(self, workers):
        pass


OBJECTIVES = {"denoising": lambda: Denoising(Network.load(SMALL).codec), "autoencoding": Autoencoding}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_training_takes_the_same_step(tmp_path, monkeypatch, objective):
    monkeypatch.setattr(Trainer, "_precision", lambda self: contextlib.nullcontext())  # the name "meta" has none
    monkeypatch.setattr(loop, "ThreadPoolExecutor", OneThread)
    with torch.inference_mode(False), torch.enable_grad():
        plan = Plan("stage", size=SIZE, batch=2, steps=1, warmup=1)
        expected = Trainer(plan, tmp_path, objective(), Fixed())
        expected_step = expected.step()
        with OtherDevice():
            trainer = Trainer(plan, tmp_path, objective(), Fixed(), device=OTHER)
            assert trainer.step() == pytest.approx(expected_step, rel=1e-3)
            for far, near in zip(trainer.model.parameters(), expected.model.parameters(), strict=True):
                assert isinstance(far, OtherTensor)
                torch.testing.assert_close(far.near.detach(), near.detach(), rtol=1e-2, atol=1e-4)
            trainer.save()
