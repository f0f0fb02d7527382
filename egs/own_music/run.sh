#!/usr/bin/env bash
# Your own music: any folder of songs to pre-train on, and any folder of songs with their stems.
#
#   ./run.sh --unlabelled-dir ~/Music --labelled-dir ~/stems --stems vocals,backing
#   ./run.sh --unlabelled-dir ~/Music --labelled-dir ~/stems --model tiny --sample-rate 16000    without a GPU
stage=0                 # first stage: 0 look, 1 segment, 2 manifests, 3 pre-train, 4 select, 5 fine-tune, 6 score
stop_stage=6            # last stage
work_dir=.              # folder for data, manifests, experiments and RESULTS.md
unlabelled_dir=         # folder of songs at any depth: mp3, ogg, flac, wav, m4a, ...
labelled_dir=           # folder of {train,valid,test}/<song>/<stem>.*
stems=vocals,drums,bass,other   # names of the stems, as many as there are
sample_rate=44100       # of the stored audio, in Hz: that of the network
store=flac              # flac|wav|source: format of the stored audio; source keeps the originals only
conf_dir=conf           # folder with pretrain.yaml, finetune.yaml and model_<model>.yaml
model=small             # which network: tiny, small, medium
init="scratch mixit"    # scratch|mixit: where fine-tuning starts
trainable=all           # all|encoder_decoder: what it trains
seed=1                  # of weights and training data
nj=4                    # processes for audio
ngpu=1                  # devices for training, where there are GPUs
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/cluster_options.sh"
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/parse_options.sh"
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../tools/activate.sh
. ../../utils/mss.sh
