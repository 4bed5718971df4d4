# Sourced by the commands here: sets $python to an interpreter that is new enough, or says what is missing.
python=""
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "llamasmith: no Python >= 3.10 found. Install one, or name it: PYTHON=/path/to/python $0" >&2
    exit 1
fi
