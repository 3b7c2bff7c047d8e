"""Run the commands ``train`` and ``evaluate`` as functions: ``skelssl.pretrain`` and ``skelssl.run_protocol``.

Names, folders and run ids are the same, so a function finds what a command has computed and the reverse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from skelssl.core.compose import composed, resolved
from skelssl.core.errors import UserError
from skelssl.core.overrides import as_overrides, quote_path
from skelssl.core.sentences import sentence


def pretrain(method: str = "pstl", dataset: str = "synthetic", overrides: Sequence[str] = (), **keys: Any) -> Path:
    """Pre-train one encoder, as ``python -m skelssl.train`` does.

    The run folder is ``outputs/<method>/<dataset>/<run id>`` below the working folder, the same as the command's. A
    finished run is returned as it is, an unfinished one is resumed.

    Args:
        method: pstl, skeleton_contrast, mamp, skeleton2vec or ha_cm.
        dataset: such as ntu60_xsub.
        overrides: as on the command line, ``["method.optim.epochs=10"]``.
        keys: the same as keywords, ``seed=1``; dotted ones in a dictionary, ``**{"method.optim.epochs": 10}``.

    Returns:
        The run folder.

    Raises:
        UserError: where the command would exit with code 2, with its sentence; ``__cause__`` is the error of origin.

    >>> import skelssl
    >>> run = skelssl.pretrain("pstl", "synthetic", debug="smoke")  # doctest: +SKIP
    >>> encoder = skelssl.load_encoder(run)  # doctest: +SKIP
    """
    from skelssl.training.afterwards import train_and_evaluate

    first = as_overrides({"method": method, "dataset": dataset})
    arguments = [*first, *map(quote_path, overrides), *as_overrides(keys)]
    with _in_one_sentence("train", arguments):
        return train_and_evaluate(composed("train", arguments, hydra_too=True))


def run_protocol(
    protocol: str, checkpoint: str | Path | Sequence[str | Path], overrides: Sequence[str] = (), **keys: Any
) -> dict[str, Any]:
    """Evaluate an encoder under one protocol, as ``python -m skelssl.evaluate`` does.

    A result that is in the run folder already is read, not computed again.

    Args:
        protocol: linear, knn, retrieval, finetune, semi, transfer, lost_joints, fusion or cluster.
        checkpoint: a run folder or a file; several for fusion.
        overrides: as in `pretrain`.
        keys: as in `pretrain`, such as ``mode="clean"`` or ``k=20``.

    Returns:
        The content of ``result.json``; accuracies are fractions of 1.

    Raises:
        UserError: where the command would exit with code 2, and for a call that has several results (`run_protocols`).

    >>> import skelssl
    >>> skelssl.run_protocol("knn", "outputs/pstl/synthetic/RUN", k=5)["top1"]  # doctest: +SKIP
    """
    results = run_protocols(protocol, checkpoint, overrides, **keys)
    if len(results) != 1:
        raise UserError(
            f"run_protocol: found {len(results)} results, which are kept in their folders, expected one; run_protocols "
            "returns them all"
        )
    return results[0]


def run_protocols(
    protocol: str, checkpoint: str | Path | Sequence[str | Path], overrides: Sequence[str] = (), **keys: Any
) -> list[dict[str, Any]]:
    """Evaluate an encoder in a call with several results: ``seeds=[0, 1, 2]``, several label fractions, the ``suite``.

    Args:
        protocol: as in `run_protocol`.
        checkpoint: as in `run_protocol`.
        overrides: as in `pretrain`.
        keys: as in `pretrain`.

    Returns:
        The content of each ``result.json``, in the order of evaluation.

    Raises:
        UserError: where the command would exit with code 2.
    """
    from skelssl.protocols.bench import evaluate_one

    several = not isinstance(checkpoint, str | Path)
    paths: Any = list(map(str, checkpoint)) if several else str(checkpoint)  # type: ignore[arg-type]
    first = as_overrides({"protocol": protocol, "checkpoint": paths})
    arguments = [*first, *map(quote_path, overrides), *as_overrides(keys)]
    with _in_one_sentence("evaluate", arguments):
        return [done.result for done in evaluate_one(resolved(composed("evaluate", arguments)))]


@contextmanager
def _in_one_sentence(command: str, arguments: Sequence[str]) -> Iterator[None]:
    """Turn a mistake into a UserError with the sentence of the command."""
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(sentence(error, command, arguments)) from error
