"""Pattern `hybrid`, the default: a session that nobody talks to for `idle_timeout` is saved and costs nothing; the
next message brings it back, with its files and its conversation, in another sandbox on the same paths.

    HOSTEL_API_KEY=… python examples/research.py       # HOSTEL_OFFLINE=1 for a server with --offline

What is kept: /workspace, the home directory and /mnt/session. The agent also leaves a file in /tmp, which is
not kept, to show that its sandbox is another one.
"""

import time

from talk import ask, client, environment, say, session, shell

IDLE_SECONDS = 1  # So short only to show it; 600 when it is left out.

research = session(
    "researcher",
    environment("research", pattern="hybrid", idle_timeout=f"{IDLE_SECONDS}s"),
    "You do research in small steps and keep notes in /workspace/notes.md, each with a date.",
)
ask(research, "What is the Antikythera mechanism? Note three facts that you know. Also `touch /tmp/first-sandbox`.", [
    shell("touch /tmp/first-sandbox; printf '%s\n' '- found in 1901 in a wreck' '- bronze gears' '- predicted eclipses' > notes.md"),
    say("I noted three facts."),
])

print("(nobody talks to the agent; the session is saved and its sandbox destroyed)")
time.sleep(IDLE_SECONDS + 3)

ask(research, "Add one fact to your notes and read all of them to me. Is /tmp/first-sandbox still there?", [
    shell("echo '- the first known analogue computer' >> notes.md; cat notes.md; ls /tmp/first-sandbox 2>&1 || true"),
    say("My notes: {{result}}"),
])
client.beta.sessions.archive(research)
