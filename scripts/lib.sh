# shellcheck shell=bash
# Shell helpers for the scripts of this folder; source it, do not run it.
#
#   . "$(dirname "$0")/lib.sh"
#
# Works under `set -euo pipefail` on a fresh Debian 12, as root or through sudo.
# Functions: say, die, as_root, need_packages. Variable: FIRN_ROOT.

# The root of the repository, absolute.
# shellcheck disable=SC2034 # for those who source this
FIRN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What building, testing and the demo need.
FIRN_PACKAGES=(
    build-essential meson ninja-build pkg-config
    liburing-dev libzstd-dev libxxhash-dev libsqlite3-dev libcmocka-dev
    libjansson-dev zlib1g-dev
    qemu-system-x86 qemu-utils busybox-static cpio
    python3 socat zstd gzip git ca-certificates groff-base systemd
)

# A message to the person who started the script.
say()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# The message, then the end with status 1.
die()
{
    say "$*"
    exit 1
}

# Runs a command as root: directly, or through sudo.
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root or sudo: $*"
    fi
}

# need_packages [PACKAGE...]: installs those that are missing (without names:
# FIRN_PACKAGES). Silent when all are there. apt's lists are fetched first,
# since a fresh machine has none and an old one has stale ones.
need_packages()
{
    local wanted=("$@") installed missing=() package log
    [ $# -gt 0 ] || wanted=("${FIRN_PACKAGES[@]}")
    command -v dpkg-query >/dev/null ||
        die "not a Debian system; install by hand: ${wanted[*]}"
    # dpkg-query fails when one name is unknown to it, and lists the rest.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
        "${wanted[@]}" 2>/dev/null || true)
    for package in "${wanted[@]}"; do
        grep -qxF "installed $package" <<<"$installed" ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    say "installing: ${missing[*]}"
    log=$(mktemp)
    # A third-party list that cannot be fetched does not matter here; what
    # matters is whether the install below works.
    as_root apt-get -qq update >"$log" 2>&1 || true
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq \
        --no-install-recommends -o DPkg::Lock::Timeout=300 \
        install "${missing[@]}" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: ${missing[*]}"
    fi
    rm -f "$log"
}
