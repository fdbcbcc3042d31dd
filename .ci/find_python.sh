#!/bin/sh
# Print the Python to build .venv with; or say what there is, what is needed and how to get it.
#
#   sh .ci/find_python.sh          looks on the PATH, among pyenv's versions, and asks uv
#   sh .ci/find_python.sh PYTHON   takes this one or none
#
# compressai 1.2.8 comes built for these only, and needs a numpy below 2, which also does: with any
# other Python, pip would build numpy from source for many minutes. pyproject.toml says the same.
supported="3.11 3.12"

probe='import sys
version = "%d.%d" % sys.version_info[:2]
try:
    import ensurepip, venv
except ImportError:
    version += " without ensurepip; on Debian and Ubuntu: apt-get install python%s-venv" % version
print(version)'
found=""

# Take $1 and end, if it runs (a shim of pyenv may not) and will do; else remember what it is.
try() {
    version=$("$1" -c "$probe" 2>/dev/null) || return 0
    for wanted in $supported; do
        if [ "$version" = "$wanted" ]; then
            printf '%s\n' "$1"
            exit 0
        fi
    done
    found="$found
  $1 is Python $version"
}

fail() {
    printf '%s\n' "This project needs Python 3.11 or 3.12: compressai 1.2.8 is built for no other." \
        "Found:${found:- none that runs}" \
        "Get one and run make again; any of these will do:" \
        "  uv (pip install uv, or pipx install uv): make then fetches Python 3.12 through it" \
        "  conda env create -f environment.yml" \
        "  apt-get install python3.12 python3.12-venv (3.11 on Debian 12; Debian 13 has neither)" \
        "  pyenv install 3.12" \
        "Or name one: make PYTHON=/path/to/python3.12" >&2
    exit 1
}

if [ $# -gt 0 ]; then
    try "$1"
    [ -n "$found" ] || found="
  $1 does not run"
    fail
fi

# Every folder of the PATH: what comes first may be a shim that fails, or too new.
IFS=:
for name in python3.11 python3.12 python3 python; do
    for folder in $PATH; do
        IFS=' '
        if [ -x "$folder/$name" ]; then try "$folder/$name"; fi
    done
    IFS=:
done
IFS=' '
for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[12]*/bin/python; do
    if [ -x "$python" ]; then try "$python"; fi
done
if command -v uv >/dev/null 2>&1; then
    python=$(uv python find 3.12 2>/dev/null) ||
        python=$(uv python install 3.12 >&2 && uv python find 3.12) || python=""
    if [ -n "$python" ]; then try "$python"; fi
fi
fail
