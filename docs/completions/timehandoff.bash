# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What bash offers after `timehandoff` and TAB. bash-completion finds this file by its name and
# brings the functions that it uses. Names of guests and hosts come from elsewhere, so they are
# never given to compgen -W, which would run what is written in them.

# Offers those of the words that begin with what was typed.
_timehandoff_offer() {
    local word
    for word; do
        if [[ $word && $word == "$cur"* ]]; then
            COMPREPLY+=("$(printf %q "$word")")
        fi
    done
}

_timehandoff_domains() {
    local names
    mapfile -t names < <(timeout 1 virsh -q -r -c qemu:///system list --all --name 2>/dev/null)
    _timehandoff_offer "${names[@]}"
}

_timehandoff_hosts() {
    local names
    mapfile -t names < <(timehandoff status --json 2>/dev/null |
        sed -n 's/^ *"host": *"\([^"\\]*\)",\{0,1\}$/\1/p')
    _timehandoff_offer "${names[@]}"
    __ltrim_colon_completions "$cur"
}

# Offers what may follow an option that takes a value; false if this is none.
_timehandoff_value() {
    case $1 in
    "dry-run --domain" | "history --domain") _timehandoff_domains ;;
    "dry-run --source" | "dry-run --to" | "override --source" | "status --host" | "status -H")
        _timehandoff_hosts
        ;;
    "override --for") _timehandoff_offer 30min 1h 2h ;;
    "history --since") _timehandoff_offer 30min 2h 12h 1d 7d ;;
    "history --directory") _filedir -d ;;
    "measure --key" | "history --lines" | "guest --server") ;;
    *) return 1 ;;
    esac
    return 0
}

_timehandoff() {
    local cur prev words cword split command options=()
    _init_completion -s -n : || return
    command=${words[1]}
    if ((cword == 1)); then
        _timehandoff_offer dry-run measure sync ntp override status history guest hook \
            --help --version
        return
    fi
    if _timehandoff_value "$command $prev" || [[ $split == true ]]; then
        return
    fi
    if [[ $command == @(ntp|guest) ]] && ((cword > 2)); then
        command+=" ${words[2]}"
    fi
    case $command in
    dry-run) options=(--source --to --domain --json) ;;
    measure) options=(--json --key) ;;
    sync | "ntp show" | "ntp check" | "guest lint") options=(--json) ;;
    ntp) options=(show export check apply) ;;
    "ntp apply") options=(--dry-run) ;;
    override) options=(--for --source --clear) ;;
    status) options=(--json -H --host) ;;
    history) options=(--json --domain --since --lines --directory) ;;
    guest) options=(lint cloud-init dhcp ptp) ;;
    "guest cloud-init" | "guest dhcp" | "guest ptp") options=(--server) ;;
    hook | "ntp export") ;;
    *) return ;;
    esac
    # Where a name is wanted, options are for who has typed a hyphen.
    if [[ $cur != -* ]]; then
        case $command in
        measure) _timehandoff_hosts ;;
        sync) _timehandoff_domains ;;
        dry-run | "guest lint")
            _timehandoff_domains
            _filedir
            ;;
        "guest dhcp") _filedir ;;
        *) _timehandoff_offer "${options[@]}" --help ;;
        esac
        return
    fi
    _timehandoff_offer "${options[@]}" --help
}

complete -F _timehandoff timehandoff
