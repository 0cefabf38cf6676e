#!/bin/bash
# penstock on a SLURM allocation: Ray on every node, the command on the first. Submit with: sbatch slurm.sh run.yaml
#SBATCH --job-name=penstock
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=01:00:00
set -euo pipefail

workload=${1:?which workload? sbatch slurm.sh run.yaml}
port=$((20000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent ahostsv4 "$head" | awk 'NR == 1 { print $1 }')

# One token for this job alone, in a directory that all nodes reach and nobody else reads.
umask 077
token=$SLURM_SUBMIT_DIR/.penstock-ray-$SLURM_JOB_ID
trap 'rm -f "$token"' EXIT
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$token"

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_USAGE_STATS_ENABLED=0
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3

# symmetric-run ends every Ray process of its nodes at the end: hence --exclusive.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
  ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_ON_NODE" --object-store-memory=83886080 --include-dashboard=false \
  -- penstock run "$workload" --launcher ray --launcher-option "address=$address:$port"
