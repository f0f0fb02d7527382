# shellcheck shell=bash disable=SC2034
# Options that every recipe has: where its heavy commands run (launch in utils/mss.sh).
executor=local          # local|slurm: where the heavy commands run; what follows is for slurm
partition=              # of the cluster; empty for its own choice
time=24:00:00           # limit of a job; a training that reaches it goes on in the next
num_jobs=8              # jobs that share the songs in stages 1 and 6
num_nodes=1             # machines for training, each with ngpu devices
slurm_options=          # more options of sbatch: "account=music qos=long mem=64G"
