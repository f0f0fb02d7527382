# shellcheck shell=bash
# What the stages in mss.sh are written with.  Sourced there; reads the recipe's variables.

# begin NUMBER TITLE: whether this stage is to run; announces it and starts its clock
begin() {
  [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] || return 1
  if [ "$1" -le 2 ]; then hold alone; else hold shared; fi
  printf '\n== stage %s: %s ==\n' "$1" "$2"
  SECONDS=0
}

# finish NUMBER: say and note how long the stage took
finish() {
  mkdir -p "$exp"
  printf '%s\t%s\n' "$1" "$SECONDS" >>"$exp/seconds_per_stage.tsv"
  printf 'stage %s took %s s\n' "$1" "$SECONDS"
}

# launch COMMAND...: a heavy command of mixit-mss, here or as jobs of a cluster
launch() {
  if [ "$executor" = local ]; then
    run mixit-mss "$@"
  else
    run mixit-mss dispatch --jobs-folder "$exp/jobs" --partition "$partition" --time "$time" \
      --num-jobs "$num_jobs" --num-nodes "$num_nodes" --ngpu "$ngpu" --cpus "$nj" \
      --slurm-options "$slurm_options" -- "$@"
  fi
}

# config NAME...: the first of these in conf_dir, or the last if there is none
config() {
  local name
  for name in "$@"; do
    if [ -e "$conf_dir/$name.yaml" ]; then break; fi
  done
  printf '%s\n' "$conf_dir/$name.yaml"
}

# finetune_config PART: the training of all, or of encoder_decoder
finetune_config() {
  case $1 in
    all) config "finetune_$model" finetune ;;
    *) config "finetune_$1_$model" "finetune_$1" "finetune_$model" finetune ;;
  esac
}

# with WORD LIST: whether a word is in a list
with() {
  case " $2 " in *" $1 "*) return 0 ;; esac
  return 1
}

# starts_from_mixit: whether any fine-tuning starts from the pre-trained network; says so if none does
starts_from_mixit() {
  if with mixit "$init"; then return 0; fi
  printf 'no unlabelled songs: no training starts from MixIT (--init %s)\n' "$init"
  return 1
}

# trains: whether any of stages 3 to 6 is to run
trains() {
  [ "$stop_stage" -ge 3 ] && [ "$stage" -le 6 ] && [ "$stage" -le "$stop_stage" ]
}

# check OPTION...: whether what stages 3 to 6 are going to take fits together, as far as the options say
check() {
  local part configs=() more=()
  for part in $trainable; do configs+=("$(finetune_config "$part")"); done
  if with mixit "$init"; then more+=(--pretrain "$(config "pretrain_$model" pretrain)"); fi
  if [ "$executor" != local ]; then more+=(--elsewhere); fi
  run mixit-mss check --model "$conf_dir/model_$model.yaml" ${more[@]+"${more[@]}"} \
    --finetune "${configs[@]}" --stems "$stems" "$@" \
    --stop-stage $((stop_stage < 6 ? stop_stage : 6)) --ngpu "$ngpu" --num-nodes "$num_nodes"
}

# score_oracle NAME ORDER LABEL: what no network is needed for, a row of the results
score_oracle() {
  launch score --manifest "$manifests/labelled" --split test --oracle "$1" \
    --out "$exp/oracle_$1/scores.csv" --order "$2" --label "$3" --nj "$nj"
  rows+=("$exp/oracle_$1")
}

# label START PART: what a fine-tuned network is called in the results
label() {
  local words="from scratch"
  if [ "$1" = mixit ]; then words="${pretraining:-MixIT}, then fine-tuned"; fi
  if [ "$2" != all ]; then words="$words, encoder and decoder only"; fi
  printf '%s\n' "${network:+$network, }$words"
}

# other_results: the experiments of this work_dir that this call did not score
other_results() {
  local row
  for row in "$exp"/*/ "$exp"/*/selected_*/; do
    if [ -e "$row/scores.csv" ] && ! with "${row%/}" "${rows[*]}"; then printf '%s\n' "${row%/}"; fi
  done
}

# separate_and_score EXPERIMENT MODEL ORDER LABEL: the test songs through one model, a row of the results
separate_and_score() {
  launch separate --model "$2" --manifest "$manifests/labelled" --split test \
    --out "$1/estimates"
  launch score --manifest "$manifests/labelled" --split test --estimates "$1/estimates" \
    --out "$1/scores.csv" --order "$3" --label "$4" --nj "$nj"
  rows+=("$1")
}
