# shellcheck shell=bash
# Stage 0, sourced by utils/mss.sh with the recipe's variables: bring the songs into $downloads.
#
#   $downloads/unlabelled/                                  songs at any depth, of any format
#   $downloads/labelled/{train,valid,test}/<song>/<stem>.*  the stems of a song equally long
#
# REPLACE ALL THAT FOLLOWS: it lets a MIDI band play twelve songs, so that the recipe runs at once.
# Whatever you put here is run again after it was killed: let it leave no half file, and do nothing
# where the songs are there already.  Songs that are on disk need no stage 0: delete this file, and
# name their folders in run.sh, unlabelled_dir and labelled_dir.
unlabelled_songs=8 train_songs=2 valid_songs=1 test_songs=1
if [ -n "$unlabelled_dir" ] || ! starts_from_mixit; then unlabelled_songs=0; fi
if [ -n "$labelled_dir" ]; then train_songs=0 valid_songs=0 test_songs=0; fi
run mixit-mss render-songs --out "$downloads" --unlabelled "$unlabelled_songs" \
  --train "$train_songs" --valid "$valid_songs" --test "$test_songs" \
  --seconds 13 --seed "$seed" --nj "$nj"
