"""``skelssl.embed`` against the evaluation path, and against each step done by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import skelssl
from skelssl.core.errors import UserError
from skelssl.data.clip import RawClip
from skelssl.data.parsed import ParsedStore
from skelssl.data.poses import Poses
from skelssl.data.recipes import RecipeConfig
from skelssl.pretrained.files import save_encoders
from skelssl.pretrained.foreign import foreign_about
from skelssl.pretrained.load import build_encoder
from skelssl.pretrained.preprocess import collate
from skelssl.skeleton.layout import layouts, load_layout
from skelssl.skeleton.mapping import joint_map
from tests.helpers.config import train_config
from tests.helpers.frozen import ENCODERS, frozen_of


def small(method="mamp", stream="joint", **changes):
    """An encoder of toy size, 12 frames at its test view."""
    about = foreign_about(method, stream)
    about["encoder"] = about["encoder"] | ({"hidden": 2} if method == "pstl" else
                                           {"frames": 12, "hidden": 8, "depth": 1, "heads": 2})  # fmt: skip
    if method != "pstl":
        about["view"] = {name: view | {"frames": 12} for name, view in about["view"].items()}
    torch.manual_seed(0)
    return build_encoder(about | changes)


def body(frames=20, persons=1, seed=0, name="ntu25", channels=3):
    joints = len(load_layout(name).joints)
    return np.random.default_rng(seed).normal(size=(frames, persons, joints, channels)).astype(np.float32)


def by_hand(encoder, x, ignore=()):
    """(D,) of one whole clip (T, M, V, 3): recipe, test view, encoder, mean over views."""
    config = RecipeConfig.parse(encoder.about["recipe"])
    ready = config.apply(RawClip.of_persons("clip", 0, x), config.build())
    with torch.no_grad():
        return encoder(encoder.view["test"](collate([ready], [0]), None), ignore=list(ignore)).mean(0).numpy()


@pytest.mark.parametrize("name", ENCODERS)
def test_clips_of_the_data_set_have_the_features_of_the_evaluation(name, data_root):
    frozen = frozen_of(name, data_root)
    store, rows = frozen.data.store, frozen.rows["test"]
    parsed = ParsedStore(store.folder.parents[1] / "parsed")
    recipe = RecipeConfig.parse(frozen.encoder.about["recipe"]).build()
    clips = [recipe.select(parsed.clip(parsed.names.index(store.names[row]))) for row in rows]
    wanted = frozen.features("test", "test").averaged().x[:, 0].numpy()
    found = skelssl.embed(clips, frozen.encoder)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_several_views_of_a_clip_are_averaged_as_in_an_evaluation(data_root):
    encoder = small("skeleton2vec")
    encoder.view["test"].clips = 3
    clips = [body(30, seed=seed) for seed in range(3)]
    found = skelssl.embed(clips, encoder)
    np.testing.assert_allclose(found, [by_hand(encoder, clip) for clip in clips], atol=1e-6)
    assert encoder.view["test"](collate([clips[0]], [0]), None).shape[0] == 3


def test_order_lengths_and_batches_do_not_matter():
    encoder = small()
    clips = [body(8 + 5 * i, 1 + i % 2, seed=i) for i in range(5)]
    clips[1][:, :, 23] = np.nan  # another set of joints, hence another batch
    wanted = [by_hand(encoder, clips[i]) for i in (0, 2, 3, 4)]
    for batch in (1, 2, 256):
        found = skelssl.embed(clips, encoder, batch=batch)
        np.testing.assert_allclose(found[[0, 2, 3, 4]], wanted, atol=1e-6)
        np.testing.assert_allclose(found[1:2], skelssl.embed(clips[1], encoder), atol=1e-6)
    backwards = skelssl.embed(clips[::-1], encoder)
    np.testing.assert_allclose(backwards[::-1], found, atol=1e-6)


def test_a_clip_of_one_person_needs_no_person_axis():
    encoder, x = small(), body()
    np.testing.assert_array_equal(skelssl.embed(x[:, 0], encoder), skelssl.embed(x, encoder))
    np.testing.assert_array_equal(skelssl.embed(torch.from_numpy(x), encoder), skelssl.embed([x], encoder))
    np.testing.assert_array_equal(skelssl.embed({"a": x}, encoder), skelssl.embed([x], encoder))


@pytest.mark.parametrize("method", ["mamp", "pstl"])
def test_a_joint_that_was_never_seen_is_left_out(method):
    encoder, x = small(method), body(persons=2)
    for person in (0, 1):  # one of the persons is enough
        holes = x.copy()
        holes[:, person, 23] = np.nan
        np.testing.assert_allclose(skelssl.embed(holes, encoder)[0], by_hand(encoder, x, ignore=[23]), atol=1e-6)
    assert np.abs(by_hand(encoder, x) - by_hand(encoder, x, ignore=[23])).max() > 1e-4


def test_a_bone_to_a_joint_that_was_never_seen_is_left_out_too():
    encoder, x = small(stream="bone"), body()
    elbow = load_layout("ntu25").index("elbow_left")
    wrist = load_layout("ntu25").index("wrist_left")
    holes = x.copy()
    holes[:, :, elbow] = np.nan
    wanted = by_hand(encoder, x, ignore=[elbow, wrist])
    np.testing.assert_allclose(skelssl.embed(holes, encoder)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("name", layouts())
def test_every_layout_is_mapped_to_the_encoder_with_the_rest_left_out(name):
    encoder, x = small(), body(name=name)
    change = joint_map(load_layout(name), load_layout("ntu25"))
    mapped, _ = change.apply(x, np.ones(x.shape[:3], np.float32))
    wanted = by_hand(encoder, mapped, ignore=change.absent)
    np.testing.assert_allclose(skelssl.embed(x, encoder, layout=name)[0], wanted, atol=1e-6)


def test_a_gap_in_a_mean_of_joints_is_filled_before_it_is_taken():
    """hip_left alone is missing in a frame; the base of the spine is there all the same."""
    encoder, x = small(), body(name="coco17")
    straight = x.copy()
    hip = load_layout("coco17").index("hip_left")
    straight[5, :, hip] = (x[4, :, hip] + x[6, :, hip]) / 2
    holes = x.copy()
    holes[5, :, hip] = np.nan
    found, wanted = (skelssl.embed(clip, encoder, layout="coco17") for clip in (holes, straight))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_flat_clips_lie_in_the_plane_of_the_image_and_say_so_once():
    encoder, x = small(), body(channels=2)
    with pytest.warns(UserWarning, match=r"2 clips are 2-D and the encoder was trained on 3-D") as caught:
        found = skelssl.embed([x, x], encoder, unit="m")
    assert len(caught) == 1
    np.testing.assert_allclose(found[0], by_hand(encoder, np.pad(x, [(0, 0)] * 3 + [(0, 1)])), atol=1e-6)


def test_an_encoder_of_x_y_and_confidence_takes_them():
    encoder = small(coordinates="xyc")
    x, seen = body(channels=2), np.random.default_rng(1).uniform(0.1, 1, (20, 1, 25)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = skelssl.embed(Poses("one", x, seen, "ntu25", 30, "m"), encoder)
    np.testing.assert_allclose(found[0], by_hand(encoder, np.concatenate([x, seen[..., None]], -1)), atol=1e-6)


def test_more_than_two_persons_are_said_and_the_two_who_move_most_kept():
    encoder, x = small(), body(persons=3)
    x[:, 1] = x[:1, 1]
    with pytest.warns(UserWarning, match=r"1 clips show more than two persons"):
        found = skelssl.embed(x, encoder)[0]
    orders = [by_hand(encoder, x[:, order]) for order in ([0, 2], [2, 0])]
    assert min(np.abs(found - wanted).max() for wanted in orders) < 1e-6


def test_a_rate_is_resampled_before_the_recipe():
    encoder, x = small(), body(31)
    slow = x[::2]  # 15 frames a second; every second frame of the result is one of these
    made = np.repeat(slow, 2, 0)[:-1].copy()
    made[1::2] = (slow[:-1] + slow[1:]) / 2
    np.testing.assert_allclose(skelssl.embed(slow, encoder, fps=15)[0], by_hand(encoder, made), atol=1e-6)


def test_centimetres_are_metres():
    encoder, x = small(), body()
    wanted = skelssl.embed(x, encoder)
    np.testing.assert_allclose(skelssl.embed(100 * x, encoder, unit="cm"), wanted, atol=1e-5)


def test_a_path_is_loaded(data_root, tmp_path):
    config = train_config(data_root, "method=mamp")
    encoder = small()
    config["method"]["encoder"], config["method"]["view"] = encoder.about["encoder"], encoder.about["view"]
    save_encoders({"": encoder}, tmp_path / "encoder", config, None)
    np.testing.assert_array_equal(skelssl.embed(body(), tmp_path), skelssl.embed(body(), encoder))


def test_the_encoder_is_left_as_it_was():
    encoder = small("pstl").train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.manual_seed(5)
    skelssl.embed(body(), encoder, device="cpu")
    assert torch.initial_seed() == 5
    assert encoder.training
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        ([], {}, r"clips: found none, expected at least one"),
        ([body(), np.zeros((4, 25))], {}, r"clips\[1\]: found shape \(4, 25\), expected \(T, V, C\)"),
        ([body(0)], {}, r"clips\[0\]: found shape \(0, 1, 25, 3\), expected at least one frame"),
        ({"a": body(name="coco17")}, {}, r"a: found 17 joints in shape .* of layout ntu25"),
        ([body()], {"layout": "coco18"}, r"layout: found 'coco18', expected one of coco17"),
        ([body()], {"unit": "feet"}, r"unit: found 'feet', expected one of m, cm"),
        ([body()], {"fps": -1}, r"fps: found -1, expected a number from 1 to 1000"),
        ([body()], {"batch": 0}, r"batch: found 0, expected a whole number of at least 1"),
        ([body()], {"device": "tpu9"}, r"device: found 'tpu9', expected one that this machine has"),
        ([np.full((9, 25, 3), np.nan)], {}, r"clips\[0\]: found no person in any of 9 frames"),
    ],
)
def test_mistakes_are_one_sentence(clips, options, message):
    with pytest.raises(UserError, match=message) as caught:
        skelssl.embed(clips, small(), **options)
    assert "\n" not in str(caught.value)


def test_a_clip_without_what_the_recipe_turns_about_is_refused():
    x = body()
    x[:, :, load_layout("ntu25").index("spine_mid")] = np.nan
    with pytest.raises(UserError, match=r"clips\[0\]: found no spine_mid, expected it to be seen: recipe ctrgcn"):
        skelssl.embed(x, small())


def test_another_module_is_refused():
    with pytest.raises(UserError, match=r"encoder: found Linear, expected what skelssl.load_encoder gives"):
        skelssl.embed(body(), torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"nowhere: found no encoder there"):
        skelssl.embed(body(), Path("nowhere"))
