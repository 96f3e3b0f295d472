"""People with a notebook each: a kernel over WebSocket. Arguments: URL, token, number of people.

A line on standard input makes each of them continue to count in its kernel, over a new WebSocket. The result is a
line of JSON on standard output.
"""

import asyncio
import json
import sys
import urllib.request
import uuid

import websockets

URL, TOKEN, NUMBER = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Person:
    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}
        self.kernel = ""
        self.counted = 0
        self.errors: list[str] = []

    def ask(self, method: str, path: str) -> dict:
        request = urllib.request.Request(URL + path, method=method, headers=self.headers())
        with urllib.request.urlopen(request, b"" if method == "POST" else None) as answer:
            for line in answer.headers.get_all("Set-Cookie", []):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            return json.loads(answer.read())

    def headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Authorization": f"token {TOKEN}", "Cookie": cookies}

    async def begin(self) -> None:
        await asyncio.to_thread(self.ask, "GET", "/api/status")
        self.kernel = (await asyncio.to_thread(self.ask, "POST", "/api/kernels"))["id"]

    async def count(self) -> None:
        try:
            kernels = await asyncio.to_thread(self.ask, "GET", "/api/kernels")
            if self.kernel not in [kernel["id"] for kernel in kernels]:
                self.errors.append("the kernel is not there")
            url = f"{URL.replace('http', 'ws')}/api/kernels/{self.kernel}/channels"
            async with websockets.connect(url, additional_headers=self.headers(), max_size=None) as channels:
                for _ in range(3):
                    said = await self.run(channels, "count = globals().get('count', 0) + 1; print(count)")
                    self.counted += 1
                    if said != str(self.counted):
                        self.errors.append(f"{said!r} instead of {self.counted}")
        except Exception as error:
            self.errors.append(repr(error))

    async def run(self, channels, code: str) -> str:
        id = uuid.uuid4().hex
        header = {"msg_id": id, "msg_type": "execute_request", "username": "", "session": id, "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await channels.send(json.dumps(message))
        said = ""
        async with asyncio.timeout(60):
            while True:
                answer = json.loads(await channels.recv())
                if answer["parent_header"].get("msg_id") != id:
                    continue
                if answer["msg_type"] == "stream":
                    said += answer["content"]["text"]
                if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                    return said.strip()


async def main() -> None:
    people = [Person() for _ in range(NUMBER)]
    await asyncio.gather(*(person.begin() for person in people))
    while await asyncio.to_thread(sys.stdin.readline):
        await asyncio.gather(*(person.count() for person in people))
        print(json.dumps([[person.counted, person.errors] for person in people]), flush=True)


asyncio.run(main())
