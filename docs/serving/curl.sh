#!/usr/bin/env bash
# Asks a server of an exported Glow with curl: what it is, for samples, how likely they are.
#
#   tfp-glow serve models --port 8501
#   docs/serving/curl.sh [SERVER] [MODEL]
#
# Writes sample.png here.
set -euo pipefail
server=${1:-http://127.0.0.1:8501}
model=$server/v1/models/${2:-digits}
ask() { curl --silent --show-error --fail-with-body "$@"; }

echo "Versions:"
ask "$model"
echo

echo "Two samples, a row each with its seed and its temperature, as nested lists [H][W][C]:"
ask "$model:predict" --data '{
  "signature_name": "sample",
  "instances": [{"seed": 1, "temperature": 0.7}, {"seed": 2, "temperature": 1.0}]
}'
echo

echo "The first one as PNG, which TensorFlow Serving does not give: sample.png"
png=$(ask "$model:predict" --data '{
  "signature_name": "sample",
  "instances": [{"seed": 1, "temperature": 0.7}],
  "output_format": "png"
}' | sed 's/.*"b64":"\([^"]*\)".*/\1/')
base64 --decode <<< "$png" > sample.png

echo "Its log-likelihood in nats:"
ask "$model:predict" --data '{"instances": [{"b64": "'"$png"'"}]}'
echo
