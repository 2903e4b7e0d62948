# Exit codes by what the hypervisor says at the end.
. "$(dirname "$0")/lib.sh"

outcome() {
    local code=$1
    shift
    start_fake commits=100 "$@"
    expect "$code" $RETRO collect --force "tcp:127.0.0.1:$port" -o "$T/a.log"
}

outcome 0 status=ok
outcome 0 status=none
outcome 6 end=none status=refused
outcome 1 end=none status=bad-command-line
outcome 5 end=none status=bad-guest
outcome 10 end=none status=bad-log
outcome 8 end=none status=log-error
outcome 2 end=abort status=divergence
outcome 9 end=abort status=panic
outcome 9 end=abort status=none
said err "page 0x123 differs"
outcome 9 status=never-heard-of
outcome 4 end=none status=ok
