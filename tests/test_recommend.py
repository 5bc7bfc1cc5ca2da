"""Recommended settings: arithmetic that fits, and grows with the device."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indexer.recommend import CARDS_GIB, GIB, MOST_PICTURES, Machine, batch_size, card, decode_workers, recommend
from indexer.types import ModelSize

VIT_H = ModelSize(n_parameters=985_000_000, n_activations=257 * 1280 * 12, side_px=224, dim=1280)
models = st.builds(
    ModelSize,
    n_parameters=st.integers(1_000_000, 20_000_000_000),
    n_activations=st.integers(10_000, 100_000_000),
    side_px=st.integers(32, 512),
    dim=st.just(1024),
)


@given(
    models,
    st.floats(1, 200),
    st.sampled_from(["cpu", "cuda"]),
    st.sampled_from(["fp32", "bf16", "fp16", "int8+fp32", "fp8+bf16"]),
)
def test_weights_and_a_batch_fit_into_the_device_where_the_model_does(
    model: ModelSize, gib: float, kind: str, precision: str
) -> None:
    machine = Machine("cuda" if kind == "cuda" else "cpu", int(gib * GIB), precision, 8, "it")
    size = batch_size(model, machine)
    assert 1 <= size <= MOST_PICTURES[machine.kind]
    width = 4 if precision.endswith("fp32") else 2
    if recommend(model, machine).fits:
        assert width * (model.n_parameters + size * model.n_activations) < machine.memory_bytes


@given(models, st.floats(1, 200), st.floats(1, 200))
def test_a_larger_card_never_gets_a_smaller_batch(model: ModelSize, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert batch_size(model, card(less, 8)) <= batch_size(model, card(more, 8))


def test_the_real_model_fits_every_common_card() -> None:
    found = [recommend(VIT_H, card(gib, 8)) for gib in CARDS_GIB]
    assert all(each.fits for each in found)
    assert [batch_size(VIT_H, card(gib, 8)) for gib in CARDS_GIB] == [64, 256, 256, 256, 256, 256]


def test_a_model_that_is_too_large_is_said_to_be() -> None:
    found = recommend(VIT_H, card(2, 8))
    assert not found.fits
    assert "take a smaller model" in {advice.setting: advice.reason for advice in found.settings}["model.batch_size"]


def test_every_setting_has_its_reason() -> None:
    machine = Machine("cpu", 16 * GIB, "fp32", 64, "a CPU")
    found = {advice.setting: advice for advice in recommend(VIT_H, machine).settings}
    assert (found["model.precision"].value, found["model.batch_size"].value) == ("fp32", 32)
    assert found["decode.workers"].value == decode_workers(64) == 16
    assert "985 M parameters are 3.94 GB" in found["model.batch_size"].reason
    assert all(advice.reason for advice in found.values())


def test_eight_bits_make_room_for_the_index_and_are_to_pass_the_gate() -> None:
    model = ModelSize(985_000_000, 257 * 1280 * 12, 224, 1280, n_int8=629_145_600, n_fp8=419_430_400)
    for precision, n_bytes in (("fp16", 1.97), ("int8+fp16", 1.34), ("fp8+bf16", 1.55), ("int8+fp32", 2.05)):
        machine = Machine("cuda", 8 * GIB, precision, 8, "a card")
        found = {advice.setting: advice for advice in recommend(model, machine).settings}
        assert f"985 M parameters are {n_bytes} GB in {precision}" in found["model.batch_size"].reason
        eight_bits = precision.partition("+")[0]
        assert found["model.precision"].value == eight_bits
        assert ("indexer evaluate" in found["model.precision"].reason) == ("+" in precision)
