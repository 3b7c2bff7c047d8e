"""The suite at toy size: forms agree or the run fails, every figure is there, and no time is judged."""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import suite
from benchmarks.__main__ import main
from benchmarks.cases import mamp
from benchmarks.counts import Asked, counter
from benchmarks.forms import Form
from benchmarks.memory import Peak, allocated, in_child
from benchmarks.suite import FORMS, METHODS, Case, Disagreement, Options, check_agreement
from benchmarks.tape import Tape, every, plain
from tests.benchmarks.conftest import Run


@pytest.mark.parametrize("method", METHODS)
def test_both_forms_agree_and_every_figure_is_there(small: Run, method: str) -> None:
    assert small.code == 0
    found = small.result["methods"][method]
    assert found["batch"] == suite.SMALL_BATCH
    assert set(found["agreement"]) == {"loss", "gradients", "state"}
    assert max(found["agreement"].values()) <= 1e-8
    for form in FORMS:
        step, parts = found["seconds"][form]["step"], found["parts"][form]
        assert 0 < step["min"] <= step["q1"] <= step["median"] <= step["q3"] <= step["max"]
        assert step["rounds"] == 2
        assert {"data", "view", "loss", "optimiser"} < set(parts)
        assert {"forward", "backward"} == set(parts["loss"])
        assert all(way["seconds"] > 0 for part in parts.values() for way in part.values())
        assert sum(way["flops"] for part in parts.values() for way in part.values()) > 1e6


def test_the_machine_is_named(small: Run) -> None:
    about = small.result["about"]
    assert about["threads"] == 1
    assert about["torch"] == torch.__version__
    assert about["cores"] >= 1
    assert about["cpu"]
    assert about["date"]
    assert {"flops", "bytes", "calls"} == set(about["rates"])
    assert all(rate > 0 for rate in about["rates"].values())


def test_the_tables(small: Run) -> None:
    lines = small.printed.splitlines()
    titles = [line for line in lines if line.startswith("### ")]
    assert titles == ["### Steps", "### Parts of a step", "### Where the remaining time goes",
                      "### Input, one worker on one core", "### Linear evaluation"]  # fmt: skip
    rows = [line for line in lines if line.startswith("| `")]
    assert sum("| **" in row for row in rows) == len(METHODS)
    assert any(row.startswith("| `ha_cm` | scores and masks |") for row in rows)
    assert all(line.count("|") == lines[i - 1].count("|") for i, line in enumerate(lines) if line.startswith("| ---"))


def case_of(name: str, folder: Path, *overrides: str) -> Case:
    return Case(name, Options(small=True, overrides=overrides), folder)


