"""A pipeline in a git repository, as far as decisions and messages need one."""

YAML = "task: regression\ncollect: {uri: rows.csv}\npreprocess: {target: b}\nrelease: ask\n"


def lock(candidate: str) -> str:
    out = f"- {{path: models/store/churn/candidate, md5: {candidate}.dir}}"
    return f"schema: '2.0'\nstages:\n  train@churn:\n    cmd: x\n    outs:\n    {out}\n"


def metrics(verdict: str = "release", **released: float) -> dict:
    test = {"r2": {"value": 0.8, "low": 0.7, "high": 0.9}, "mae": {"value": 2.0, "low": 1.5, "high": 2.5}}
    value = {"verdict": verdict, "why": "It is better.", "test": test, "rows": 9}
    return value | ({"released": {"version": "v1.0.0", **released}} if released else {})
