"""Programs of Slurm, for tests: they do on this machine what a cluster's would do on several."""

from __future__ import annotations

import os
from pathlib import Path

_SRUN = """\
#!/usr/bin/env bash
# srun, on one machine: one task a node, each with its number; it ends with the worst of their statuses.
set -u
echo "$@" >>"$STAND_IN_LOG"
nodes=${SLURM_JOB_NUM_NODES:-1}
while [[ ${1:-} == --* ]]; do
  [[ $1 == --nodes=* ]] && nodes=${1#--nodes=}
  shift
done
trap 'kill -TERM "${tasks[@]}" 2>/dev/null' TERM
tasks=()
for ((node = 0; node < nodes; node++)); do
  machine=STAND_IN_MACHINE_$node  # a program that stands for the machine
  SLURM_NODEID=$node ${!machine:-} "$@" &
  tasks+=($!)
done
worst=0
for task in "${tasks[@]}"; do
  status=0
  wait "$task" || status=$?
  while kill -0 "$task" 2>/dev/null; do status=0; wait "$task" || status=$?; done
  ((status > worst)) && worst=$status
done
exit "$worst"
"""
_SCONTROL = """\
#!/usr/bin/env bash
# scontrol: names of the nodes, or a note of what was asked.
[[ $1 == show ]] && { printf '%s\\n' "${STAND_IN_HEAD:-127.0.0.1}" node-2; exit; }
echo "scontrol $*" >>"$STAND_IN_LOG"
"""
_SBATCH = """\
#!/usr/bin/env bash
[[ -f ${2:-} ]] || { echo "no such script" >&2; exit 1; }
echo "81234;cluster"
"""


def stand_ins(folder: Path) -> dict[str, str]:
    """Write the programs into ``folder`` and return an environment of a job that finds them."""
    folder.mkdir()
    for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL), ("sbatch", _SBATCH)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "STAND_IN_LOG": str(folder / "log"),
        "SLURM_JOB_ID": "81234",
        "SLURM_JOB_NODELIST": "node-[1-2]",
        "SLURM_JOB_NUM_NODES": "1",
    }
