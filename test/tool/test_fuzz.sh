# Logs harmed at random: a second reader, retro and the hypervisor see the same in them, up to the same place. HARM_ROUNDS and
# HARM_SEED for more and others.
. "$(dirname "$0")/lib.sh"

for seed in 1 2 3; do
    $FAKE file "$T/fake$seed.log" "commits=$((100 * seed))" "vcpus=$((seed + 1))" "seed=$seed" "pages=$((seed - 1))"
done
$FAKE file "$T/dead.log" commits=200 end=abort
export TOOL_SCRATCH
python3 test/tool/harm.py "$RETRO" build/load_log "${HARM_ROUNDS:-80}" "${HARM_SEED:-20260101}" test/golden/*.golden "$T"/*.log
