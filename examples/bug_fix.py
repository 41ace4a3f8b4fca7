"""Pattern `ephemeral`: one sandbox for one task. The agent fixes a bug in a repository; what it leaves in
/mnt/session/outputs becomes files of the session, the sandbox is destroyed, the session is over.

    HOSTEL_API_KEY=… python examples/bug_fix.py        # HOSTEL_OFFLINE=1 for a server with --offline
"""

from talk import ask, client, environment, say, session, shell

# A real one would be cloned. `total` forgets the quantity, so its test fails.
REPOSITORY = r"""
mkdir /workspace/shop && cd /workspace/shop && git init -q .
cat > cart.py <<'END'
def total(items):
    return sum(price for price, quantity in items)
END
cat > test_cart.py <<'END'
import unittest
from cart import total

class Total(unittest.TestCase):
    def test_quantities_count(self):
        self.assertEqual(total([(5, 2), (1, 3)]), 13)
END
git add . && git -c user.name=shop -c user.email=shop@example.com commit -q -m "a shop"
"""
TASK = f"""This script makes a git repository with a failing test:
```sh{REPOSITORY}```
Run it. Find out with `python3 -m unittest` what fails, repair the program and not the test, and see
that the test passes. Then write `git diff` to /mnt/session/outputs/fix.diff, and say in one sentence what was wrong."""
SCRIPT = [
    shell(REPOSITORY.strip()),
    shell("python3 -m unittest 2>&1 | tail -3"),
    shell("sed -i 's/sum(price for/sum(price * quantity for/' cart.py && python3 -m unittest 2>&1 | tail -3"),
    shell("git diff > /mnt/session/outputs/fix.diff"),
    say("The total did not multiply by the quantity; now it does, and the test passes."),
]

task = session("bug fixer", environment("bug fix", pattern="ephemeral"), "You repair programs.")
# The files are there before the session is over, so its end is what to wait for.
ask(task, TASK, SCRIPT, until="session.status_terminated")
for file in client.beta.files.list(scope_id=task):
    print(f"{file.filename} ({file.size_bytes} bytes):")
    print(client.beta.files.download(file.id).read().decode())
