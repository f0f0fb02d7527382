# shellcheck shell=bash
# The seven stages of every recipe (DESIGN of the flow: downloads -> data -> manifests -> exp).
#
# A recipe's run.sh declares its variables, parses its options and sources this file from its own
# folder.  Read here:
#   stage stop_stage   first and last stage to run
#   work_dir           folder that downloads/, data/, manifests/ and exp/ are written in
#   unlabelled_dir     folder of unlabelled songs (default: what stage 0 put in downloads/)
#   labelled_dir       folder of {train,valid,test}/<song>/<stem> (default: the same)
#   stems              names of the stems, separated by commas
#   sample_rate store  of the audio that stage 1 writes
#   conf_dir model     folder of configs, and which model_<name>.yaml in it; pretrain_<name>.yaml and
#                      finetune_<name>.yaml go before pretrain.yaml and finetune.yaml where they exist,
#                      and finetune_encoder_decoder[_<name>].yaml before both
#   init trainable     lists of what to fine-tune: "mixit scratch", "all encoder_decoder"
#   seed nj ngpu       seed of everything; processes for audio; devices for training
#   executor           local: the heavy commands run here; slurm: as jobs of a cluster, of which
#                      partition time num_jobs num_nodes slurm_options say more (mixit-mss dispatch)
#
# and, where a recipe sets them after its options, empty elsewhere:
#   unlabelled_corpus labelled_corpus   options of `mixit-mss segment` that name a published corpus
#   variant            name of the unlabelled corpus, where one work_dir may hold several
#   network pretraining   words for the labels of the results: "medium", "MixIT FMA large"
#   paper_tables       the paper's tables to lay beside every result in exp/: "1 2 3"
#
# A recipe may have local/download.sh (stage 0) and local/after_scoring.sh (end of stage 6); both
# see these variables.  A stage whose inputs did not change says so and does nothing, so a killed
# run is simply given again.

downloads=$work_dir/downloads data=$work_dir/data exp=$work_dir/exp
variant=${variant:-}
manifests=$work_dir/manifests${variant:+/$variant}
unlabelled=$data/${variant:-unlabelled}
tag=$model${variant:+_$variant}_seed$seed
pretrained=$exp/pretrain_$tag
num_stems=$(($(tr -cd , <<<"$stems" | wc -c) + 1))
selected=$pretrained/selected_$num_stems
export downloads data manifests exp tag pretrained selected num_stems
utils=$(dirname "${BASH_SOURCE[0]}")
. "$utils/running.sh"
. "$utils/functions.sh"

if [ "$executor" = local ]; then unset -v ${!SLURM_@}; fi # a shell within a cluster's job is no job of ours
if [ "$executor" = local ] && [ "$num_nodes" -gt 1 ]; then
  printf 'run.sh: --num-nodes %s needs --executor slurm\n' "$num_nodes" >&2
  exit 1
fi

if [ "$stage" -le 2 ] && trains; then check --sample-rate "$sample_rate"; fi

if begin 0 download; then
  if [ -e local/download.sh ]; then . local/download.sh; fi
  finish 0
fi

if begin 1 "segments and activity"; then
  if starts_from_mixit; then
    apart=(--leave-out "${labelled_dir:-$downloads/labelled}")
    if [ -n "${unlabelled_corpus:-}" ]; then apart=(); fi # a corpus knows its songs
    # shellcheck disable=SC2086 # these are several words
    launch segment ${unlabelled_corpus:---kind unlabelled} \
      --input "${unlabelled_dir:-$downloads/unlabelled}" --out "$unlabelled" \
      --sample-rate "$sample_rate" --store "$store" --nj "$nj" ${apart[@]+"${apart[@]}"}
  fi
  # shellcheck disable=SC2086
  launch segment ${labelled_corpus:---kind labelled} \
    --input "${labelled_dir:-$downloads/labelled}" --stems "$stems" --out "$data/labelled" \
    --sample-rate "$sample_rate" --store "$store" --nj "$nj"
  finish 1
fi

if begin 2 manifests; then
  corpora=(--labelled "$data/labelled")
  if starts_from_mixit; then corpora+=(--unlabelled "$unlabelled"); fi
  run mixit-mss make-manifests "${corpora[@]}" --out "$manifests"
  finish 2
fi

# whatever would stop a later stage is said before days of training
if trains; then
  hold shared
  songs=(--labelled "$manifests/labelled")
  if with mixit "$init"; then songs+=(--unlabelled "$manifests/unlabelled"); fi
  check "${songs[@]}" --stage $((stage > 3 ? stage : 3))
fi

if begin 3 "MixIT pre-training"; then
  if starts_from_mixit; then
    launch pretrain --config "$(config "pretrain_$model" pretrain)" \
      --model "$conf_dir/model_$model.yaml" --manifest "$manifests/unlabelled" \
      --out "$pretrained" --seed "$seed" --ngpu "$ngpu"
  fi
  finish 3
fi

if begin 4 "channel selection"; then
  if starts_from_mixit; then
    launch select-channels --model "$pretrained/model" --manifest "$manifests/labelled" \
      --stems "$stems" --out "$selected"
  fi
  finish 4
fi

if begin 5 "fine-tuning"; then
  for part in $trainable; do
    for start in $init; do
      case $start in
        mixit) from=(--init "$selected") ;;
        scratch) from=(--model "$conf_dir/model_$model.yaml") ;;
      esac
      printf -- '-- %s, %s --\n' "$start" "$part"
      launch finetune "${from[@]}" --config "$(finetune_config "$part")" --trainable "$part" \
        --manifest "$manifests/labelled" --out "$exp/finetune_${tag}_${start}_$part" \
        --seed "$seed" --ngpu "$ngpu"
    done
  done
  finish 5
fi

if begin 6 "separation and scores"; then
  rows=()
  score_oracle mixture 0 "mixture as estimate"
  score_oracle irm 1 "ideal ratio mask"
  if with mixit "$init" && [ -e "$selected/config.json" ]; then
    separate_and_score "$selected" "$selected" 2 \
      "${network:+$network, }${pretraining:-MixIT}, selected outputs, no stems seen"
  fi
  order=3
  for part in encoder_decoder all; do
    for start in scratch mixit; do
      row=$exp/finetune_${tag}_${start}_$part
      # only the experiments of this call: others may have other stems
      with "$start" "$init" && with "$part" "$trainable" && [ -e "$row/model/config.json" ] || continue
      separate_and_score "$row" "$row/model" "$order" "$(label "$start" "$part")"
      order=$((order + 1))
    done
  done
  beside=()
  if [ -n "${paper_tables:-}" ]; then # all models of this work_dir in one report
    read -ra beside <<<"--paper-tables $paper_tables"
    more=()
    while IFS= read -r row; do more+=("$row"); done < <(other_results)
    if [ ${#more[@]} -gt 0 ]; then beside+=(--more "${more[@]}"); fi
  fi
  run mixit-mss report --experiments "${rows[@]}" --manifests "$manifests" \
    --out "$work_dir/RESULTS.md" --figures "$work_dir/figures" ${beside[@]+"${beside[@]}"}
  if [ -e local/after_scoring.sh ]; then . local/after_scoring.sh; fi
  finish 6
fi
