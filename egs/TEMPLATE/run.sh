#!/usr/bin/env bash
# TEMPLATE: say here in one sentence which songs this recipe is about.  As it is, a MIDI band plays a
# few, and all stages take minutes on two CPU cores.
#
#   ./run.sh                                 every stage
#   ./run.sh --stage 4 --stop-stage 4        one stage again
stage=0                 # first stage: 0 download, 1 segment, 2 manifests, 3 pre-train, 4 select, 5 fine-tune, 6 score
stop_stage=6            # last stage
work_dir=.              # folder for downloads, data, manifests, experiments and RESULTS.md
unlabelled_dir=         # folder of songs to pre-train on, instead of those of stage 0
labelled_dir=           # folder of {train,valid,test}/<song>/<stem>.*, instead of those of stage 0
stems=vocals,drums,bass,other   # names of the stems, as many as there are
sample_rate=16000       # of the stored audio, in Hz: that of the network
store=flac              # flac|wav|source: format of the stored audio; source keeps the originals only
conf_dir=conf           # folder with pretrain.yaml, finetune.yaml and model_<model>.yaml
model=tiny              # which network
init="scratch mixit"    # scratch|mixit: where fine-tuning starts
trainable=all           # all|encoder_decoder: what it trains
seed=1                  # of weights and training data
nj=2                    # processes for audio
ngpu=1                  # devices for training, where there are GPUs
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/cluster_options.sh"
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/parse_options.sh"
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../tools/activate.sh
. ../../utils/mss.sh
