# Sourced by the scripts next to it: installs what a bare Debian machine lacks, and says what it does.

say() {
    printf '==> %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo: $*"
    fi
}

apt_lists_are_fresh=

apt_install() {
    command -v apt-get >/dev/null || fail "please install: $* (there is no apt-get to do it)"
    say "installing with apt-get: $*"
    if [ -z "$apt_lists_are_fresh" ]; then
        as_root apt-get update -qq
        apt_lists_are_fresh=yes
    fi
    # As arguments of env, because sudo drops the environment.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

need_rust() {
    command -v cargo >/dev/null || fail "Rust is missing: see https://rustup.rs"
    command -v cc >/dev/null || apt_install gcc libc6-dev make
}
