"""People with a Gradio application open. Arguments: URL, number of people.

A line on standard input makes each of them press the button a few times. The result is a line of
JSON on standard output.
"""

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from gradio_client import Client

URL, NUMBER = sys.argv[1], int(sys.argv[2])


class Person:
    def __init__(self) -> None:
        # A browser gets its cookies with the page.
        with urllib.request.urlopen(URL) as page:
            cookies = [line.partition(";")[0] for line in page.headers.get_all("Set-Cookie", [])]
        self.client = Client(URL, verbose=False, headers={"Cookie": "; ".join(cookies)})
        self.seen: list[str] = []
        self.errors: list[str] = []

    def press(self) -> None:
        try:
            for _ in range(3):
                self.seen.append(self.client.predict(api_name="/count"))
        except Exception as error:
            self.errors.append(repr(error))


with ThreadPoolExecutor(NUMBER) as pool:
    people = list(pool.map(lambda _: Person(), range(NUMBER)))
    print("ready", flush=True)
    for _line in sys.stdin:
        list(pool.map(Person.press, people))
        print(json.dumps([[person.seen, person.errors] for person in people]), flush=True)
