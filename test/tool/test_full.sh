# A disk that is full (here: a file that may not grow): a named error, and nothing acknowledged that is not in the file.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/want.log" commits=20000

# limited KIB command...: files may have so many KiB.
limited() {
    local limit=$1
    shift
    ( ulimit -f "$limit"; "$@" )
}

for limit in 1 7 50; do
    rm -f "$T/a.log" "$T/acks"
    start_fake commits=20000 acks="$T/acks"
    expect 8 limited $limit $RETRO collect "tcp:127.0.0.1:$port" -o "$T/a.log"
    said err "cannot write the log .*a.log: File too large"
    size=$(stat -c %s "$T/a.log")
    [ "$size" = $((limit * 1024)) ]
    cmp -n "$size" "$T/want.log" "$T/a.log"
    wait_for test -s "$T/acks"
    [ "$(tail -n 1 "$T/acks")" -le "$size" ]
    # With room again it goes on, without a gap.
    expect 0 $RETRO collect --append "tcp:127.0.0.1:$port" -o "$T/a.log"
    cmp "$T/want.log" "$T/a.log"
done
expect 8 limited 1 $RETRO collect --json "tcp:127.0.0.1:1" -o "$T/none.log"

# The console's copy, compressed logs, recordings.
start_fake commits=20000
expect 8 $RETRO collect --console /dev/full "tcp:127.0.0.1:$port" -o "$T/c.log"
said err "cannot write the console's copy: No space left on device"
rm "$T/c.log"
start_fake commits=100
expect 8 limited 0 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/c.log"
expect 8 limited 20 $RETRO compress "$T/want.log"
said err "cannot write"
[ ! -e "$T/want.log.zst" ]
$RETRO compress "$T/want.log" 2>/dev/null
expect 8 limited 20 $RETRO decompress --force "$T/want.log.zst" -o "$T/b.log"
[ ! -e "$T/b.log" ]
make_home
FAKE_WORDS="commits=20000"
expect 8 limited 20 $RETRO record --home "$home" --guest "$home/guest file=1.elf" -o "$T/d.log"
said err "cannot write the log .*d.log: File too large"
expect 8 $RETRO record --home "$home" --guest "$home/guest file=1.elf" -o /dev/full
[ -z "$(ls "$T/tmp")" ]
