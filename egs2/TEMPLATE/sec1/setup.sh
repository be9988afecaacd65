#!/usr/bin/env bash
# Start the recipe of a new corpus.
set -euo pipefail

usage="Usage: setup.sh CORPUS_FOLDER
 e.g.: egs2/TEMPLATE/sec1/setup.sh egs2/mycorpus     makes egs2/mycorpus/sec1

Makes a recipe folder with links to the shared parts (sec.sh, path.sh, utils, the programs that pretrain mini parts),
a copy of cmd.sh and of the default configurations to edit, a first run.sh, and a local/data.sh that says what to
write. It runs through all stages once local/data.sh is written.
The folder may be named with or without its last part, sec1; a name without / means egs2/NAME."

die() {
    echo "setup.sh: error: $1" >&2
    exit 1
}

case ${1:-} in
    -h | --help)
        echo "${usage}"
        exit 0
        ;;
    -*) die "unknown option $1 (--help)" ;;
esac
[ $# -eq 1 ] && [ -n "$1" ] || die "one corpus folder is needed (--help)"

template=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd -P)
root=$(cd "${template}/../../.." && pwd -P)

dest=$1
while [[ ${dest} == ?*/ ]]; do dest=${dest%/}; done
case ${dest} in
    *[[:space:]]*) die "'${dest}': no white space in the name of a recipe folder, please" ;;
    */*) ;;
    *) dest=${root}/egs2/${dest} ;;
esac
[[ ${dest##*/} =~ ^sec[0-9]+$ ]] || dest=${dest}/sec1
if [ -d "${dest}" ]; then
    [ -z "$(ls -A "${dest}")" ] || die "'${dest}' is there and not empty: choose another name, or remove it first"
elif [ -e "${dest}" ] || [ -L "${dest}" ]; then
    die "'${dest}' is there and no folder: choose another name"
fi

mkdir -p "${dest}" || die "cannot make folder '${dest}'"
dest=$(cd "${dest}" && pwd -P)
build=${dest}.new$$
trap 'rm -rf "${build}"' EXIT
mkdir "${build}" "${build}/local"

# relative PATH [FOLDER]: PATH as seen from FOLDER, the recipe if none
relative() { perl -MFile::Spec -e 'print File::Spec->abs2rel(@ARGV)' "$1" "${2:-${dest}}"; }
to_template=$(relative "${template}")
ln -s "${to_template}/sec.sh" "${to_template}/path.sh" "${to_template}/run_tables.sh" "${to_template}/aligncap.sh" "${build}"
ln -s "$(relative "${root}/utils")" "${build}/utils"
cp "${template}/cmd.sh" "${build}"
cp -RL "${template}/conf" "${build}/conf"
for program in "${root}"/egs2/mini_emospeech/sec1/local/{fold.sh,pretrain*}; do
    ln -s "$(relative "${program}" "${dest}/local")" "${build}/local"
done

cat > "${build}/run.sh" <<'END'
#!/usr/bin/env bash
# The choices of this recipe; ./sec.sh --help tells all options. Options of ./run.sh win over those here:
#   ./run.sh --stage 1 --stop_stage 8
set -euo pipefail

# The sets that local/data.sh makes in data/
train_set=train
valid_set=valid
test_sets="test"

# The language of the captions, a code such as zh, en, ja, fr: it sets instructions, words for recall, segmentation and
# metrics. --prompts FILE, --words FILE (or conf/words.json), --segment NAME and --score_args "--metrics ..." replace one.
lang=zh

# Speech features: S3PRL's name of an upstream, and the folder or hub name of its weights. pretrained/ holds mini parts
# that stage 1 trains on the training set (conf/pretrain.yaml): good for a first run on a laptop. For numbers to
# publish, take pretrained models and the paper's sizes:
#   --local_data_opts "--mini_parts false" --upstream_path TencentGameMate/chinese-hubert-large
#   --align_config conf/align_large.yaml --caption_config conf/caption_large.yaml
upstream=hf_hubert_custom
upstream_path=pretrained/hubert

align_config=conf/align.yaml # stage 5: the bridge learns from captions and transcriptions
caption_config=conf/caption.yaml # stage 6: captioning through the language model
inference_config=conf/decode.yaml # stage 7: decoding

exec ./sec.sh \
    --train_set "${train_set}" \
    --valid_set "${valid_set}" \
    --test_sets "${test_sets}" \
    --lang "${lang}" \
    --upstream "${upstream}" \
    --upstream_path "${upstream_path}" \
    --align_config "${align_config}" \
    --caption_config "${caption_config}" \
    --inference_config "${inference_config}" \
    "$@"
END

cat > "${build}/run_aligncap.sh" <<'END'
#!/usr/bin/env bash
# AlignCap on this corpus, with the choices of run.sh; ./aligncap.sh --help tells all options.
set -euo pipefail

exec ./aligncap.sh --feats_tag hf_hubert_custom "$@"
END

cat > "${build}/local/data.sh" <<'END'
#!/usr/bin/env bash
# Stage 1: from the corpus, as its makers give it, to data/train, data/valid and data/test.
# Options come from ./run.sh --local_data_opts "--corpus FOLDER".
set -euo pipefail

corpus=         # folder of the corpus
mini_parts=true # also train a mini HuBERT and a mini LLaMA on the training set

. ./path.sh
. utils/parse_options.sh

# prepare SET: writes the files of data/SET. Each has one line per utterance, `id value`, in UTF-8, sorted by the
# bytes of the ids (LC_ALL=C sort), with the same ids in every file; ids that begin with the speaker keep it so.
#   wav.scp    id /path/to/audio.wav              any format and rate that libsndfile reads; no commands
#   utt2spk    id speaker
#   captions   id ["one caption", "another"]      a JSON list: what people said of this utterance's emotion
#   text       id the words spoken                if known: needed by the transcription term of stage 5; id alone: none
#   utt2emo    id emotion                         if known: needed by the contrastive term of stage 5
#   utt2rate, utt2volume   id fast, id loud, ...  if known: the truth for recall (words for them: conf/words.json)
#   segments   id recording start end             if utterances are parts of recordings, in seconds: then wav.scp has
#                                                 lines "recording path"
# An utterance belongs to one set only; so, if you can, does a speaker. Ids are unique within a set.
prepare() {
    echo "local/data.sh: error: it is not written yet: make data/$1 from ${corpus:-the corpus}, as its comments say" >&2
    return 1
}

for name in train valid test; do
    prepare "${name}"
    utils/utt2spk_to_spk2utt.pl "data/${name}/utt2spk" > "data/${name}/spk2utt"
    if [ -e "data/${name}/utt2emo" ]; then
        utils/utt2spk_to_spk2utt.pl "data/${name}/utt2emo" > "data/${name}/emo2utt"
    fi
    utils/validate_data_dir.sh "data/${name}" --require captions
done
if "${mini_parts}"; then
    local/pretrain.sh --train_set data/train
fi
END

chmod +x "${build}/run.sh" "${build}/run_aligncap.sh" "${build}/local/data.sh"
rmdir "${dest}"
mv "${build}" "${dest}"
echo "Made ${dest}. Now:
  1. write local/data.sh: the corpus -> data/train, data/valid, data/test
  2. ./run.sh --stage 1 --stop_stage 8
Then edit conf/, whose files are copies of the defaults."
