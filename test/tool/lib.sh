# Helpers of the host tool's tests. Sourced; the current directory is the repository's root.
set -eu
RETRO=${RETRO:-build/retro-asan}
FAKE=build/fake_hv
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${TOOL_SCRATCH:=$(mktemp -d)}"
T=$TOOL_SCRATCH
# No code of retro's own: a finding must not pass for a usage error.
export ASAN_OPTIONS=exitcode=77 UBSAN_OPTIONS=exitcode=77:halt_on_error=1
# Nothing outlives a test.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

# expect CODE command...: runs it, output in $T/out and $T/err, and checks its exit code.
expect() {
    local wanted=$1 code=0
    shift
    "$@" >"$T/out" 2>"$T/err" || code=$?
    if [ "$code" != "$wanted" ]; then
        echo "exit code $code instead of $wanted: $*"
        cat "$T/out" "$T/err"
        return 1
    fi
}

# said FILE PATTERN: the last command's output (out or err) holds a line that matches.
said() {
    grep -qiE -- "$2" "$T/$1" || { echo "no line in $1 matches: $2"; cat "$T/$1"; return 1; }
}

# lacks FILE PATTERN: the opposite. (A plain "! grep" would not end the script.)
lacks() {
    if grep -E -- "$2" "$T/$1"; then
        echo "a line in $1 matches: $2"
        return 1
    fi
}

# Starts a fake hypervisor that listens, with these words; its port is then in $port.
start_fake() {
    : >"$T/port"
    "$FAKE" listen "$@" >"$T/port" &
    wait_for test -s "$T/port"
    port=$(cat "$T/port")
}

# The same on a terminal; its name is then in $tty.
start_fake_pty() {
    : >"$T/port"
    "$FAKE" pty "$@" >"$T/port" &
    wait_for test -s "$T/port"
    tty=$(cat "$T/port")
}

# wait_for command...: until it succeeds, at most 20 seconds.
wait_for() {
    local i
    for i in $(seq 400); do
        "$@" && return 0
        sleep 0.05
    done
    echo "never came true: $*"
    return 1
}

# at_least FILE BYTES
at_least() {
    [ -f "$1" ] && [ "$(stat -c %s "$1")" -ge "$2" ]
}

# Makes $home, with scripts in place of ISO maker and emulator: they run the fake hypervisor with the words in
# $FAKE_WORDS, and those that $home/seeds has behind the recording's seed; they keep the emulator's arguments in
# $home/arguments, and the image's in $home/iso.
make_home() {
    home=$T/home
    mkdir -p "$home/tools" "$T/tmp"
    export TMPDIR=$T/tmp FAKE_HV=$PWD/$FAKE FAKE_WORDS=
    cat >"$home/tools/mkiso" <<'END'
#!/bin/sh
[ "${FAIL_MKISO:-}" ] && { echo "no room on the disk"; exit 1; }
printf '%s\n' "$@" >"$1"
END
    cat >"$home/tools/emulate" <<'END'
#!/bin/sh
echo "$*" >"${0%/*}/../arguments"
while [ $# -gt 0 ]; do
    case $1 in --iso) cp "$2" "${0%/*}/../iso"; seed=$(sed -n 's/.* seed=\([0-9]*\).*/\1/p' "$2") ;; --serial) port=${2#client:} ;; esac
    shift
done
[ ! -e "${0%/*}/../seeds" ] || FAKE_WORDS=$(sed -n "s/^$seed //p" "${0%/*}/../seeds")
case $FAKE_WORDS in die) echo "panic: no such model" >&2; exit 3 ;; sleep) sleep 100 ;; esac
exec "$FAKE_HV" connect "$port" $FAKE_WORDS
END
    chmod +x "$home/tools/mkiso" "$home/tools/emulate"
    : >"$home/guest file=1.elf"
}
