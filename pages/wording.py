"""Write numbers, names and differences as people do."""

import math
from collections.abc import Mapping
from typing import Any

NAMES = {
    **{name: name.upper() for name in ("auc", "auroc", "mse", "mae", "rmse", "mase", "f1", "psnr", "ssim", "fid")},
    **{"log_loss": "log-loss", "r2": "R²"},
    **{"miou": "mIoU", "map": "mAP", "chrf": "chrF", "hr_at_10": "HR@10", "ndcg_at_10": "NDCG@10"},
}


def label(name: str) -> str:
    """Return a metric's or an option's name as people write it."""
    return NAMES.get(name, name.replace("_", " "))


def number_text(value: float | None) -> str:
    """Return a number with the three or four digits that matter."""
    if value is None or not math.isfinite(value):
        return "—"
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    digits += 0.999 < value < 1  # what is not quite one does not look like it
    text = f"{value:,.{digits}f}" if size >= 0.001 or value == 0 else f"{value:.2e}"
    return text.replace("-", "−")


def percent(fraction: float) -> str:
    """Return a fraction in per cent with the digits that matter: 88%, 2.1%, 0.14%."""
    value = 100 * fraction
    digits = 0 if abs(value) >= 20 else 1 if abs(value) >= 1 or value == 0 else 2
    return f"{value:.{digits}f}%".replace("-", "−")


def plain(value: Any) -> str:
    """Return a value from JSON as a person would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "—" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def format_gap(gap: Mapping[str, Any]) -> str:
    """Return a paired difference in words: 98.6% of the rows right against 98.1%, ahead by 0.55 points (…)."""
    chance = "p < 0.001" if gap["p"] < 0.001 else f"p = {gap['p']:.2g}"
    size, low, high = (percent(fraction) for fraction in (abs(gap["value"]), gap["low"], gap["high"]))
    if gap["share_of"] == "rows":
        shares = f"{100 * gap['mine']:.1f}% of the rows right against {100 * gap['theirs']:.1f}%"
        way = "ahead" if gap["value"] >= 0 else "behind"
        return f"{shares}, {way} by {size[:-1]} points ({low[:-1]} to {high[:-1]}, {chance})"
    if gap.get("metric"):  # stored by Evergreens that know it
        mine, theirs = (plain(float(gap[side])) for side in ("mine", "theirs"))
        way = "ahead" if gap["value"] >= 0 else "behind"
        text = f"{label(gap['metric'])} {mine} against {theirs}, {way} by {size} ({low} to {high}, {chance})"
        hits = [f"{100 * share:.1f}%" for share in gap["hits"] or ()]
        return f"{text}, {' of the rows right against '.join(hits)}" if hits else text
    if gap["share_of"] == "score":
        return f"{size} {'more' if gap['value'] >= 0 else 'less'} score a row ({low} to {high}, {chance})"
    return f"{size} {'less' if gap['value'] >= 0 else 'more'} error a row ({low} to {high}, {chance})"
