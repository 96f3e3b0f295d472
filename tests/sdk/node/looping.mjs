// Clients of the official TypeScript SDK that call a tool again and again, as long as standard input is open, and then
// wait for a notification on their stream. No client starts its session again: an application does not know that it has
// to. A line of JSON for each call, and one at the end:
//
//     {"client": 7, "took": 0.004, "replica": "amber", "count": 5}
//     {"client": 7, "took": 0.004, "error": "what the SDK says"}
//     {"client": 7, "announced": true}
//
//     node looping.mjs URL CLIENTS PAUSE TIMEOUT

import { setTimeout } from "node:timers/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { LoggingMessageNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, clients, pause, limit] = [new URL(process.argv[2]), ...process.argv.slice(3).map(Number)];
const ANNOUNCEMENTS = 20;
let ended = false;

async function live(number) {
  const client = new Client({ name: "looping", version: "1.0.0" });
  let announced = false;
  client.setNotificationHandler(LoggingMessageNotificationSchema, () => {
    announced = true;
  });
  await client.connect(new StreamableHTTPClientTransport(url), { timeout: 60_000 });
  const call = (name) => client.callTool({ name, arguments: {} }, undefined, { timeout: limit * 1000 });
  console.log(JSON.stringify({ client: number }));
  await setTimeout(pause * 1000 * Math.random()); // not all in step
  while (!ended) {
    const begin = performance.now();
    const said = await call("count").then(
      ({ structuredContent }) => structuredContent,
      (error) => ({ error: String(error) }),
    );
    console.log(JSON.stringify({ client: number, took: (performance.now() - begin) / 1000, ...said }));
    await setTimeout(pause * 1000);
  }
  announced = false;
  for (let times = 0; times < ANNOUNCEMENTS && !announced; times++) {
    await call("announce").catch(() => {});
    await setTimeout(250);
  }
  console.log(JSON.stringify({ client: number, announced }));
}

process.stdin.on("end", () => (ended = true)).resume();
await Promise.all(Array.from({ length: clients }, (_, number) => live(number)));
process.exit(); // whatever stream may still be open
