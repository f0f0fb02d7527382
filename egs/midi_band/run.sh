#!/usr/bin/env bash
# The whole paper at small size: songs played by a General MIDI band are the unlabelled corpus and,
# with their stems, the labelled one.  About 25 minutes on two CPU cores.
#
#   ./run.sh                                 every stage
#   ./run.sh --stage 4 --stop-stage 4        one stage again
#   ./run.sh --unlabelled-dir ~/Music        pre-train on your own songs instead
stage=0                 # first stage: 0 download, 1 segment, 2 manifests, 3 pre-train, 4 select, 5 fine-tune, 6 score
stop_stage=6            # last stage
work_dir=.              # folder for downloads, data, manifests, experiments and RESULTS.md
unlabelled_dir=         # your own folder of songs to pre-train on (mp3, ogg, flac, wav, m4a)
labelled_dir=           # your own folder of {train,valid,test}/<song>/<stem>
stems=vocals,drums,bass,other   # names of the stems
num_unlabelled=200      # unlabelled songs that the band plays
num_train=6             # songs with stems for training
num_valid=3             # ... for validation
num_test=8              # ... for scoring
seconds=22              # length of a song
correlation=band        # independent|tempo|band|locked|unison|doubled: how much the parts of a song share
parts=mixed             # mixed|1|2|3|4: how many stems play in an unlabelled song
sample_rate=16000       # of the stored audio, in Hz: that of the network
store=wav               # wav|flac|source: format of the stored audio; source keeps the originals only
conf_dir=conf           # folder with pretrain.yaml, finetune.yaml and model_<model>.yaml
model=tiny              # which network
init="scratch mixit"    # scratch|mixit: where fine-tuning starts
trainable="encoder_decoder all"   # encoder_decoder|all: what it trains
seed=1                  # of songs, weights and training data
nj=2                    # processes for audio
ngpu=1                  # devices for training, where there are GPUs
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/cluster_options.sh"
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/parse_options.sh"
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../tools/activate.sh
. ../../utils/mss.sh
