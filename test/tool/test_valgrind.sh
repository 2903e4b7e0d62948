# The same under valgrind: no error and no leak. Needs the build without sanitizers.
. "$(dirname "$0")/lib.sh"

if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing"
    exit 1
fi
RETRO="valgrind -q --leak-check=full --error-exitcode=99 build/retro"
$FAKE file "$T/a.log" commits=300
expect 0 $RETRO compress "$T/a.log" -o "$T/a.zst"
for look in info verify stats dump console "diff $T/a.zst" "info --json" "stats --json" "dump --json"; do
    expect 0 $RETRO $look "$T/a.log"
done
head -c 1000 "$T/a.log" >"$T/cut.log"
for look in info verify stats dump console; do
    expect 4 $RETRO $look "$T/cut.log"
done
start_fake commits=300 noise=1
expect 0 $RETRO collect --json "tcp:127.0.0.1:$port" -o "$T/b.log"
cmp "$T/a.log" "$T/b.log"
start_fake commits=300 lossy=1 end=abort status=divergence
expect 2 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/c.log"
