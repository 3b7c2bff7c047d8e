"""Which protocols an evaluation runs and with which recipes: published, the protocol's own, changed by command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from skelssl.core.compose import config_files, resolved
from skelssl.core.errors import UserError
from skelssl.core.schema import expect
from skelssl.protocols.subsets import SMALLEST
from skelssl.results.published import departures

NEIGHBOUR_KEYS = ("k", "temperature", "autoencoder")
OVERRIDING_KEYS = (
    "ratio",
    "select",
    *NEIGHBOUR_KEYS,
    "weights",
    "crops",
)  # keys of evaluate.yaml that replace one of a recipe
RECIPE_NAMES = {"crops": "passes"}  # where the recipe has another name for it
DEFAULT_SUITE = ("linear", "knn")  # the suite of a method that names none
NOT_IN_SUITES = ("fusion", "transfer")  # these need several runs, or another dataset

Block = Mapping[str, Any]


class Task(NamedTuple):
    """One protocol with one recipe; it becomes one result for every seed."""

    protocol: Block
    recipe: dict[str, Any]


def read_protocols(names: Any, key: str = "then") -> list[Block]:
    """``conf/protocol/<name>.yaml`` of each name, one or a list; raises UserError, with ``key``, for another.

    An entry may also be a mapping that changes keys of the protocol it names: ``{name: semi, ratio: [0.01, 0.1]}``.
    """
    known = config_files("protocol")
    protocols: list[Block] = []
    for entry in names if isinstance(names, list) else [names] if names else []:
        changed = entry if isinstance(entry, Mapping) else {"name": entry}
        if (name := changed.get("name")) not in known:
            raise UserError(f"{key}: found {name!r}, expected protocols out of {', '.join(known)}")
        block = {**resolved(OmegaConf.load(known[name])), **changed}  # type: ignore[arg-type]
        if (key in ("then", "suite") and name in NOT_IN_SUITES) or (
            key in ("suite", "protocol.of") and "run" not in block
        ):
            raise UserError(f"{key}: found {name}, expected protocols of one run on its own data")
        protocols.append(block)
    return protocols


def plan_tasks(config: Block, protocols: Sequence[Block], about: Block) -> list[Task]:
    """Every protocol, suites taken apart, with every recipe it is asked for."""
    members = [member for protocol in protocols for member in _members(protocol, about)]
    found = [Task(member, recipe) for member in members for recipe in probe_recipes(config, member, about)]
    for key in OVERRIDING_KEYS:
        if config[key] is not None and not any(RECIPE_NAMES.get(key, key) in _leaf(task.recipe) for task in found):
            names = ", ".join(dict.fromkeys(task.protocol["name"] for task in found))
            raise UserError(f"{key}: found {config[key]!r}, expected null: there is no {key} in {names}")
    return found


def _members(protocol: Block, about: Block) -> list[Block]:
    """A protocol, or those of a suite: as asked, as the method's paper reports, or the usual ones."""
    if "suite" not in protocol:
        return [protocol]
    asked = about["probe"].get("suite", [*DEFAULT_SUITE]) if protocol["suite"] is None else protocol["suite"]
    members = read_protocols(asked, "suite")
    expect("suite", asked, bool(members), "at least one protocol")
    return members


def probe_recipes(config: Block, protocol: Block, about: Block) -> list[dict[str, Any]]:
    """The recipe of a protocol; where it uses part of the labels, one for each ``ratio``, which it then names."""
    recipe = probe_recipe(config, protocol, about)
    if "ratio" not in protocol:
        return [recipe]
    if protocol.get("choose"):
        raise UserError(
            f"protocol.choose: found {protocol['choose']}, expected none: {protocol['name']} has few labels"
        )
    usual = SMALLEST if config["limit"]["clips"] else protocol["ratio"]  # a tenth of a few clips a class is none
    ratio = usual if config["ratio"] is None else config["ratio"]
    expect("ratio", ratio, ratio != [], "at least one")
    select = config["select"] or recipe.get("select", protocol["recipe"]["select"])
    return [{**recipe, "ratio": one, "select": select} for one in (ratio if isinstance(ratio, list) else [ratio])]


