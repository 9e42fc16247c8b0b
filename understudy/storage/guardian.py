"""The small shell script that runs the embedded server and outlives us to stop it.

It is started in a session of its own, with a pipe as standard input whose other end only this process holds. When
this process is gone, however it went, the pipe ends and the server is told to shut down (fast, then immediate). A
signal at parent's death would not do: Linux sends that one when the *thread* that started the child ends.

The script's exit status is the server's.
"""

SCRIPT = r"""
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
  read -r _ <&3
  kill -INT "$server"
  n=0
  while [ "$n" -lt 200 ]; do
    sleep 0.1
    n=$((n + 1))
  done
  kill -QUIT "$server"
) &
watcher=$!
exec 3<&-
trap 'kill -INT "$server"' HUP INT TERM
wait "$server"
status=$?
# A trapped signal ends `wait` early: the server is then still stopping.
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
  status=$?
done
kill "$watcher" 2>/dev/null
exit "$status"
"""
