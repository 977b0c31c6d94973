# shellcheck shell=bash disable=SC2034
# What is peculiar to Slurm. Every file of this folder has the same functions; jobs/submit, jobs/status and jobs/lib.sh source the site's.
scheduler=Slurm
scheduler_commands=(sbatch scancel)
scheduler_has_arrays=true
scheduler_warns=true # a job is sent SIGUSR1 before its time limit (--signal of each script)

# --- inside a job
job_id() { # as sacct and squeue write it: 103, or 103_4 of an array
  if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; else echo "${SLURM_JOB_ID:-none}"; fi
}
job_task() { echo "${SLURM_ARRAY_TASK_ID:-}"; }
job_restarts() { echo "${SLURM_RESTART_COUNT:-0}"; }
job_nodes() { echo "${SLURM_JOB_NUM_NODES:-1}"; }
job_hosts() { echo "${SLURM_JOB_NODELIST:-this host}"; }
# Ends the job; it stands in the queue again under its number, and what waits for it goes on waiting.
put_job_back() {
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
gave_up=75 # exit code of a job that is not to be put back

# --- at submission
# job_words STAGE SCRIPT LOGS AFTER TASKS OPTION...: the command into the array `words`. AFTER: a job's number, or nothing; TASKS: of an array.
job_words() {
  local stage=$1 script=$2 logs=${3//%/%%} after=$4 tasks=$5
  shift 5
  words=(sbatch --parsable --output="$logs/%x-%j.log" "$@")
  if [[ -n $tasks ]]; then words=(env "CONCORD_SHARES=$tasks" sbatch --parsable --output="$logs/%x-%A_%a.log" "$@" --array="0-$((tasks - 1))"); fi
  if [[ -n $after ]]; then words+=(--dependency="afterok:$after" --kill-on-invalid-dep=yes); fi
  words+=("$script")
}
job_number() { echo "${1%%;*}"; } # of what the command printed
# Whether the scheduler would take it; what it says goes to stdout.
job_test() {
  local script=$1
  shift
  sbatch --test-only "$@" "$script" 2>&1
}
cancel_jobs() { scancel "$@"; }
# nodes_and_time SCRIPT OPTION...: "NODES SECONDS" that a job asks for, of two options the later one.
nodes_and_time() {
  local script=$1 nodes=1 limit word previous=''
  shift
  limit=$(sed -n 's/^#SBATCH --time=\([^ ]*\).*/\1/p' "$script")
  for word in "$@"; do
    case $previous in -N | --nodes) nodes=$word ;; -t | --time) limit=$word ;; esac
    case $word in --nodes=*) nodes=${word#*=} ;; --time=*) limit=${word#*=} ;; -N?*) nodes=${word#-N} ;; -t?*) limit=${word#-t} ;; esac
    previous=$word
  done
  echo "${nodes##*-} $(seconds_of "$limit")"
}

# --- from outside
# queue_of ID...: a line a job that waits or runs: "ID|running or waiting|elapsed|time left|hosts or reason".
queue_of() {
  local ids
  ids=$(IFS=,; echo "$*")
  squeue -h --me -r -o '%i|%T|%M|%L|%R' 2>/dev/null | awk -F'|' -v ids=",$ids," '{
    base = $1; sub(/_.*/, "", base)
    if (index(ids, "," base ",") == 0) next
    state = $2 == "RUNNING" || $2 == "COMPLETING" ? "running" : $2 == "PENDING" ? "waiting" : tolower($2)
    print $1 "|" state "|" $3 "|" $4 "|" $5 }'
}
log_of() { scontrol show job "$1" 2>/dev/null | sed -n 's/^ *StdOut=//p' | head -n 1; }
# accounted ID...: "ID|nodes|seconds|state" of every run of the jobs, also of those that were put back; fails where nothing is kept.
accounted() {
  local ids
  ids=$(IFS=,; echo "$*")
  sacct -X -D -n -P -j "$ids" --format=JobID,AllocNodes,ElapsedRaw,State 2>/dev/null
}
