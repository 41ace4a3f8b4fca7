"""Pattern `long_running`: the sandbox stays, and what the agent started goes on when nobody talks to it. The
agent builds a page anew every second and serves it on a port; later it looks at what became of it.

    HOSTEL_API_KEY=… python examples/site_builder.py   # HOSTEL_OFFLINE=1 for a server with --offline

A session whose sandbox runs nothing but an idle claude is frozen after a moment; one like this is not. Ports
are not reachable from outside yet, so the agent fetches its page itself.
"""

import time

from talk import ask, client, environment, say, session, shell

BUILD = r"""
mkdir -p site && cat > build.sh <<'END'
n=0
while sleep 1; do
  n=$((n + 1))
  echo "<h1>Night sky</h1><p>build $n</p>" > site/next.html && mv site/next.html site/index.html
done
END
"""
FIRST = f"""Serve a page about the night sky from /workspace/site on port 8000, and build it anew every second:
```sh{BUILD}```
Start `sh build.sh` and `python3 -m http.server 8000 --directory site` in the background, so that both go on when
your turn is over. Wait until the page can be fetched, then answer."""
FETCH = "python3 -c 'from urllib.request import urlopen; print(urlopen(\"http://127.0.0.1:8000/\").read().decode())'"

site = session("site builder", environment("site", pattern="long_running"), "You build web sites and run them.")
ask(site, FIRST, [
    shell(BUILD.strip()),
    shell("sh build.sh", run_in_background=True),
    shell("python3 -m http.server 8000 --directory site", run_in_background=True),
    shell(f"for try in 1 2 3 4 5 6 7 8 9; do test -e site/index.html && {FETCH} && break; sleep 1; done"),
    say("It is served: {{result}}"),
])

print("(nobody talks to the agent for six seconds)")
time.sleep(6)

ask(site, f"Fetch your page with {FETCH} and say which build it shows now.", [
    shell(FETCH),
    say("Meanwhile: {{result}}"),
])
client.beta.sessions.archive(site)  # It would stay for ever.
