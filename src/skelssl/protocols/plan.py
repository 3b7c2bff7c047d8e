"""Decide which protocols an evaluation runs and with which recipes: the published, the default or changed ones."""

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
RECIPE_NAMES = {"crops": "passes"}  # keys that have another name in a recipe
DEFAULT_SUITE = ("linear", "knn")  # the suite of a method that names none
NOT_IN_SUITES = ("fusion", "transfer")  # they need several runs, or another dataset

Block = Mapping[str, Any]


class Task(NamedTuple):
    """One protocol with one recipe; it becomes one result for every seed."""

    protocol: Block
    recipe: dict[str, Any]


def read_protocols(names: Any, key: str = "then") -> list[Block]:
    """Read ``conf/protocol/<name>.yaml`` of each name.

    Args:
        names: A name, a list of them, or None. An entry may also be a mapping that changes keys of the protocol it
            names: ``{name: semi, ratio: [0.01, 0.1]}``.
        key: The key of the configuration that lists them, for error messages.

    Raises:
        UserError: There is no such protocol, or it cannot run under ``key``.
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
    """Return every protocol, the members of suites included, with each of its recipes.

    Raises UserError for an overriding key of the command that no recipe has.
    """
    members = [member for protocol in protocols for member in _members(protocol, about)]
    found = [Task(member, recipe) for member in members for recipe in probe_recipes(config, member, about)]
    for key in OVERRIDING_KEYS:
        if config[key] is not None and not any(RECIPE_NAMES.get(key, key) in _leaf(task.recipe) for task in found):
            names = ", ".join(dict.fromkeys(task.protocol["name"] for task in found))
            raise UserError(f"{key}: found {config[key]!r}, expected null: there is no {key} in {names}")
    return found


def _members(protocol: Block, about: Block) -> list[Block]:
    """Return a protocol, or the members of a suite: the requested ones, those of the method's paper, or the default."""
    if "suite" not in protocol:
        return [protocol]
    asked = about["probe"].get("suite", [*DEFAULT_SUITE]) if protocol["suite"] is None else protocol["suite"]
    members = read_protocols(asked, "suite")
    expect("suite", asked, bool(members), "at least one protocol")
    return members


def probe_recipes(config: Block, protocol: Block, about: Block) -> list[dict[str, Any]]:
    """Return the recipe of a protocol; one for each ``ratio`` where it uses a fraction of the labels."""
    recipe = probe_recipe(config, protocol, about)
    if "ratio" not in protocol:
        return [recipe]
    if protocol.get("choose"):
        raise UserError(
            f"protocol.choose: found {protocol['choose']}, expected none: {protocol['name']} has few labels"
        )
    usual = SMALLEST if config["limit"]["clips"] else protocol["ratio"]  # a tenth of a few clips per class is none
    ratio = usual if config["ratio"] is None else config["ratio"]
    expect("ratio", ratio, ratio != [], "at least one")
    select = config["select"] or recipe.get("select", protocol["recipe"]["select"])
    return [{**recipe, "ratio": one, "select": select} for one in (ratio if isinstance(ratio, list) else [ratio])]


def probe_recipe(config: Block, protocol: Block, about: Block) -> dict[str, Any]:
    """Return the recipe of a protocol: with ``mode=paper`` the method's published one, else the protocol's default.

    A protocol that repeats another one has it under ``of``, with its recipe.
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
    """Return how often training clips are encoded; raise UserError for another value, and for a view without crops."""
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f"crops: found {found!r}, expected null or a whole number of at least 1")
    if recipe.get("view") == "test":
        raise UserError(f"crops: found {found}, expected null: this probe encodes training clips under the test view")
    return found


def _published(config: Block, protocol: Block, about: Block) -> Block | None:
    """Return the first recipe that the method publishes under the protocol's name or one of its alternatives."""
    names = protocol.get("published", [protocol["name"]]) if config["mode"] == "paper" else []
    return next((about["probe"][name] for name in names if about["probe"].get(name)), None)


def _unchanged(protocol: Block, keys: Sequence[str]) -> None:
    """Raise UserError where the command line changed keys of a protocol that ``mode=paper`` does not use."""
    (shipped,) = read_protocols([protocol["name"]], "protocol")
    for key in keys:
        found, usual = protocol.get(key) or {}, shipped.get(key) or {}
        if odd := [part for part in {**usual, **found} if found.get(part) != usual.get(part)]:
            raise UserError(
                f"protocol.{key}.{odd[0]}: found {found.get(odd[0])!r}, expected {usual.get(odd[0])!r}: mode=paper "
                "takes the recipe that the run's method publishes, mode=clean takes this one"
            )


def result_setting(config: Block, about: Block, recipe: Block, dataset: str) -> str | None:
    """Return how a result departs from the published protocol, so that the two never share a row of the report."""
    limit, source = config["limit"], about["dataset"]
    parts = [about.get("setting"), source if source != dataset else None, *_given(config), *_labelled(recipe, about),
             *_lost(recipe), *_changed(config, recipe), limit["clips"] and f"{limit['clips']} clips a class",
             limit["epochs"] and f"{limit['epochs']} probe epochs"]  # fmt: skip
    return ", ".join(str(p) for p in parts if p) or None


def _given(config: Block) -> list[str]:
    """Describe how ``method=`` departs from the source of a released file."""
    if not (method := config.get("method")):
        return []
    source = [f"encoder of {config['source']}"] if config["source"] != method["name"] else []
    return [*source, *(key for key in departures(config) if key.startswith("method."))]


def _labelled(recipe: Block, about: Block) -> list[str]:
    """Describe the labelled fraction, and how it is drawn where the paper draws it otherwise."""
    if "ratio" not in recipe:
        return []
    ratio, published = recipe["ratio"], about["probe"].get("semi", {}).get("select")
    share = f"{100 * ratio:g}%" if isinstance(ratio, int | float) else f"{ratio} share of labels"
    return [share] if recipe["select"] == published else [share, recipe["select"]]


def _lost(recipe: Block) -> list[str]:
    """Describe which joints are lost, how and when, and by which protocol this is measured."""
    if "how" not in recipe:
        return []
    when = {"both": "in training and test", "test": "in test"}.get(recipe["when"], recipe["when"])
    return [f"{recipe['headline']} lost ({recipe['how']}, {when}, {recipe['of']['name']})"]


def _changed(config: Block, recipe: Block) -> list[str]:
    leaf = _leaf(recipe)
    cached = [f"{config['crops']} cached crops a training clip"] if config["crops"] and "passes" in leaf else []
    return [f"{key} {config[key]}" for key in NEIGHBOUR_KEYS if config[key] is not None and key in leaf] + cached


def _leaf(recipe: Block) -> Block:
    """Return the recipe of the innermost protocol."""
    inner: Block = recipe["of"]["recipe"] if "of" in recipe else recipe
    return inner
