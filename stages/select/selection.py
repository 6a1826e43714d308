"""Decide between the contenders of a race, and say why."""

from typing import Any

from evergreen.core.paths import Paths
from evergreen.stages.trials import race_plan as plan


def decide(contenders: list[Any], names: list[str], paths: Paths, left: float | None) -> dict[str, Any]:
    """Return the choice and its leaderboard; `left` are the seconds that are left of a plan that was cut off."""
    from evergreen.models.registry import find_architecture
    from evergreen.stages.trials.folds import folds_note
    from evergreen.stages.trials.trial import deciding_metric, sampling_note

    name, direction = deciding_metric(paths.ready)
    board = sorted(
        (contender.to_row() for contender in contenders), key=lambda entry: _leaderboard_key(entry, direction)
    )
    raced = [contender for contender in contenders if contender.rows]
    if len(names) == 1:
        chosen, why = names[0], f"{names[0]} is the only architecture asked for that accepts these inputs"
    elif not raced:
        chosen = names[0]
        what = "the simplest" if find_architecture(chosen).IS_BASELINE else "the first to try"
        failed = [f"{contender.name}: {contender.reason}" for contender in contenders if contender.failed]
        why = f"none could be trained ({'; '.join(failed[: plan.FINALISTS])}): it is {what}"
    else:
        chosen, why = choose(raced, name, direction)
    folds = max((contender.folds for contender in raced), default=0)
    winner = next((contender for contender in raced if contender.name == chosen), None)
    why += "".join(f"; of {key}, {value:g} serves best" for key, value in (winner.options if winner else {}).items())
    why += f"; scored over {folds} folds of the training and validation rows" if folds else ""
    why += folds_note(paths.ready)
    why += sampling_note(paths.ready) if raced else ""
    why += "; provisional, since the comparison was cut off" if left is not None else ""
    decided = {"architecture": chosen, "why": why, "metric": name, "direction": direction, "leaderboard": board}
    if winner and winner.folds:
        decided |= {"folds": winner.folds, "fold_key": winner.plan.fold_key}
    if winner and (winner.folds or winner.options):
        decided["options"] = winner.options
    return decided


def choose(raced: list[Any], name: str, direction: str) -> tuple[str, str]:
    """Choose the cheapest within one standard error of the best on the same rows, where it costs next to nothing.

    The baseline is chosen within two, also where another's answer is as cheap.
    """
    sign = 1 if direction == "max" else -1
    furthest = max(one.rung for one in raced)
    finalists = [contender for contender in raced if contender.final]
    finalists = finalists or [contender for contender in raced if contender.rung == furthest or contender.is_baseline]
    best = max(finalists, key=lambda contender: sign * contender.mean)
    close = [one for one in finalists if not one.is_clearly_worse(best)]
    costs = lambda one: (_rounded(one.work.answer), not one.is_baseline, one.parameters, -sign * one.mean)  # noqa: E731
    chosen = min([best, *close], key=costs)
    others = [contender for contender in finalists if contender is not chosen] or [
        contender for contender in raced if contender is not chosen
    ]
    others.sort(key=lambda contender: -sign * contender.mean)
    if chosen is not best:
        within = "one standard error" if chosen.paired_gap(best) <= 1 else "two standard errors"
        why = (
            f"its {name} of {chosen.mean:.4g} is within {within} of the best, {best.name}'s {best.mean:.4g} "
            f"(the difference is {chosen.paired_gap(best):.2g} standard errors), and its answer is less work: "
            f"{chosen.parameters:,} parameters instead of {best.parameters:,}"
        )
    elif others:
        why = f"best {name}, {chosen.mean:.4g}; next is {others[0].name} with {others[0].mean:.4g}"
        anchor = next((contender for contender in others[1:] if contender.is_baseline), None)
        why += f", and {anchor.name}, the baseline, has {anchor.mean:.4g}" if anchor else ""
    else:
        why = f"the only one that could be scored, {name} {chosen.mean:.4g}"
    return chosen.name, why


def _rounded(work: float) -> float:
    """Return counted work to two digits: less does not tell two architectures apart."""
    return float(f"{work:.1e}")


def _leaderboard_key(entry: dict[str, Any], direction: str) -> tuple[Any, ...]:
    score = entry["score"]
    if score is None:
        return (1, 0, 0)
    return (0, -entry["rung"], -score if direction == "max" else score)
