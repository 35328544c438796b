"""Which features are kept, where, and that every place gives back the same numbers."""

import gc
import math
import os
import resource
from contextlib import closing, contextmanager

import pytest
import torch
from denoisers import (
    FINGERPRINT,
    assert_close,
    capture,
    descending,
    feature,
    fusion,
    gaussian,
    select,
    smooth_latent,
)

from magicstyle_core.bank.features import PRECISIONS, Feature, PackedFeature
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.bank.storage import DiskWriter, MemoryWriter, RecomputedStore
from magicstyle_core.fusion.attention import CapturePatch
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.fusion.rules import StandardAttention
from magicstyle_core.sampling.ddim import Exact, sample
from magicstyle_core.schedule import SigmaWindow, ascending


def disk(folder, plan, batch=1, size=(8, 8)):
    return lambda group: DiskWriter(folder / f"{group}.safetensors", plan.layouts(batch, size))


def inverted(model, plan, x, new_writer, groups=None):
    with closing(FeatureRecorder(plan, groups or (len(x),), new_writer)) as recorder:
        way = Exact()(model.patched(CapturePatch(recorder)), x, plan.sigmas)
        return recorder.publish(way, FINGERPRINT)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_on_disk_gives_back_what_memory_does(model, sigmas, tmp_path, precision):
    plan = CapturePlan(select(model), ascending(sigmas), PRECISIONS[precision])
    x = torch.cat([smooth_latent(8, 8, 1), smooth_latent(8, 8, 2)])
    stores = [lambda group: MemoryWriter(), disk(tmp_path, plan)]
    for in_memory, on_disk in zip(*(inverted(model, plan, x, store, (1, 1)) for store in stores), strict=True):
        assert (on_disk.store.storage, on_disk.precision) == ("disk", precision)
        assert on_disk.bytes == in_memory.bytes
        for step in plan.kept:
            for layer in plan.layers:
                one, other = (feature(bank, step, layer.key, like=x) for bank in (in_memory, on_disk))
                assert one.grid == other.grid
                assert torch.equal(one.hidden, other.hidden)


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 0), ("fp16", 1e-3), ("int8", 2e-2)])
def test_packing_loses_no_more_than_the_type_can_hold(dtype, tolerance):
    hidden = gaussian((2, 16, 32), 1).float()
    packed = PackedFeature.pack(Feature(hidden, (4, 4)), PRECISIONS[dtype])
    assert_close(packed.unpack(hidden).hidden, hidden, tolerance)


def test_eight_bits_keep_every_token_at_its_own_scale():
    """Tokens of very different size all keep a relative error of half a step of 1/127 of their largest number."""
    hidden = gaussian((1, 5, 64), 2).float() * torch.tensor([1e-3, 1.0, 1e3, 0.0, 1e-6])[:, None]
    back = PackedFeature.pack(Feature(hidden, (5, 1)), torch.int8).unpack(hidden).hidden
    largest = hidden.abs().amax(-1, keepdim=True)
    assert bool(((back - hidden).abs() <= largest / 127 * 0.501).all())


def test_the_file_goes_with_the_bank(model, sigmas, tmp_path):
    plan = CapturePlan(select(model), ascending(sigmas))
    (bank,) = inverted(model, plan, smooth_latent(8, 8, 1), disk(tmp_path, plan))
    assert len(list(tmp_path.iterdir())) == 1
    del bank
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_ends_in_the_middle_leaves_no_file_and_no_bank(model, sigmas, tmp_path, error):
    plan = CapturePlan(select(model), ascending(sigmas))

    def fail(live, call):
        if call.forward.sigma == float(sigmas[1]):
            raise error("cancelled")
        return live

    x = smooth_latent(8, 8, 1)
    recorder = FeatureRecorder(plan, (1,), disk(tmp_path, plan))
    with pytest.raises(error), closing(recorder):
        Exact()(model.patched(CapturePatch(recorder), fail), x, plan.sigmas)
    assert not list(tmp_path.iterdir())


