#!/bin/sh
# A PostgreSQL of its own in a folder, on a Unix socket there and nowhere else: example-db.sh start|stop FOLDER
#
# PostgreSQL refuses to run as root, so root's cluster runs as Debian's user postgres, who must be able to reach FOLDER.
set -eu

fail() { echo "example-db: $1" >&2; exit "${2:-1}"; }

[ $# = 2 ] || fail "usage: example-db.sh start|stop FOLDER" 2
verb=$1
folder=$(realpath -m "$2")
data=$folder/data

newest_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

as_owner() {
  if [ "$(id -u)" = 0 ]; then
    (cd "$folder" && setpriv --reuid=postgres --regid=postgres --clear-groups --reset-env "$@")
  else
    "$@"
  fi
}

running() { [ -d "$data" ] && as_owner "$bin/pg_ctl" status -D "$data" >/dev/null 2>&1; }

bin=$(newest_bin)
if [ -z "$bin" ]; then
  [ "$verb" = start ] && [ "$(id -u)" = 0 ] || fail "there is no PostgreSQL here; apt-get install postgresql"
  # Without this Debian makes a cluster of its own and starts it.
  mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/prefork.conf
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends postgresql >/dev/null
  bin=$(newest_bin)
fi

case $verb in
start)
  mkdir -p -m 700 "$folder"
  [ "$(id -u)" != 0 ] || chown postgres: "$folder"
  as_owner test -w "$folder" 2>/dev/null || fail "the user postgres cannot reach $folder"
  if ! [ -d "$data" ]; then
    as_owner "$bin/initdb" --pgdata="$data" --username=shop --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
  fi
  if ! running; then
    # Without fsync it starts in a moment; an example's data may be lost with the machine's power.
    as_owner "$bin/pg_ctl" start -D "$data" -l "$folder/log" -s -w -t 30 \
      -o "-c listen_addresses= -c unix_socket_directories='$folder' -c unix_socket_permissions=0700 -c fsync=off" >/dev/null ||
      { tail -n 20 "$folder/log" >&2; fail "it does not start"; }
  fi
  echo "postgresql:///postgres?host=$folder&user=shop"
  ;;
stop)
  ! running || as_owner "$bin/pg_ctl" stop -D "$data" -m fast -s -w
  ;;
*)
  fail "usage: example-db.sh start|stop FOLDER" 2
  ;;
esac
