#!/usr/bin/env bash
# The paper's tables on real data: ./tools/reproduce.sh rrsisd|rrsishr [more arguments of cadformer compare]
#
# Table II/III (methods), Table IV (modules) and Fig. 8 (decoders), each with three seeds, as
# published: 480 x 480, 40 epochs. Days on one GPU; a killed run goes on when called again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
name=${1:-}
case "$name" in
  rrsisd) table=II ;;
  rrsishr) table=III ;;
  *) echo "usage: $0 rrsisd|rrsishr [more arguments of cadformer compare]" >&2; exit 2 ;;
esac
shift
seeds=${SEEDS:-"1 2 3"}

missing=0
swin=weights/swin_base_patch4_window12_384_22k.pth
if [ ! -f "$swin" ]; then
  echo "missing: $swin (published at github.com/microsoft/Swin-Transformer, releases)"
  missing=1
fi
if ! "$python" -W ignore -c "from cadformer_d2.data.tokenization import load_tokenizer as t; t('bert-base-uncased')" 2>/dev/null; then
  echo "missing: bert-base-uncased in the Hugging Face cache (hf download bert-base-uncased)"
  missing=1
fi
if ! "$python" -W ignore -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
  echo "missing: a CUDA GPU"
  missing=1
fi
if [ "$missing" = 1 ]; then
  check=(--tokenizer "")
else
  check=()
fi
"$python" -W ignore -m cadformer_d2 dataset check "$name" "${check[@]}" || missing=1
if [ "$missing" = 1 ]; then
  echo "nothing was started; README.md says where the files come from"
  exit 1
fi

compare() {  # title, folder, configs
  echo "== $1"
  local folder=$2
  shift 2
  # shellcheck disable=SC2086
  "$python" -m cadformer_d2 compare --config-files "$@" --seeds $seeds \
    --output "output/reproduce/$name/$folder" "${extra[@]}"
}
extra=("$@")
compare "Table $table: methods" methods "configs/$name.yaml" \
  "configs/baselines/lavt_$name.yaml" "configs/baselines/lgce_$name.yaml" \
  "configs/baselines/rmsin_$name.yaml" "configs/baselines/fianet_$name.yaml" \
  "configs/cadformer_released_code_$name.yaml"
compare "Table IV: modules" modules "configs/$name.yaml" \
  "configs/ablations/table4_neither_$name.yaml" "configs/ablations/table4_smgam_$name.yaml" \
  "configs/ablations/table4_tcmd_$name.yaml"
compare "Fig. 8: decoders" decoders "configs/$name.yaml" \
  "configs/ablations/fig8_oad_$name.yaml" "configs/ablations/fig8_lgce_$name.yaml"
