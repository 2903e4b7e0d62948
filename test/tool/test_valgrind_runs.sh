# What starts an emulator, under valgrind: no error and no leak, in retro and in all that it forks.
. "$(dirname "$0")/lib.sh"

if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing"
    exit 1
fi
make_home
RETRO="valgrind -q --leak-check=full --error-exitcode=99 build/retro"
retro() {
    local command=$1
    shift
    $RETRO "$command" --home "$home" --guest "$home/guest file=1.elf" "$@"
}

FAKE_WORDS="commits=300"
expect 0 retro record --append "counters 10" --hv "stride=3" -o "$T/a.log"
printf 'one\ntwo\n' >"$T/input"
expect 0 retro record --input "$T/input" -o "$T/i.log"
FAKE_WORDS="commits=300 exit=7"
expect 5 retro record -o "$T/bad.log"
FAKE_WORDS="commits=300 end=abort"
expect 9 retro record --json -o "$T/dead.log"
FAKE_WORDS=sleep
expect 7 retro record --timeout 2 -o "$T/late.log"
FAKE_WORDS="report=1"
expect 0 retro run --json
expect 0 retro run
expect 0 retro replay "$T/a.log"
expect 2 env FAKE_WORDS="report=1 flip=memory" $RETRO replay --home "$home" --guest "$home/guest file=1.elf" --json "$T/a.log"
FAIL_MKISO=1 expect 9 retro record -o "$T/none.log"

expect 0 retro soak --count 1 -o "$T/s.log"
FAKE_WORDS="commits=100 exit=7"
expect 5 retro soak --count 1 --json -o "$T/s2.log"

cat >"$home/seeds" <<'END'
1 commits=50 lost=0
2 commits=60 lost=4 exit=1
3 commits=70 lost=0
9 die
END
expect 0 retro hunt -j 2 --tries 3 --match 'lost [1-9]' --show 'lost .*' -o "$T/h.log"
expect 0 retro hunt --json --tries 3 --end bad -o "$T/h2.log"
expect 12 retro hunt --tries 1 --match 'lost [1-9]' -o "$T/h3.log"
expect 9 retro hunt --tries 1 --seed 9 --match x -o "$T/h4.log"
expect 1 retro hunt --tries 1 --match '(' -o "$T/h5.log"