def test_a_layer_that_was_never_seen_publishes_nothing(model, sigmas, tmp_path):
    plan = CapturePlan(select(model), ascending(sigmas))
    way = Exact()(model, smooth_latent(8, 8, 1), plan.sigmas)
    recorder = FeatureRecorder(plan, (1,), disk(tmp_path, plan))
    with pytest.raises(ValueError, match="was not seen"), closing(recorder):
        recorder.publish(way, FINGERPRINT)
    assert not list(tmp_path.iterdir())


def test_a_writer_that_cannot_be_made_takes_the_others_along(model, sigmas, tmp_path):
    plan = CapturePlan(select(model), ascending(sigmas))

    def new_writer(group):
        if group == 1:
            raise OSError("disk full")
        return disk(tmp_path, plan)(group)

    with pytest.raises(OSError, match="disk full"):
        FeatureRecorder(plan, (1, 1), new_writer)
    assert not list(tmp_path.iterdir())


def test_a_file_that_changed_is_refused(model, sigmas, tmp_path):
    plan = CapturePlan(select(model), ascending(sigmas))
    (bank,) = inverted(model, plan, smooth_latent(8, 8, 1), disk(tmp_path, plan))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="changed or replaced"):
        feature(bank, 1, select(model).layers[0].key, like=sigmas)


@pytest.mark.parametrize("how", ["removed", "changed"])
def test_features_that_are_lost_say_how_to_get_them_back(model, sigmas, tmp_path, how):
    plan = CapturePlan(select(model), ascending(sigmas))
    (bank,) = inverted(model, plan, smooth_latent(8, 8, 1), disk(tmp_path, plan))
    (path,) = tmp_path.iterdir()
    times = path.stat()
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1000] + bytes(1000))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    last = max(plan.layouts(1, (8, 8)))
    with pytest.raises(ValueError, match="kept on disk are lost: .*Change a setting of the inversion"):
        bank.store.at(last.step)[plan.layers.layers[-1].key]


