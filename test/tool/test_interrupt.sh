# Interrupted collections: what was written replays, and --append goes on without a gap.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/want.log" commits=20000
prefix() {
    cmp -n "$(stat -c %s "$1")" "$T/want.log" "$1"
}

# Killed outright.
start_fake commits=20000 rate=60000
$RETRO collect "tcp:127.0.0.1:$port" -o "$T/a.log" >/dev/null 2>&1 &
collector=$!
wait_for at_least "$T/a.log" 20000
kill -KILL $collector
wait $collector 2>/dev/null || true
prefix "$T/a.log"
expect 4 $RETRO verify "$T/a.log"
said err "up to commit [0-9]{4,}"

# The sender still runs: go on, be interrupted politely, go on again.
$RETRO collect --append "tcp:127.0.0.1:$port" -o "$T/a.log" >/dev/null 2>"$T/err2" &
collector=$!
wait_for at_least "$T/a.log" 60000
kill -INT $collector
code=0
wait $collector || code=$?
[ "$code" = 11 ]
grep -q "cut off" "$T/err2"
prefix "$T/a.log"
expect 0 $RETRO collect --append "tcp:127.0.0.1:$port" -o "$T/a.log"
cmp "$T/want.log" "$T/a.log"
expect 0 $RETRO verify "$T/a.log"

# Killed at random moments, again and again: what was acknowledged is in the file, and nothing comes twice.
$FAKE file "$T/want2.log" commits=60000
rm -f "$T/acks"
start_fake commits=60000 rate=150000 acks="$T/acks"
kills=0 progress=0 before=0 longer=0
RANDOM=7
while true; do
    $RETRO collect --append "tcp:127.0.0.1:$port" -o "$T/k.log" >/dev/null 2>&1 &
    collector=$!
    hundredths=$((RANDOM % 40 + 10 + longer))
    sleep "$((hundredths / 100)).$(printf %02d $((hundredths % 100)))"
    if ! kill -KILL $collector 2>/dev/null; then
        wait $collector || true # the one before may have been killed when all was there, and the sender gone with it
        break
    fi
    wait $collector 2>/dev/null || true
    kills=$((kills + 1))
    sleep 0.05 # the sender notices
    longer=$((longer + 10)) # on a busy machine a collector may need this long to get anything
    [ -e "$T/k.log" ] || continue
    size=$(stat -c %s "$T/k.log")
    [ "$size" -ge "$(tail -n 1 "$T/acks" 2>/dev/null || echo 0)" ]
    cmp -n "$size" "$T/want2.log" "$T/k.log"
    [ "$size" = "$before" ] || progress=$((progress + 1)) longer=$((longer / 2))
    before=$size
    [ $kills -lt 100 ]
done
cmp "$T/want2.log" "$T/k.log"
expect 0 $RETRO verify "$T/k.log"
echo "$kills kills, $progress of them with something new in the file"
[ $progress -ge 5 ]

# On a terminal, where nobody hears that the collector is gone.
start_fake_pty commits=20000 rate=200000 hang=1
$RETRO collect "$tty" -o "$T/p.log" >/dev/null 2>&1 &
collector=$!
wait_for at_least "$T/p.log" 50000
kill -KILL $collector
wait $collector 2>/dev/null || true
expect 4 $RETRO verify "$T/p.log"
expect 0 $RETRO collect --append "$tty" -o "$T/p.log"
cmp "$T/want.log" "$T/p.log"

# Another log's remains are refused by name, and stay as they are.
$FAKE file "$T/other.log" commits=1000 seed=9
cp "$T/other.log" "$T/b.log"
start_fake commits=20000 rate=60000
expect 10 $RETRO collect --append "tcp:127.0.0.1:$port" -o "$T/b.log" --timeout 20
cmp "$T/other.log" "$T/b.log"

# The sender goes away in the middle.
start_fake commits=20000 cut=30000 end=none status=none
expect 4 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/c.log"
[ "$(stat -c %s "$T/c.log")" = 30000 ]
prefix "$T/c.log"

# Silence: the time is up.
start_fake commits=100 end=none status=none hang=1
expect 7 $RETRO collect --timeout 2 "tcp:127.0.0.1:$port" -o "$T/d.log"
