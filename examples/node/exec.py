"""child_process.exec: a line of shell. `prefork serve exec:app --app-dir examples/node`, beside exec.js.

curl --data-binary @README.md http://127.0.0.1:8000/words
"""

from prefork import App, Request, children

app = App()

# The text goes in by standard input and never into the line: what stands in a line of shell is run.
WORDS = "tr -cs A-Za-z '\\n' | tr A-Z a-z | grep . | sort | uniq -c | sort -k1,1rn -k2 | head -n 10"


@app.post("/words", max_body=10_000_000)
async def words(request: Request) -> dict[str, int]:
    """The ten most frequent words of a text. Too slow is 504, by itself; a client that leaves ends the whole pipe."""
    done = await children.exec(
        WORDS,
        input=await request.body(),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        timeout=5,
        check=True,
        encoding="ascii",
    )
    return {word: int(count) for count, word in map(str.split, done.stdout.splitlines())}
