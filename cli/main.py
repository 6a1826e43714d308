"""The command line. Each command is a function that returns an Answer; heavy imports wait until they are needed."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

PROG = "evergreen"
MISTAKE, INTERRUPTED = 2, 130  # exit statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. A user's mistake is one line on stderr and status 2; a bug is a traceback."""
    if (words := list(sys.argv[1:] if arguments is None else arguments))[:1] == ["dvc"]:
        from evergreen.cli.dvc import replace_process

        replace_process(words[1:])
    given = parser().parse_args(words)
    try:
        module, function = given.command.split(":")
        answer = getattr(importlib.import_module(module), function)(given)
        shown = json.dumps(answer.value, ensure_ascii=False, default=str) if given.json else answer.text
        if shown:
            print(shown, flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: `evergreen catalogue | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:
        if not hasattr(error, "fix"):
            raise
        print(f"{PROG}: {error}", file=sys.stderr)
        return MISTAKE
    return int(answer.status)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog=PROG, description="Keeps deep-learning models alive.")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, function: str, about: str, *, named: str | None = None) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=about.splitlines()[0], description=about)
        one.set_defaults(command=function)
        one.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        if named:
            one.add_argument("name", metavar="NAME", nargs=None if named == "one" else "?", help="a pipeline")
        return one

    command(
        "run", "evergreen.cli.run:run", "bring a pipeline up to date, release it if it is better, serve it", named="one"
    )
    command("status", "evergreen.cli.status:status", "what is stale, released and served", named="any")
    predict = command("predict", "evergreen.cli.predict:predict", PREDICT, named="one")
    predict.add_argument("file", metavar="FILE", help="a .csv, .tsv or .parquet file, or a folder of .parquet files")
    predict.add_argument("--output", metavar="FILE", required=True, help="where to write, as .csv or .parquet")
    features = command("features", "evergreen.cli.features:features", FEATURES, named="one")
    features.add_argument("--input", metavar="FILE", help="rows to take instead of the pipeline's own")
    features.add_argument("--output", metavar="FILE", help="a .parquet file; default: NAME-features.parquet")
    command("serve", "evergreen.cli.release:serve", "serve every released pipeline")
    command("release", "evergreen.cli.release:release", "release a pipeline's candidate and serve it", named="one")
    rollback = command(
        "rollback", "evergreen.cli.release:rollback", "return to an earlier version and serve it", named="one"
    )
    rollback.add_argument("version", metavar="VERSION", nargs="?", help="default: the one before the released one")
    report = command("report", "evergreen.cli.status:report", "where a pipeline's report lies", named="one")
    report.add_argument("--data", action="store_true", help="the page about its data instead of that about its model")
    report.add_argument("--open", action="store_true", help="open it in the browser")
    command("watch", "evergreen.cli.watch:watch", "run the schedules in the pipelines' YAML, in UTC, until interrupted")
    new = command("new", "evergreen.cli.new:new", "write a pipeline's YAML from a table", named="one")
    new.add_argument("--from", dest="source", metavar="FILE", required=True, help="a .csv, .tsv or .parquet file")
    new.add_argument("--target", metavar="COLUMN", required=True, help="the column to predict")
    schema = command("schema", "evergreen.cli.schema:schema", SCHEMA, named="one")
    schema.add_argument("--write", action="store_true", help="add it to the pipeline's file, which keeps what it says")
    aside = command("quarantine", "evergreen.cli.quarantine:quarantine", QUARANTINE, named="one")
    aside.add_argument("--replay", action="store_true", help="after a rule, a file or a reader was mended, try again")
    parts = command(
        "catalogue", "evergreen.cli.catalogue:catalogue", "the architectures, tasks, kinds and sources there are"
    )
    parts.add_argument("--from", dest="source", metavar="FILE", default="", help="which of them suit this data")
    parts.add_argument("--target", metavar="COLUMN", default="", help="and the column to predict")
    stage = command("stage", "evergreen.cli.stage:stage", "run one stage of one pipeline alone, as DVC does")
    stage.add_argument("stage", metavar="STAGE", help="collect, preprocess, select, tune, train or validate")
    stage.add_argument("name", metavar="NAME", help="a pipeline")
    passing = commands.add_parser(
        "dvc", help="pass the rest of the line on to DVC: evergreen dvc status", add_help=False
    )
    passing.set_defaults(command="evergreen.cli.dvc:replace_process")
    command("doctor", "evergreen.cli.doctor:doctor", "what is missing or cannot work here, and the fix")
    command("stop", "evergreen.cli.status:stop", "end everything that this clone started")
    return top


PREDICT = """answer the rows of a file with the released model

The output has the input's columns, `prediction`, and for classes one `p_<class>` each. A row that the model cannot take
ends the whole call: its line is named, and nothing is written. The target may be among the columns; it is passed over.
A forecast is made for each row with enough known rows before it, and for rows at the end whose target is empty."""

FEATURES = """write what the released network makes of rows, as Parquet that others learn from

Columns feature_0, feature_1 …: what the network's head sees. Beside them `target`, `split` and `_id` of the pipeline's
own rows, or the target, where there is one, and `_origin` of the rows of a file. Before the first release it is the
candidate's features."""


SCHEMA = """what may be said of each column: kind, range, values, share of missing

It is read from the prepared rows, or else from the first rows of the source, and printed as YAML for the section
`preprocess`. What the file says of a column already is not touched."""

QUARANTINE = """the rows that were set aside, by reason, with examples and where they came from

Where too many were bad and the run was stopped, these are shown. With --replay, files whose rows could not be read are
read again, every row is checked again by the rules as they are now, and what came of it is told."""


if __name__ == "__main__":
    sys.exit(main())
