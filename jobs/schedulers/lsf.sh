# shellcheck shell=bash disable=SC2034
# What is peculiar to LSF (see slurm.sh). A job that ends with 75 goes back in the queue under its number (bsub -Q 75).
scheduler=LSF
scheduler_commands=(bsub bkill)
scheduler_has_arrays=false
scheduler_warns=true # bsub -wa USR1 -wt 5

job_id() { echo "${LSB_JOBID:-none}"; }
job_task() { echo ''; }
# LSF does not count.
job_restarts() { grep -c -e "^${LSB_JOBID:-none}$" "${CONCORD_OUTPUT:-/nonexistent}/jobs/put_back.tsv" 2>/dev/null || true; }
job_nodes() {
  if [[ -r ${LSB_DJOB_HOSTFILE:-} ]]; then
    # With jsrun a batch node comes first, which computes nothing.
    sort -u "$LSB_DJOB_HOSTFILE" | grep -c -v -e '^batch' || true
  else
    echo 1
  fi
}
job_hosts() { echo "${LSB_HOSTS:-this host}"; }
put_job_back() { exit 75; }
gave_up=70 # 75 would put it back

job_words() {
  local stage=$1 script=$2 after=$4 limit
  shift 5
  limit=$(sed -n 's/^#SBATCH --time=\([0-9]*:[0-9]*\).*/\1/p' "$script")
  words=(bsub -J "concord-$stage" -W "$limit" -wt 5 -wa USR1 -Q 75 -o /dev/null "$@")
  if [[ -n $after ]]; then words+=(-w "done($after)"); fi
  words+=("bash $(printf '%q' "$script")") # a line for the job's shell
}
job_number() { sed -n 's/^Job <\([0-9]*\)>.*/\1/p' <<< "$1"; }
job_test() { :; } # LSF has no way to ask
cancel_jobs() { bkill "$@" > /dev/null; }
nodes_and_time() {
  local script=$1 nodes=1 limit word previous=''
  shift
  limit=$(sed -n 's/^#SBATCH --time=\([^ ]*\).*/\1/p' "$script")
  for word in "$@"; do
    case $previous in -nnodes) nodes=$word ;; -W) limit=$word:00 ;; esac
    previous=$word
  done
  echo "$nodes $(seconds_of "$limit")"
}

queue_of() {
  bjobs -noheader -o "jobid stat run_time time_left exec_host delimiter='|'" "$@" 2>/dev/null | awk -F'|' '
    $2 == "RUN" { print $1 "|running|" $3 "|" $4 "|" $5 }
    $2 ~ /PEND|SUSP|WAIT/ { print $1 "|waiting|" $3 "|" $4 "|" $2 }'
}
log_of() { find "${CONCORD_OUTPUT:?}/jobs" -name "*-$1.log" | head -n 1; }
accounted() { return 1; }
