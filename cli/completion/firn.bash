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
        sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" | sort -u
}

_firn()
{
    local cur=${COMP_WORDS[COMP_CWORD]} previous= command= word i list=
    local _firn_repo=
    [ "$COMP_CWORD" -gt 0 ] && previous=${COMP_WORDS[COMP_CWORD - 1]}
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --repo) _firn_repo=${COMP_WORDS[++i]} ;;
        --debug) i=$((i + 1)) ;;
        -*) ;;
        *) [ -n "$command" ] || command=$word ;;
        esac
    done
    COMPREPLY=()
    case $previous in
    --repo | --qmp)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --mode) list="auto stream background" ;;
    --on-error) list="hang kill" ;;
    --prefetch | --fill) list="on off" ;;
    *)
        case $cur in
        -*) list=$(_firn_options "$command") ;;
        *)
            case $command in
            '') list=$(_firn_commands) ;;
            help) list="$(_firn_commands) exit-codes" ;;
            list) list=$(_firn_snapshots vm) ;;
            show | diff | check | restore | forget) list="latest $(_firn_snapshots id)" ;;
            init)
                mapfile -t COMPREPLY < <(compgen -d -- "$cur")
                return
                ;;
            esac
            ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$list" -- "$cur")
}

complete -F _firn firn