@contextmanager
def full_disk(limit):
    """Files may not grow beyond ``limit`` bytes: none of this process, so nothing is reported meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [0, 100, 5_000])
def test_a_disk_that_is_full_is_an_error_in_words_and_leaves_nothing(model, sigmas, tmp_path, limit):
    plan = CapturePlan(select(model), ascending(sigmas))
    full = r"cannot be kept in /.*: File too large\. Make room there, or invert with"
    with full_disk(limit), pytest.raises(ValueError, match=full):
        inverted(model, plan, smooth_latent(8, 8, 1), disk(tmp_path / "new", plan))
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_in_words(model, sigmas, tmp_path):
    plan = CapturePlan(select(model), ascending(sigmas))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"Features cannot be kept in .*: (Not a directory|File exists)"):
        DiskWriter(tmp_path / "file" / "x", plan.layouts(1, (8, 8)))


def test_a_feature_of_a_file_has_memory_of_its_own(model, sigmas, tmp_path):
    """It outlives the bank and its file, and whoever changes it changes no other."""
    plan = CapturePlan(select(model), ascending(sigmas))
    (bank,) = inverted(model, plan, smooth_latent(8, 8, 1), disk(tmp_path, plan))
    key = select(model).layers[0].key
    first, second = (bank.store.at(1)[key].values for _ in range(2))
    kept = second.clone()
    first.zero_()
    del bank
    gc.collect()
    assert torch.equal(second, kept)
    assert first.untyped_storage().nbytes() == first.numel() * first.element_size()


def test_every_step_reads_the_nearest_that_is_kept(model):
    up = ascending(descending(12))
    for every in (1, 2, 3, 5, 40):
        plan = CapturePlan(select(model), up, every=every)
        assert len(plan.kept) == math.ceil(12 / every)
        assert plan.kept[-1] == 12  # the noisiest is kept: there style comes in
        for step, kept in plan.kept_for.items():
            distance = [abs(float((up[other] / up[step]).log())) for other in plan.kept]
            assert distance[plan.kept.index(kept)] == min(distance)


def test_nothing_is_kept_nor_fused_outside_of_the_window(model, sigmas):
    up = ascending(sigmas)
    window = SigmaWindow(start=float(up[3]), end=float(up[1]))
    (bank,) = capture(model, smooth_latent(8, 8, 1), sigmas, window=window)
    assert dict(bank.kept_for) == {2: 2, 3: 3}
    assert [bank.kept_at(float(sigma)) for sigma in up[1:]] == [None, 2, 3, None]
    assert bank.bytes < capture(model, smooth_latent(8, 8, 1), sigmas)[0].bytes
    (style,) = capture(model, smooth_latent(8, 8, 5), sigmas)
    fused = model.patched(fusion(model, FeatureFusion(), bank, style))
    for step, acts in ((4, False), (3, True), (2, True), (1, False)):
        x, sigma = bank.trajectory.latents[step] + 1, up[step : step + 1]
        assert torch.equal(fused(x, sigma), model(x, sigma)) != acts


def test_keeping_fewer_steps_takes_less_and_changes_little(model):
    sigmas = descending(16)
    both = torch.cat([smooth_latent(8, 8, 1), smooth_latent(8, 8, 2)])
    banks = {every: capture(model, both, sigmas, groups=(1, 1), every=every) for every in (1, 2, 4)}
    pictures = {}
    for every, (content, other) in banks.items():
        fused = model.patched(fusion(model, FeatureFusion(), content, other))
        way = content.trajectory
        pictures[every] = sample(fused, way.latents[-1], sigmas, way.residuals_down(16))
    features = [content.store.bytes for content, _ in banks.values()]
    assert features == sorted(features, reverse=True)
    assert features[0] == 4 * features[2]
    change = {every: float((pictures[every] - pictures[1]).norm() / pictures[1].norm()) for every in (2, 4)}
    assert 0 < change[2] < change[4] < 0.05  # measured 0.018 and 0.029


def test_a_recomputed_bank_keeps_nothing_and_says_so_when_read(model, sigmas):
    plan = CapturePlan(select(model), ascending(sigmas))
    store = RecomputedStore(torch.zeros(1, 77, 16))
    (bank,) = inverted(model, plan, smooth_latent(8, 8, 1), lambda group: store)
    assert bank.recomputed
    assert (bank.store.storage, bank.precision) == ("recompute", "-")
    assert bank.bytes == bank.trajectory.bytes
    assert bank.step_at(float(sigmas[0])) == 4
    with pytest.raises(ValueError, match="keeps no features"):
        feature(bank, 1, select(model).layers[0].key, like=sigmas)


RULES = {
    "the paper": (FeatureFusion(), {"content", "style"}),
    "matched": (FeatureFusion(0.0, 1.0, queries="matched"), {"content", "style"}),
    "StyleID": (FeatureFusion(0.75, 0.25, queries="live"), {"content", "style"}),
    "MasaCtrl": (FeatureFusion(0.0, 1.0, queries="live"), {"style"}),
    "MasaCtrl, live and style": (FeatureFusion(0.0, 1.0, "live+style", "live"), {"style", "live"}),
    "style alone": (FeatureFusion(0.0, 1.0), {"style"}),
    "content alone": (FeatureFusion(1.0, 0.0, "content"), {"content"}),
    "no rule": (StandardAttention(), {"live"}),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_name_the_banks_that_they_read(model, content, style, sigmas, name):
    """A bank that is not named may be without features, and changes nothing; one that is named may not."""
    rule, reads = RULES[name]
    assert rule.reads == reads
    banks = {"content": content, "style": style}
    seeds = {"content": 10, "style": 20}
    empty = {role: capture(model, smooth_latent(8, 8, seed), sigmas, layers="none")[0] for role, seed in seeds.items()}
    x, sigma = content.trajectory.latents[2] + 1, content.trajectory.sigmas[2:3]
    whole = model.patched(fusion(model, rule, **banks))(x, sigma)
    for role in banks:
        partly = fusion(model, rule, **{**banks, role: empty[role]})
        if role in reads:
            assert partly.at(float(sigma)) is None
            assert torch.equal(model.patched(partly)(x, sigma), model(x, sigma))
        else:
            assert torch.equal(model.patched(partly)(x, sigma), whole)
