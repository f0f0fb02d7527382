# shellcheck shell=bash
# Stage 0: nothing to fetch, the band plays.  Sourced by utils/mss.sh with the recipe's variables.
python local/make_songs.py --out "$downloads" --unlabelled "$num_unlabelled" \
  --train "$num_train" --valid "$num_valid" --test "$num_test" --seconds "$seconds" --seed "$seed" --nj "$nj"
