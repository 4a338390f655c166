"""Log rows, console lines and files until told that it is enough, whatever becomes of the server meanwhile."""

import time
from pathlib import Path

from tests.local.scripts import kit

if __name__ == "__main__":
    run = kit.begin("through", "through", config={"lr": 1})
    number = 0
    while not Path("enough").exists():
        run.log({"n": number, "text": f"row {number}"})
        print(f"line {number}", flush=True)
        if number % 40 == 0:
            Path(f"f{number}.txt").write_text(f"content {number}")
            run.save(f"f{number}.txt", policy="now")
        number += 1
        time.sleep(0.05)
    run.summary["count"] = number
    run.config["count"] = number
    kit.save("count.json", number)
    run.finish()
