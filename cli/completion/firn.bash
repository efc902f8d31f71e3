# bash completion for firn: commands, their options, ids and VM names.
#
# Everything comes from the program itself: commands and options from its help,
# ids and names from `firn list`, so that there is no second list to keep.

# The commands, or the options of one: what the help puts at the line's start.
_firn_commands()
{
    firn help 2>/dev/null |
        sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'
}

_firn_options()
{
    firn help ${1:+"$1"} 2>/dev/null |
        sed -n 's/^  \(-[a-z], \|    \)\(--[a-z][a-z-]*\).*/\2/p'
}

# Field $1 ("id", "vm") of all snapshots in the repository that is meant.
_firn_snapshots()
{
    firn ${_firn_repo:+--repo "$_firn_repo"} --json -q list 2>/dev/null |
        sed -n "s/.*\"$1\":\"\([^\"\\\\]*\)\".*/\1/p" | sort -u
}

# The VMs of the config that is meant.
_firn_configured()
{
    local file
    for file in "$_firn_config" "${XDG_CONFIG_HOME:-$HOME/.config}/firn/config" \
        /etc/firn/config; do
        [ -f "$file" ] || continue
        sed -n 's/^[ \t]*\[[ \t]*vm[ \t][ \t]*\(.*[^ \t]\)[ \t]*\][ \t]*$/\1/p' "$file"
        break
    done
}

# Lines on stdin that begin with $1, quoted. No `compgen -W`: it expands what
# it gets, and names of VMs are not ours to run.
_firn_offer()
{
    local line
    while IFS= read -r line; do
        [[ $line == "$1"* ]] && COMPREPLY+=("$(printf '%q' "$line")")
    done
}

_firn()
{
    local cur=${COMP_WORDS[COMP_CWORD]} previous= command= word i list=
    local _firn_repo= _firn_config=
    [ "$COMP_CWORD" -gt 0 ] && previous=${COMP_WORDS[COMP_CWORD - 1]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --repo) _firn_repo=${COMP_WORDS[++i]} ;;
        --debug) i=$((i + 1)) ;;
        --config) _firn_config=${COMP_WORDS[++i]} ;;
        -*) ;;
        *) [ -n "$command" ] || command=$word ;;
        esac
    done
    COMPREPLY=()
    case $previous in
    --repo | --qmp | --config | --metrics-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --mode) list=$'auto\nstream\nbackground' ;;
    --on-error) list=$'hang\nkill' ;;
    --prefetch | --fill) list=$'on\noff' ;;
    --vm) list=$(_firn_snapshots vm) ;;
    *)
        case $cur in
        -*) list=$(_firn_options "$command") ;;
        *)
            case $command in
            '') list=$(_firn_commands) ;;
            help) list=$(_firn_commands; echo exit-codes) ;;
            list) list=$(_firn_snapshots vm) ;;
            run) list=$(_firn_configured) ;;
            show | diff | check | restore | forget | serve | export)
                list=$(echo latest; _firn_snapshots id)
                ;;
            init)
                mapfile -t COMPREPLY < <(compgen -d -- "$cur")
                return
                ;;
            esac
            ;;
        esac
        ;;
    esac
    _firn_offer "$cur" <<<"$list"
}

complete -F _firn firn
