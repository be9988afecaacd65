#!/usr/bin/env bash
# Command line options for a shell script: source this file after the defaults.
#
#   stage=1
#   skip_train=false
#   help_message="Usage: $0 [--stage N] [--skip_train true|false] FILE"
#   . utils/parse_options.sh
#
# `--a-b v` (or `--a_b v`) sets $a_b to v literally: nothing in a value is evaluated. The arguments after
# the options remain in "$@". Rules:
#   * the script must have set the variable before (lower-case first letter), else: unknown option;
#   * every option takes exactly one value; `--a=b` and a missing value are errors;
#   * a variable that is true or false takes only true or false;
#   * a value that begins with `--` must contain white space ("--max_epoch 5"); otherwise it is taken for the
#     next option, and the value is missing. Write " --x" (with a leading space) for a value of one word;
#   * --config FILE sources FILE (assignments of known variables, such as `beam=5`) before any other option,
#     whatever its position: the command line overrides the file;
#   * --help or -h prints $help_message; `--` ends the options.
# An error is one line on stderr that names the option; exit status 1. Works under `set -eu`.

_po_die() {
    printf '%s: error: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# _po_variable NAME: true if it is a plain variable that the script has set or declared
_po_variable() {
    [[ $1 =~ ^[a-z][a-zA-Z0-9_]*$ && $1 != help_message ]] || return 1
    [[ $(declare -p "$1" 2>/dev/null) =~ ^declare\ -[-xlut]+\ ? ]]
}

# _po_check OPTION [VALUE]: check that this script has the option and that it accepts the value; sets _po_name
_po_check() {
    case $1 in
        --*=*) _po_die "write '${1%%=*} VALUE' instead of '${1%%=*}=VALUE'" ;;
        --*) ;;
        *) _po_die "options begin with two dashes: $(printf '%q' "$1")" ;;
    esac
    _po_name=${1#--}
    _po_name=${_po_name//-/_}
    if [ "${_po_name}" != config ] && ! _po_variable "${_po_name}"; then
        _po_die "unknown option $(printf '%q' "$1") (--help lists them)"
    fi
    [ $# -eq 2 ] || _po_die "option $1 needs a value"
    if [[ $2 == --* && ! $2 =~ [[:space:]] ]]; then
        _po_die "option $1 needs a value, but '$2' follows (if that is the value, write ' $2' with a leading space)"
    fi
}

# _po_check_bool NAME OLD NEW WHERE: a variable that is true or false must remain one of them
_po_check_bool() {
    case $2 in
        true | false) ;;
        *) return 0 ;;
    esac
    [ "$3" = true ] || [ "$3" = false ] || _po_die "$4 must be true or false, not $(printf '%q' "$3")"
}

# _po_source_config FILE
_po_source_config() {
    local _po_file=$1 _po_message _po_v _po_before
    [ -f "${_po_file}" ] && [ -r "${_po_file}" ] || _po_die "--config: no readable file '${_po_file}'"
    _po_message=$(bash -n -- "${_po_file}" 2>&1) || _po_die "--config: ${_po_message%%$'\n'*}"
    if LC_ALL=C grep -q -e $'\r$' -e $'^\xEF\xBB\xBF' -- "${_po_file}"; then
        _po_die "--config: '${_po_file}' has a byte order mark or CRLF line ends; save it as plain UTF-8 with LF"
    fi
    _po_before=$(compgen -v)
    local -A _po_bools=()
    for _po_v in ${_po_before}; do
        case ${!_po_v-} in
            true | false) _po_bools[${_po_v}]=${!_po_v} ;;
        esac
    done
    case ${_po_file} in
        */*) ;;
        *) _po_file=./${_po_file} ;; # otherwise `.` would search PATH
    esac
    # shellcheck disable=SC1090
    . "${_po_file}" || _po_die "--config: '${_po_file}' ended with an error"
    for _po_v in $(compgen -v); do
        if [[ ${_po_v} =~ ^[a-z] && $'\n'${_po_before}$'\n' != *$'\n'"${_po_v}"$'\n'* ]]; then
            _po_die "--config: '${_po_file}' sets '${_po_v}', which is not an option of this script"
        fi
    done
    for _po_v in "${!_po_bools[@]}"; do
        _po_check_bool "${_po_v}" "${_po_bools[${_po_v}]}" "${!_po_v-}" "--config: '${_po_file}': ${_po_v}"
    done
}

# First pass: configuration files and --help; second pass: the other options.
for _po_pass in config options; do
    _po_args=("$@")
    while [ ${#_po_args[@]} -gt 0 ]; do
        case ${_po_args[0]} in
            --)
                _po_args=("${_po_args[@]:1}")
                break
                ;;
            --help | -h)
                printf '%s\n' "${help_message:-${0##*/}: this script has no help}"
                exit 0
                ;;
            -[a-zA-Z]* | --*) ;;
            *) break ;;
        esac
        _po_check "${_po_args[@]:0:2}"
        if [ "${_po_name}" = config ]; then
            if [ "${_po_pass}" = config ]; then _po_source_config "${_po_args[1]}"; fi
        elif [ "${_po_pass}" = options ]; then
            _po_check_bool "${_po_name}" "${!_po_name-}" "${_po_args[1]}" "${_po_args[0]}"
            printf -v "${_po_name}" '%s' "${_po_args[1]}"
        fi
        _po_args=("${_po_args[@]:2}")
    done
done
set -- ${_po_args[@]+"${_po_args[@]}"}
unset _po_pass _po_args _po_name
unset -f _po_die _po_variable _po_check _po_check_bool _po_source_config
true
