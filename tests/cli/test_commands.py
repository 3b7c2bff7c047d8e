"""``skelssl embed``, ``search`` and ``export`` as a user runs them, and what --help says of every command."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import skelssl
from skelssl.cli import embed, export, search
from skelssl.cli.help import COMMANDS, help_text, overview
from skelssl.core.compose import composed, config_dir
from skelssl.core.errors import UserError
from skelssl.core.overrides import quote_path
from skelssl.data.poses import Poses
from skelssl.pretrained.files import save_encoders
from tests.helpers.config import train_config
from tests.pretrained.test_embed import body, small


@pytest.fixture(scope="module")
def run(data_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a run")
    config, encoder = train_config(data_root, "method=mamp"), small()
    config["method"]["encoder"], config["method"]["view"] = encoder.about["encoder"], encoder.about["view"]
    save_encoders({"": encoder}, folder / "encoder", config, None)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips (1)")
    (folder / "sit").mkdir()
    np.save(folder / "sit" / "a.npy", body(12, seed=1))
    np.savez(folder / "b.npz", x=body(14, 2, seed=2), label=3)
    return folder


def call(module, name, *arguments):
    getattr(module, f"{name}_command")(composed(name, [quote_path(argument) for argument in arguments]))


def test_embed_writes_names_and_features(run, clips, tmp_path, capsys):
    out = tmp_path / "features of, these.npz"
    call(embed, "embed", f"checkpoint={run}", f"raw={clips}", f"out={out}", "fps=25", "unit=cm")
    assert capsys.readouterr().out == f"2 clips, 8 features each -> {out}\n"
    with np.load(out, allow_pickle=False) as found:
        assert found["names"].tolist() == ["b", "sit/a"]
        wanted = skelssl.embed([body(14, 2, seed=2), body(12, seed=1)], run, fps=25, unit="cm")
        np.testing.assert_array_equal(found["features"], wanted)


def test_embed_reads_what_pose_tools_write(run, tmp_path, monkeypatch):
    (tmp_path / "one.json").write_text("{}")
    poses = Poses("one", body(channels=3, name="h36m17"), np.ones((20, 1, 17), np.float32), "h36m17", 50.0, "m")
    monkeypatch.setattr("skelssl.data.custom.read.read_poses", lambda path, format: [poses])
    call(embed, "embed", f"checkpoint={run}", f"raw={tmp_path}", f"out={tmp_path / 'f.npz'}")
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_array_equal(found["features"], skelssl.embed(poses, run))
        assert found["names"].tolist() == ["one"]


def test_search_shows_the_nearest_and_keeps_its_index(run, clips, tmp_path, capsys):
    saved = tmp_path / "index.npz"
    arguments = f"checkpoint={run}", f"query={clips / 'b.npz'}", "k=2"
    call(search, "search", *arguments, f"index={clips}", f"save={saved}")
    said = capsys.readouterr().out
    assert re.fullmatch(r"b\n   1\.000  b\n  [ -]0\.\d{3}  sit/a\n", said)
    call(search, "search", *arguments, f"index={saved}")
    assert capsys.readouterr().out == said
    with pytest.raises(UserError, match=r"save: found .* which is an index already, expected null"):
        call(search, "search", *arguments, f"index={saved}", f"save={saved}")


def test_export_writes_a_folder_that_embed_takes(run, clips, tmp_path, capsys):
    call(export, "export", f"checkpoint={run}", f"out={tmp_path / 'x'}", "format=[safetensors]")
    said = capsys.readouterr().out
    assert said == f"MODEL_CARD.md, config.json, encoder.safetensors -> {tmp_path / 'x'}\n"
    call(embed, "embed", f"checkpoint={tmp_path / 'x'}", f"raw={clips}", f"out={tmp_path / 'f.npz'}")
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_array_equal(found["features"], skelssl.embed([body(14, 2, seed=2), body(12, seed=1)], run))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["out=features.txt"], r"out: found features.txt, expected the name of a file that ends in .npz"),
        (["checkpoint=nowhere"], r"checkpoint: found nothing at nowhere"),
        (["raw=nowhere"], r"nowhere: found nothing there"),
        (["layout=coco17"], r"b: found 25 joints in shape .*, expected 17 of layout coco17"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_no_file(run, clips, tmp_path, changes, message):
    usual = {"checkpoint": run, "raw": clips, "out": tmp_path / "f.npz"}
    arguments = usual | dict(change.split("=") for change in changes)
    with pytest.raises(UserError, match=message):
        call(embed, "embed", *(f"{key}={value}" for key, value in arguments.items()))
    assert not list(tmp_path.iterdir())


def test_two_files_of_one_name_are_refused(run, tmp_path):
    np.save(tmp_path / "a.npy", body())
    np.savez(tmp_path / "a.npz", body())
    with pytest.raises(UserError, match=r"found two clips called a, expected names that differ"):
        call(embed, "embed", f"checkpoint={run}", f"raw={tmp_path}", f"out={tmp_path / 'f.npz'}")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_stopped_embed_leaves_no_half_file(run, clips, tmp_path, monkeypatch, stop):
    def half(file, **_):
        file.write(b"half")
        raise stop

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises((KeyboardInterrupt, UserError)) as caught:
        call(embed, "embed", f"checkpoint={run}", f"raw={clips}", f"out={tmp_path / 'f.npz'}")
    assert not list(tmp_path.iterdir())
    if isinstance(caught.value, UserError):
        assert "f.npz: found no room" in str(caught.value)


def about(command):
    """The docstring of its module."""
    spec = importlib.util.find_spec(COMMANDS[command])
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8")))


HYDRA = sorted(path.stem for path in config_dir().glob("*.yaml") if path.stem != "tune")


@pytest.mark.parametrize("command", HYDRA)
def test_help_says_what_a_command_does_with_two_examples_and_every_key(command):
    text = help_text(command, about(command))
    examples = re.findall(rf"^  skelssl {command} \S+=", text, re.MULTILINE)
    assert len(examples) >= 2
    keys = OmegaConf.load(config_dir() / f"{command}.yaml")
    for key in keys:
        if key not in ("defaults", "hydra"):
            assert re.search(rf"^  {key}:.*# \w", text, re.MULTILINE), f"{key} without a comment"
    for group in re.findall(r"^  (\w+)=\S+(.*)$", text, re.MULTILINE):
        assert "# " in group[1], f"{group[0]} without a comment"
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("command", HYDRA)
def test_examples_of_the_help_compose(command):
    for line in re.findall(rf"^  skelssl {command} (.*)$", about(command), re.MULTILINE):
        assert composed(command, [quote_path(argument) for argument in shlex.split(line)])


def test_the_overview_names_every_command():
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z].*\.$", overview(), re.MULTILINE), command


def test_the_console_script_finds_commands_and_mistakes(tmp_path):
    def skelssl_command(*arguments):
        done = subprocess.run([sys.executable, "-m", "skelssl", *arguments], capture_output=True, text=True,
                              cwd=tmp_path)  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    assert skelssl_command()[:2] == (0, overview() + "\n")
    assert skelssl_command("--help") == skelssl_command()
    code, _, said = skelssl_command("serch")
    assert code == 2
    assert said.startswith("error: command: found 'serch' (did you mean search?), expected one of prepare, train")
    code, _, said = skelssl_command("export", "checkpoint=nowhere", "out=x")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: nowhere: found no encoder there")
    for trace in ("debug=trace", "+trace=true"):
        code, _, said = skelssl_command("export", "checkpoint=nowhere", "out=x", trace)
        assert code == 2
        assert said.count("Traceback") == 1
        assert said.splitlines()[-1].startswith("error: nowhere: found no encoder there")
