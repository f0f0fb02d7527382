#!/usr/bin/env bash
# The paper at full size: MixIT pre-training on the Free Music Archive, fine-tuning on MUSDB18-HQ.
# For machines with large GPUs; README.md says what a run costs, and local/ makes the paper's tables.
#
#   ./run.sh --model small --ngpu 8                         every stage
#   ./run.sh --fma-dir /corpora/fma --musdb-dir /corpora/musdb18hq   copies that are there already
stage=0                 # first stage: 0 download, 1 segment, 2 manifests, 3 pre-train, 4 select, 5 fine-tune, 6 score
stop_stage=6            # last stage
work_dir=.              # folder for downloads, data, manifests, experiments and RESULTS.md
fma_subset=large        # small|medium|large|full: what to pre-train on
fma_dir=                # folder with fma_metadata/ and fma_<subset>/ that is there already
musdb_dir=              # folder with train/ and test/ of MUSDB18-HQ that is there already
base_url=               # folder of a mirror that has the archives by their names
archives=               # CSV of their sizes and checksums, where they are not the published ones
stems=vocals,drums,bass,other   # names of the stems
mono=reject             # reject|duplicate: FMA's mono songs (the paper does not say; the release rejects)
silence_rule=paper      # paper|release: which segments of FMA are dropped
activity_rule=paper     # paper|release: which segments of MUSDB18-HQ's stems are kept
sample_rate=44100       # of the stored audio, in Hz: that of the network
store=flac              # flac|wav|source: format of the stored audio; source keeps the originals only
conf_dir=conf           # folder with the configs of networks and trainings
model=medium            # small|medium|large|tiny: size of the network; tiny is in conf/stand_in only
init="scratch mixit"    # scratch|mixit: where fine-tuning starts
trainable=all           # all|encoder_decoder: what it trains
paper_tables="1 2 3"    # 1|2|3: tables of the paper to show in RESULTS.md beside ours
seed=1                  # of weights and training data
nj=8                    # processes for audio
ngpu=1                  # devices for training; they share the batch
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/cluster_options.sh"
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/parse_options.sh"
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../tools/activate.sh
unlabelled_dir=${fma_dir:-$work_dir/downloads}
labelled_dir=${musdb_dir:-$work_dir/downloads/musdb18hq}
unlabelled_corpus="--corpus fma --fma-subset $fma_subset --mono $mono --silence-rule $silence_rule"
labelled_corpus="--corpus musdb18hq --activity-rule $activity_rule"
variant=fma_$fma_subset network=$model pretraining="MixIT FMA $fma_subset"
. ../../utils/mss.sh
