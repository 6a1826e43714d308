"""`evergreen preflight`: whether the machines can run a pipeline."""

from dataclasses import asdict

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def preflight(name: PipelineName) -> CommandResult:
    """Try what would stop a run later, on each machine.

    On a cluster it runs a task on every machine of cluster.yaml: versions, token, storage, space, the prepared rows,
    memory, clocks, and whether the workers have a place; where nothing is wrong, these meet and time ten steps. The
    exit status is 1 where something would stop a run.
    """
    from evergreen.core.diagnosis import format_findings
    from evergreen.core.paths import Paths, find_root
    from evergreen.stages.engines import cluster_file
    from evergreen.stages.engines.preflight.inspection import inspect
    from evergreen.stages.pipeline import read

    root = find_root()
    pipeline = read(name, root)
    paths = Paths(root, pipeline.name)
    findings = inspect(pipeline, paths)
    if cluster_file.read(root).address and all(finding.state != "fail" for finding in findings):
        from evergreen.stages.train.rehearsal import rehearse

        findings += rehearse(pipeline.train, paths, pipeline.task)
    failed = any(finding.state == "fail" for finding in findings)
    value = {"pipeline": name, "ok": not failed, "findings": [asdict(finding) for finding in findings]}
    return CommandResult(value, format_findings(findings), int(failed))