@pytest.mark.parametrize("method", METHODS)
def test_ours_is_the_library_s_step(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the method's own training step, from the same draws."""
    case = case_of(method, tmp_path)
    form = case.form("ours")
    torch.manual_seed(3)
    found = form.loss(plain, case.rows, torch.Generator().manual_seed(0))
    library: Any = case.form("ours").method
    own = torch.Generator().manual_seed(0)
    monkeypatch.setattr(library, "generator", lambda scope="shared": own)
    torch.manual_seed(3)
    expected = library.training_step(case.store.gather(case.rows), 0)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_a_step_by_parts_is_a_step(method: str, form: str, tmp_path: Path) -> None:
    """Gradients of a step that is cut between its parts equal those of one that is not."""
    case = case_of(method, tmp_path)
    start = suite.method_of(case.config)
    gradients = []
    for cut in (False, True):
        own = case.form(form, start)
        tape = Tape(lambda name, way: nullcontext())
        torch.manual_seed(3)
        loss = own.loss(tape if cut else plain, case.rows, torch.Generator().manual_seed(0))
        tape.backward() if cut else loss.backward()
        gradients.append({n: p.grad for n, p in own.method.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name], gradient, rtol=1e-4, atol=1e-6 + 1e-4 * float(gradient.abs().max())
        )


def broken(value: float) -> type[Form]:
    class Broken(mamp.Ours):
        def objective(self, prediction: torch.Tensor, x: torch.Tensor, mask: Any) -> torch.Tensor:
            return super().objective(prediction, x, mask) * (1 + value)

    return Broken


def test_forms_that_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = case_of("mamp", tmp_path)
    assert max(check_agreement(case).values()) < 1e-8
    case.makers["ours"] = broken(1e-6)
    with pytest.raises(Disagreement, match=r"mamp: loss  differ by 1\.0e-06 of their size"):
        check_agreement(case)
    monkeypatch.setattr(mamp, "Ours", broken(1e-3))
    assert main(["--small", "--only", "mamp", "--threads", "1"]) == 1
    assert "error: mamp: loss" in capsys.readouterr().err


def test_a_teacher_left_behind_is_a_disagreement(tmp_path: Path) -> None:
    case = case_of("skeleton2vec", tmp_path)

    class Forgets(case.makers["ours"]):  # type: ignore[name-defined, misc]
        def average(self) -> None:
            self.method.teacher.updates += 1

    case.makers["ours"] = Forgets
    with pytest.raises(Disagreement, match="skeleton2vec: state teacher"):
        check_agreement(case)


def test_dropout_is_off_while_forms_are_compared_only(tmp_path: Path) -> None:
    case = case_of("pstl", tmp_path)
    check_agreement(case)
    assert {m.p for m in case.form("straightforward").method.encoder.modules() if isinstance(m, torch.nn.Dropout)} == {
        0,
        0.5,
    }


def test_the_products_that_are_counted_are_the_formulas(tmp_path: Path) -> None:
    """A block takes 24·C²·L + 4·L²·C forward (the specification's count), three times that with the backward pass."""
    widths = (
        "method.encoder.hidden=64",
        "method.encoder.depth=1",
        "method.encoder.frames=40",
        "method.decoder.hidden=64",
    )
    case = case_of("mamp", tmp_path, *widths)
    asked: dict[tuple[str, str], Asked] = defaultdict(Asked)
    case.step(case.form("ours"), counter(asked))
    persons, c, tokens = 2 * case.batch, 64, 250
    block = persons * (24 * c * c * tokens + 4 * tokens * tokens * c)
    assert asked["decoder", "forward"].flops == pytest.approx(block, rel=0.1)
    assert asked["decoder", "backward"].flops == pytest.approx(2 * block, rel=0.2)
    assert asked["optimiser", "forward"].flops == 0
    x = torch.ones(1000)
    asked.clear()
    with counter(asked)("one", "forward"):
        x.view(10, 100).add(1.0)
    assert (asked["one", "forward"].bytes, asked["one", "forward"].calls) == (
        8000,
        1,
    )  # read and written; the view is free


def test_products_of_recurrences_on_a_gpu_are_counted() -> None:
    """By shapes alone, without a GPU: 3H gates of a GRU meet F inputs and H hidden ones in each of T·N rows."""
    frames, rows, inputs, hidden = 5, 4, 6, 8
    shapes = ((3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,))
    weights = [torch.empty(shape, device="meta") for shape in shapes]
    x, start = (torch.empty(shape, device="meta") for shape in ((frames, rows, inputs), (1, rows, hidden)))
    asked: dict[tuple[str, str], Asked] = defaultdict(Asked)
    with counter(asked)("one", "forward"):
        torch.ops.aten._cudnn_rnn(x, weights, 4, None, start, None, 3, hidden, 0, 1, False, 0.0, True, False, [], None)
    assert asked["one", "forward"].flops == 2 * frames * rows * 3 * hidden * (inputs + hidden)


def test_peak_memory_of_work() -> None:
    with allocated() as found:
        x = torch.empty(1000)
        y = torch.empty(500)
        del x
        z = torch.empty(900)
    assert found == [4 * 1500]
    assert len(y) + len(z) == 1400


def touches(count: int) -> int:
    peak = Peak("cpu")
    torch.ones(count).add_(1)
    return peak.above()


def fails() -> None:
    raise ValueError("no")


def test_work_in_a_process_of_its_own() -> None:
    assert 19e6 <= in_child(touches, 5_000_000) <= 40e6
    with pytest.raises(ValueError, match="no"):
        in_child(fails)


@pytest.mark.slow
def test_memory_of_both_forms() -> None:
    """The correlation matrix of the naive baseline is larger than all that ours holds."""
    options = Options(small=True, overrides=("method.head.dim=512",))
    naive, ours = (suite.peak("pstl", form, options) for form in FORMS)
    assert naive["loss"] > 2 * 4 * 512**2
    assert ours["loss"] < naive["loss"] / 2
    assert min(naive["step"], ours["step"]) > 0


def test_under_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts that are compiled compute the same; the first step is told apart. Traced alone: code takes minutes."""
    monkeypatch.setattr("benchmarks.forms.BACKEND", "aot_eager")
    case = Case("mamp", Options(small=True, compile=True, rounds=1), tmp_path)
    method = suite.method_of(case.config)
    losses = []
    for compiled in (None, {}):
        form = case.form("ours", method)
        form.compiled = compiled
        losses.append(case.step(form, every()))
    assert form.compiled is not None
    assert sorted(name.split(":")[0] for name in form.compiled) == ["decoder", "encoder"]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    found = {form: suite.compiled("mamp", form, case.options) for form in FORMS}
    assert suite.compared(found, "mamp") is found
    assert all(own["first_step"] > 0 for own in found.values())
    found["ours"]["loss"] *= 1.01
    with pytest.raises(Disagreement, match="mamp: the compiled losses are"):
        suite.compared(found, "mamp")


def test_the_longest_operations(tmp_path: Path) -> None:
    case = case_of("mamp", tmp_path)
    form = case.form("ours")
    form.begin()
    found = suite.operations(case, form, longest=5)
    assert len(found) == 5
    assert [o["share"] for o in found] == sorted((o["share"] for o in found), reverse=True)
    assert sum(o["share"] for o in found) < 1
    assert all(o["seconds"] > 0 and o["calls"] > 0 for o in found)


def test_the_optimiser_begins_without_a_step(tmp_path: Path) -> None:
    """Its state is there; weights have decayed at most, and no gradient is left."""
    form = case_of("mamp", tmp_path).form("ours")
    before = {n: p.detach().clone() for n, p in form.method.named_parameters() if p.requires_grad}
    form.begin()
    assert len(form.optimiser.state) == len(before)
    for name, p in form.method.named_parameters():
        if name in before:
            assert p.grad is None
            torch.testing.assert_close(p, before[name])


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda"]) == 0
    assert capsys.readouterr().out == "--device cuda: there is no such device here, nothing was measured\n"


@pytest.mark.parametrize(
    ("given", "said"), [(["--only", "moco"], "--only: found 'moco'"), (["--rounds", "0"], "--rounds: found 0")]
)
def test_wrong_options(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
