"""`make loop`: makes a small project, tells the story upon it, a line a step with its seconds, and ends everything."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chaos.project import ChaosProject
from benchmarks.chaos.run_cell import list_orphans
from benchmarks.loop.story import Story, StoryError


def main() -> int:
    """Tell the story; return 1 where the loop does not close or a process is left."""
    folder, start = Path(tempfile.mkdtemp(prefix="evergreen-loop-")), time.monotonic()
    project = ChaosProject(folder)
    try:
        project.prepare()
        print(f"{time.monotonic() - start:6.1f} s  begin       a first version is made and served", flush=True)
        Story(project, lambda line: print(line, flush=True)).tell()
        problems = []
    except StoryError as error:
        problems = [str(error)]
    finally:
        project.stop()
        problems_left = list_orphans(project)
        shutil.rmtree(folder)
    print(f"{time.monotonic() - start:6.1f} s  in all", flush=True)
    print("\n".join([*problems, *problems_left]), file=sys.stderr)
    return int(bool(problems or problems_left))


if __name__ == "__main__":
    raise SystemExit(main())
