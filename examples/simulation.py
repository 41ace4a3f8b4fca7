"""Pattern `shared`: several sessions work together in one sandbox. Three fishers live on one lake: they take
turns, each sees what the others left and wrote, and together they should not empty it.

    HOSTEL_API_KEY=… python examples/simulation.py     # HOSTEL_OFFLINE=1 for a server with --offline

Each agent has its own claude, user, working directory and settings; /workspace/shared belongs to all of
them, and everybody may write everything there. What stops them from overwriting each other is a convention,
which stands in the system prompt:

1. A file with a name in it (`anna.says`) is written by that agent alone; the others only read it.
2. What all of them change (`stock`) is changed only by who holds the lock. The lock is a directory, because
   `mkdir` succeeds for exactly one; it is held over several commands, so an agent may read, think and write.
   The name inside lets its holder go on when its turn was cut and is begun again.
3. What others may be reading is written beside it and renamed, so that nobody sees half of it.

Where one command is enough, `flock /workspace/shared/stock.lock sh -c '…'` does the same and never stays behind.
"""

from concurrent.futures import ThreadPoolExecutor

from talk import ask, client, environment, say, session, shell

NAMES = ["anna", "ben", "cleo"]
ROUNDS = 2
FISH = 100


def take_lock(name: str) -> str:
    return f"cd /workspace/shared; until mkdir lock 2>/dev/null || test -e lock/{name}; do sleep 0.2; done; touch lock/{name}"


def system(name: str) -> str:
    return f"""You are {name}, one of three fishers ({", ".join(NAMES)}) on one lake. The others are agents like you; you
talk through files in /workspace/shared. Your turn is while you hold the lock:
1. take it:       {take_lock(name)}
2. look around:   cat stock *.says          (the fish in the lake, and what everybody said last)
3. catch some:    echo NEW_STOCK > stock.{name} && mv stock.{name} stock; echo "round R: {name} took N" >> {name}.log
4. say something: echo "{name}: …" > {name}.says
5. give it back:  rm -r /workspace/shared/lock     (always, and only if it is yours)
Never change a file with another's name, nor `stock` without the lock. The lake should feed all of you for long."""


def turn(name: str, number: int) -> str:
    """A tenth of what is there, in the words of the scripted model."""
    catch = f"""cd /workspace/shared; stock=$(cat stock); catch=$((stock / 10))
echo $((stock - catch)) > stock.{name} && mv stock.{name} stock
echo "round {number}: {name} took $catch" >> {name}.log
echo "{name}: I left $((stock - catch))" > {name}.says"""
    script = [
        shell(f"{take_lock(name)}; cat stock; cat *.says 2>/dev/null || true"),
        shell(catch),
        shell("rm -r /workspace/shared/lock"),
        say(f"{name} is done with round {number}."),
    ]
    return ask(sessions[name], f"Round {number}: it is your turn as soon as you have the lock.", script)


lake = environment("lake", pattern="shared", max_sessions=len(NAMES))
sessions = {name: session(name, lake, system(name)) for name in NAMES}
ask(sessions["anna"], f"Before the first round: there are {FISH} fish. Write that number to /workspace/shared/stock.", [
    shell(f"echo {FISH} > /workspace/shared/stock"),
    say("The lake is full."),
])
for number in range(1, ROUNDS + 1):
    # All are told at once; who gets the lock first is first.
    with ThreadPoolExecutor() as together:
        list(together.map(lambda name: turn(name, number), NAMES))
ask(sessions["ben"], "How did it go? Read everybody's log and the stock to me.", [
    shell("(cd /workspace/shared; cat *.log; echo left: $(cat stock))"),
    say("{{result}}"),
])
for one in sessions.values():
    client.beta.sessions.archive(one)  # The sandbox goes with its last session.
