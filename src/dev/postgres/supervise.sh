# Runs one private PostgreSQL for as long as standard input stays open, then stops it.
#
# The process that wants the server holds the other end of the pipe and never writes to it. However that process ends,
# SIGKILL included, the kernel closes the pipe and this script stops the server; nothing else has to be remembered.
#
#   $1 directory of the PostgreSQL binaries     $2 home: holds data/, log and, before the first start, password
#   $3 "keep" or "remove": what becomes of the home afterwards
#   the rest: arguments for postgres
#
# Standard output is a locked file, which tells other processes that this script still runs: nothing may be written to
# it, and no program that lives on may inherit it.
set -u
bin=$1
home=$2
afterwards=$3
shift 3
umask 077

if [ ! -w "$home" ]; then
    echo "the account $(id -un) cannot write to $home" >&2
    exit 1
fi

# A signal to the whole group (a container that stops, a terminal that goes away) stops the server in order, too.
server=
stop() { [ -z "$server" ] || kill -s INT "$server" 2>/dev/null; }
trap stop HUP INT TERM
# Whoever would read standard error may be gone, and that must not end this script before its work is done.
trap '' PIPE

# Data to be thrown away need not reach the disk. Its clients send their password as it is: it goes over loopback to a
# server that lives for a minute, and SCRAM's 4096 rounds cost an unoptimised test build 20 ms for each connection.
options='--auth=scram-sha-256'
[ "$afterwards" = keep ] || options='--auth=password --no-sync'

initialise() {
    # shellcheck disable=SC2086 # several words
    "$bin/initdb" --pgdata="$home/data.new" --username=riley_auth --pwfile="$home/password" \
        --encoding=UTF8 $options "$@" >>"$home/log" 2>&1
}

# The data directory takes its name only when it is whole: a start that was cut short begins again.
initialised=yes
: >"$home/log"
if [ ! -e "$home/data" ]; then
    rm -rf "$home/data.new"
    initialise --locale=C.UTF-8 ||
        initialise --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8 ||
        initialise --locale=C || initialised=no
    [ "$initialised" = no ] || mv "$home/data.new" "$home/data"
fi
rm -f "$home/password"

if [ "$initialised" = yes ]; then
    exec 3<&0
    "$bin/postgres" -D "$home/data" "$@" </dev/null 3<&- >>"$home/log" 2>&1 &
    server=$!
    # SIGINT is the fast shutdown; the immediate one can leave shared memory behind. It is sent again and again, since
    # one that arrives before the server has installed its handlers is lost.
    {
        read -r _ <&3
        while kill -s INT "$server"; do sleep 0.2; done
    } >/dev/null 2>&1 &
    watcher=$!
    while kill -0 "$server" 2>/dev/null; do wait "$server"; done
    kill "$watcher" 2>/dev/null
fi

# Read only when the server did not come up.
tail -n 20 "$home/log" >&2
[ "$afterwards" = keep ] || rm -rf "$home"
