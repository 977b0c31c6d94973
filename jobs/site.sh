# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by jobs/submit, jobs/status and jobs/node_hours (not in a function, whose `declare` would be its own): the site and its scheduler.
[[ -f $jobs/sites/$site.env ]] || refuse 78 "there is no site $jobs/sites/$site.env; copy default.env and change it"
CONCORD_SCHEDULER=slurm CONCORD_SBATCH=()
declare -A CONCORD_SBATCH_STAGE=()
export CONCORD_STAGE='' CONCORD_JOBS=$jobs
# shellcheck source=jobs/sites/default.env
source "$jobs/sites/$site.env"
[[ -f $jobs/schedulers/$CONCORD_SCHEDULER.sh ]] || refuse 78 "$site.env names a scheduler $CONCORD_SCHEDULER; there are $(cd "$jobs/schedulers" && echo *.sh)"
# shellcheck source=jobs/schedulers/slurm.sh
source "$jobs/schedulers/$CONCORD_SCHEDULER.sh"
[[ -x $CONCORD_BIN ]] || refuse 66 "$CONCORD_BIN is not there; build concord first, or set CONCORD_BIN"
