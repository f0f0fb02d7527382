# shellcheck shell=bash
# Stage 0: nothing to fetch, the band plays.  Sourced by utils/mss.sh with the recipe's variables.
# What is pre-trained or fine-tuned on songs of your own needs no songs of the band.
if [ -n "$unlabelled_dir" ] || ! starts_from_mixit; then num_unlabelled=0; fi
if [ -n "$labelled_dir" ]; then num_train=0 num_valid=0 num_test=0; fi
run mixit-mss render-songs --out "$downloads" --unlabelled "$num_unlabelled" \
  --train "$num_train" --valid "$num_valid" --test "$num_test" \
  --seconds "$seconds" --seed "$seed" --correlation "$correlation" --parts "$parts" --nj "$nj"
