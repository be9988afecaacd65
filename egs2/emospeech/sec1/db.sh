# Where the corpus lies: the folder that holds dataset/{wav,text.txt,fid2captions.json,wav.scp}, as in the public
# repository thuhcsi/SECap. Write it here, or set it in the environment (which wins); a path may be relative to the
# recipe's folder, from which this file is sourced.
EMOSPEECH=${EMOSPEECH:-}
if [ -z "${EMOSPEECH}" ] && [ -d ../../../../shared/emospeech ]; then
    EMOSPEECH=../../../../shared/emospeech
fi
export EMOSPEECH