def probe_recipe(config: Block, protocol: Block, about: Block) -> dict[str, Any]:
    """``mode=paper``: the method's published recipe where it has one; ``mode=clean``: the protocol's own.

    A protocol that repeats another one carries it under ``of``, with its recipe.
    """
    published = _published(config, protocol, about)
    if config["mode"] == "paper":
        _unchanged(protocol, ("recipe", "choose") if published else ("choose",))
    recipe = dict(published or protocol["recipe"])
    given = {key: config[key] for key in NEIGHBOUR_KEYS if key in protocol["recipe"] and config[key] is not None}
    recipe |= given
    if protocol["name"] == "linear" and config["crops"] is not None:
        recipe["passes"] = _crops(config["crops"], recipe)
    if config["mode"] == "clean" and protocol.get("choose"):
        recipe["choose"] = {key: values for key, values in protocol["choose"].items() if key not in given}
    if "of" in protocol:
        (inner,) = read_protocols([protocol["of"]], "protocol.of")
        recipe["of"] = {"name": inner["name"], "run": inner["run"], "recipe": probe_recipe(config, inner, about)}
    epochs = config["limit"]["epochs"]
    if epochs and "epochs" in recipe:
        recipe["epochs"] = min(recipe["epochs"], epochs)
        if "warmup_epochs" in recipe:
            recipe["warmup_epochs"] = min(recipe["warmup_epochs"], recipe["epochs"] - 1)
    return recipe


def _crops(found: Any, recipe: Block) -> int:
    """How often training clips are encoded; raises UserError for no such number, and where they are not cropped."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f"crops: found {found!r}, expected null or a whole number of at least 1")
    if recipe.get("view") == "test":
        raise UserError(
            f"crops: found {found}, expected null: this probe sees training clips as the test clips are seen"
        )
    return found


def _published(config: Block, protocol: Block, about: Block) -> Block | None:
    """The first recipe that the method publishes under the protocol's name, or under those it may take instead."""
    names = protocol.get("published", [protocol["name"]]) if config["mode"] == "paper" else []
    return next((about["probe"][name] for name in names if about["probe"].get(name)), None)


def _unchanged(protocol: Block, keys: Sequence[str]) -> None:
    """Raises UserError where the command line changed parts of a protocol that ``mode=paper`` does not use."""
    (shipped,) = read_protocols([protocol["name"]], "protocol")
    for key in keys:
        found, usual = protocol.get(key) or {}, shipped.get(key) or {}
        if odd := [part for part in {**usual, **found} if found.get(part) != usual.get(part)]:
            raise UserError(
                f"protocol.{key}.{odd[0]}: found {found.get(odd[0])!r}, expected {usual.get(odd[0])!r}: mode=paper "
                "takes the recipe that the run's method publishes, mode=clean takes this one"
            )


def result_setting(config: Block, about: Block, recipe: Block, dataset: str) -> str | None:
    """What sets a result apart from the published protocol, so that the two never share a row of the report."""
    limit, source = config["limit"], about["dataset"]
    parts = [about.get("setting"), source if source != dataset else None, *_given(config), *_labelled(recipe, about),
             *_lost(recipe), *_changed(config, recipe), limit["clips"] and f"{limit['clips']} clips a class",
             limit["epochs"] and f"{limit['epochs']} probe epochs"]  # fmt: skip
    return ", ".join(str(p) for p in parts if p) or None


def _given(config: Block) -> list[str]:
    """What ``method=`` gives a released file that is not its own."""
    if not (method := config.get("method")):
        return []
    source = [f"encoder of {config['source']}"] if config["source"] != method["name"] else []
    return [*source, *(key for key in departures(config) if key.startswith("method."))]


def _labelled(recipe: Block, about: Block) -> list[str]:
    """The labelled share, and how it is drawn where that is not the paper's way."""
    if "ratio" not in recipe:
        return []
    ratio, published = recipe["ratio"], about["probe"].get("semi", {}).get("select")
    share = f"{100 * ratio:g}%" if isinstance(ratio, int | float) else f"{ratio} share of labels"
    return [share] if recipe["select"] == published else [share, recipe["select"]]


def _lost(recipe: Block) -> list[str]:
    """What is lost, how and when, and by which protocol it is measured."""
    if "how" not in recipe:
        return []
    when = {"both": "in training and test", "test": "in test"}.get(recipe["when"], recipe["when"])
    return [f"{recipe['headline']} lost ({recipe['how']}, {when}, {recipe['of']['name']})"]


def _changed(config: Block, recipe: Block) -> list[str]:
    leaf = _leaf(recipe)
    cached = [f"{config['crops']} cached crops a training clip"] if config["crops"] and "passes" in leaf else []
    return [f"{key} {config[key]}" for key in NEIGHBOUR_KEYS if config[key] is not None and key in leaf] + cached


def _leaf(recipe: Block) -> Block:
    """The recipe of what is trained or asked in the end."""
    inner: Block = recipe["of"]["recipe"] if "of" in recipe else recipe
    return inner
