# A real recording at the end of stage 6: six seconds of a MUSDB18 song, through the last model.
# The network has only heard a MIDI band, so the scores are honest and low.
model=${rows[-1]}/model
song="The Easton Ellises - Falcon 69"
real=$downloads/real_excerpt/$song
if [ -e "$model/config.json" ]; then
  run python local/extract_excerpt.py --out "$downloads/real_excerpt"
  run mixit-mss separate "$real/mixture.wav" --model "$model" --out "$exp/real_excerpt"
  run mixit-mss score --references "$real" --estimates "$exp/real_excerpt/$song" \
    --out "$exp/real_excerpt/scores.csv"
  printf 'listen to the estimates: %s\n' "$(realpath "$exp/real_excerpt/$song")"
  printf 'and to the true stems:   %s\n' "$(realpath "$real")"
fi
